"""What takes how long on a GPU, by its own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from ...ir import Node
from ..lowering.launch_list import Fork
from .capture import Graph, Wait
from .device import Device
from .program import CudaProgram


def seconds(device: Device, give: Callable[[], object], repeats: int) -> float:
    """What each of some repetitions takes of what `give` gives to the device's stream, from the first to the last; it
    was given once before.
    """
    give()
    first, last = (device.call("cuEventCreate", 0) for _ in range(2))
    device.call("cuEventRecord", first, device.stream)
    for _ in range(repeats):
        give()
    device.call("cuEventRecord", last, device.stream)
    device.call("cuEventSynchronize", last)
    milliseconds = device.call("cuEventElapsedTime", first, last)
    for event in (first, last):
        device.free_later("cuEventDestroy", event)
    return milliseconds * 1e-3 / repeats


def unit_seconds(device: Device, program: CudaProgram, repeats: int = 10) -> Iterator[tuple[Node, float]]:
    """The units of a program that ran before, each with what it takes alone, repeated in a graph of its own. What it
    overwrites is worth nothing afterwards. Forks are left out, transfers are not waited for.
    """
    parts = [each for each in program.parts() if not isinstance(each, Wait) and not isinstance(each[0][0], Fork)]
    for node, group in groupby(parts, lambda each: each[0][1]):
        if node is None:
            continue
        for graph in program.capture().pieces(list(group) * repeats):
            assert isinstance(graph, Graph)
            yield node, graph_seconds(device, graph) / repeats


def graph_seconds(device: Device, graph: Graph, repeats: int = 1) -> float:
    """What a graph takes."""
    return seconds(device, lambda: device.call("cuGraphLaunch", graph.executable, device.stream), repeats)
