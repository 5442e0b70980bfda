"""What the card can do at best: copies, products, launches in a graph, and the link to its host; by its own clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import OPS, Builder, spec
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of
from ...runtime.cuda.capture import Graph
from ...runtime.cuda.device import Device
from ...runtime.cuda.program import CudaProgram
from ...runtime.cuda.timing import graph_seconds, seconds, unit_seconds
from .gpu import Session, session
from .report import Report
from .stages import Options

COPIED_BYTES, LINK_BYTES, SIDE, LAUNCHES = 1 << 30, 1 << 28, 8192, 1000
FAKE_BYTES, FAKE_SIDE = 1 << 16, 32
TRIES = 5
EMPTY = "def kernel(b):\n    return i64(0)\n"


def run(report: Report, options: Options) -> None:
    """Rates in bytes and operations a second."""
    with session(options) as gpu:
        report.note("card", gpu.gpu.device.name)
        report.note("target", str(gpu.target))
        report.note("libraries", list(gpu.target.libraries))
        free, total = gpu.gpu.device.free_bytes()
        report.note("memory bytes", {"total": total, "free": free})
        copied, moved = (FAKE_BYTES, FAKE_BYTES) if options.fake else (COPIED_BYTES, LINK_BYTES)
        told = gpu.target.memory_bytes_per_ns * (gpu.target.workers or 1) * 1e9
        rate = copy_bandwidth(gpu, copied)
        report.row("ceilings", what="copy, bytes read and written a second", measured=rate, data_sheet=told)
        told = (gpu.target.link_bytes_per_ns or 0) * 1e9
        for what, rate in link_bandwidth(gpu.gpu.device, moved).items():
            report.row("ceilings", what=f"{what}, bytes a second", measured=rate, data_sheet=told)
        report.row("ceilings", what="a launch in a graph, seconds", measured=launch_seconds(gpu))
        for name, (target, dtype) in product_targets(gpu).items():
            told = target.flops_per_ns(np.dtype(dtype)) * (target.workers or 1) * 1e9
            try:
                rate = product_flops(gpu, target, dtype, FAKE_SIDE if options.fake else SIDE)
            except Exception as error:  # a dtype or a precision that something here does not know
                report.lacks(f"product, {name}: {error!r}")
                continue
            report.row("ceilings", what=f"product, {name}, operations a second", measured=rate, data_sheet=told)


def _best(device: Device, give: Callable[[], object]) -> float:
    return min(seconds(device, give, 3) for _ in range(TRIES))


def copy_bandwidth(gpu: Session, nbytes: int = COPIED_BYTES) -> float:
    """Bytes that a copy inside of the device reads and writes in a second."""
    device = gpu.gpu.device
    first, second = device.allocate(nbytes), device.allocate(nbytes)
    return 2 * nbytes / _best(device, lambda: device.copy(second.address, first.address, nbytes))


def link_bandwidth(device: Device, nbytes: int) -> dict[str, float]:
    """Bytes that go between pinned memory and the device in a second."""
    there, here, stream = device.allocate(nbytes), device.allocate_pinned(nbytes), device.stream
    ways = {
        "to the device": lambda: device.call("cuMemcpyHtoDAsync", there.address, here.address, nbytes, stream),
        "to the host": lambda: device.call("cuMemcpyDtoHAsync", here.address, there.address, nbytes, stream),
    }
    return {what: nbytes / _best(device, give) for what, give in ways.items()}


def launch_seconds(gpu: Session, launches: int = LAUNCHES) -> float:
    """From a kernel that does nothing to the next, in one graph."""
    device = gpu.gpu.device
    gpu.gpu.modules.load([(EMPTY, 0)])
    word = np.zeros(1, np.int64)
    pointers = np.array([word.ctypes.data], np.int64)
    mode = device.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    device.call("cuStreamBeginCapture", device.captured, mode)
    for _ in range(launches):
        function = gpu.gpu.modules.function(EMPTY, 0)
        device.call("cuLaunchKernel", function, 1, 1, 1, 32, 1, 1, 0, device.captured, pointers.ctypes.data, 0)
    captured = device.call("cuStreamEndCapture", device.captured)
    graph = Graph(device, device.call("cuGraphInstantiate", captured, 0), launches)
    device.call("cuGraphDestroy", captured)
    return min(graph_seconds(device, graph) for _ in range(TRIES)) / launches


def product_targets(gpu: Session) -> dict[str, tuple[Target, str]]:
    """By a name: a target that multiplies in some way, and the dtype of the factors."""
    found: dict[str, tuple[Target, str]] = {"own kernel, fp32": (gpu.own, "float32")}
    if gpu.target.libraries:
        found["library, fp32"] = (gpu.target, "float32")
        found["library, tf32"] = (replace(gpu.target, precision="tf32"), "float32")
        found["library, bf16"] = (gpu.target, "bfloat16")
    return found


def product_flops(gpu: Session, target: Target, dtype: str, side: int = SIDE) -> float:
    """Operations a second of a product of square matrices."""
    b = Builder()
    x, y = (b.input(spec((side, side), dtype), name) for name in "xy")
    graph = b.graph([OPS["dot"](b, x, y, contract=((1,), (0,)), batch=((), ()))])
    program: Any = backend_of(target).build(plan_graph(graph, target=target))
    assert isinstance(program, CudaProgram)
    factor = np.ones((side, side), np.dtype(x.type.dtype))
    program.run([factor, factor], [np.empty(v.type.shape, v.type.dtype) for v in graph.outputs])
    gpu.gpu.device.synchronize()
    return 2 * side**3 / sum(took for _, took in unit_seconds(gpu.gpu.device, program))
