"""Transfers of a plan for a GPU: moves between its memory and its host's, which run beside the units of some phases.

A transfer begins in the phase of its node, and is done when a later phase ends. One to the host says itself how many
units run beside it; one to the device is done before the phase of its first reader. Until then what it reads stays as
it is, and what it makes is not read. Known elsewhere as asynchronous copies (XLA's copy-start and copy-done).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node, Value
from ..graph.views import View


@dataclass(frozen=True)
class Transfers:
    """Which nodes are transfers, and which values lie in the memory of the host: `values` in its arena, and inputs by
    their `numbers`.

    A value that a transfer to the host makes is read by transfers to the device alone. So is an input of the host, and
    its new content comes from a transfer.
    """

    nodes: frozenset[Node] = frozenset()
    values: frozenset[Value] = frozenset()
    numbers: frozenset[int] = frozenset()
    done: Mapping[Node, int] = field(default_factory=dict[Node, int])
    """The phase by whose end each is done, once there are phases: see `in_phases`."""

    def in_phases(self, units: Sequence[Node], phase_of: Mapping[Node, int], views: Mapping[Value, View]) -> Transfers:
        """The same, with the phases in which they are done."""
        if not self.nodes:
            return self
        first: dict[Value, int] = {}
        for node in units:
            for value in node.inputs:
                first.setdefault(views[value].base, phase_of[node])
        done: dict[Node, int] = {}
        for place, node in enumerate(units):
            if node in self.nodes:
                last = phase_of[units[min(place + node.attrs.get("beside", 0), len(units) - 1)]]
                if node.op.moves_to == "device":
                    last = phase_of[units[-1]]
                done[node] = min(last, first.get(node.output, last + 1) - 1)
        return Transfers(self.nodes, self.values, self.numbers, done)


def transfers(graph: Graph, views: Mapping[Value, View], late: Collection[Value]) -> Transfers:
    """The transfers of a graph whose `late` inputs cannot be overwritten by what makes their new content."""
    readers: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        if node.op.has_kernel:
            for value in node.inputs:
                readers.setdefault(views[value].base, []).append(node)

    def for_device_alone(value: Value) -> bool:
        found = readers.get(value, ())
        return bool(found) and all(n.op.moves_to == "device" and views[n.inputs[0]].contiguous for n in found)

    aliased = {graph.outputs[i]: j for i, j in graph.aliases.items()}
    outputs = set(graph.outputs)
    made = [n.output for n in graph.nodes if n.op.moves_to == "host" and views[n.inputs[0]].contiguous]
    values = frozenset(v for v in made if v not in outputs and for_device_alone(v))
    homes = {v: aliased[v] for v in made if v in aliased and v not in readers}
    homes = {v: j for v, j in homes.items() if (old := graph.inputs[j]) not in late and for_device_alone(old)}
    there = {*values, *(graph.inputs[j] for j in homes.values())}
    nodes = [v.node for v in (*values, *homes) if v.node is not None]
    nodes += [n for n in graph.nodes if n.op.moves_to == "device" and views[n.inputs[0]].base in there]
    return Transfers(frozenset(nodes), values, frozenset(homes.values()))
