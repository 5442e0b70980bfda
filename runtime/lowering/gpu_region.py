"""From a region to launches on a GPU: a block makes the rows of its tile one after the other, its threads the columns.

An element of a row belongs to one thread in every sweep, so nothing waits between sweeps. What a row has once, such as
its sum, every thread has, and one of them stores it.
"""

from __future__ import annotations

from ...ir import Node
from ...passes.kernels.loop_nest import LoopNest
from ...passes.memory.plan import Plan
from ...passes.target import TargetError
from .gpu_reductions import GpuReductions, combine_parts
from .gpu_text import WARP, GpuText
from .launch import Launch, Pointer, Scratch, Traps
from .region import parts_of_sums
from .region_kernel import Operands, RegionWriter

_MOST_THREADS = 256


def lower_gpu_region(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows, then those that combine the parts of sums over all rows, concurrently."""
    nest: LoopNest = plan.nests[node]
    if nest.product is not None:
        raise TargetError("a product with an epilogue is a CPU's alone")
    buffers, in_place = plan.scratch.get(node, 0), plan.in_place.get(node, {})
    inputs = [Pointer(plan.views[value].base) for value in node.inputs]
    targets = [Pointer(value) for value in node.outputs]
    parts = Scratch(buffers + nest.workers_bytes(plan.threads))
    operands = Operands(inputs, targets, Scratch(buffers, nest.buffer_bytes), parts, traps)
    text = GpuText(nest.tiles, _threads(nest))
    text.overwrites = bool(in_place)
    RegionWriter(nest, in_place, operands, text, GpuReductions).write()
    if nest.lines:
        text.lines += text.wait("    ")  # before the next tile begins lines anew
    launches = [text.launch()]
    for sum_, begin, target in parts_of_sums(nest, parts, targets):
        result = sum_.output.type
        launch = combine_parts(sum_.op, result.dtype, begin, target, nest.tiles, result.size)
        launch.concurrent = len(launches) > 1
        launches.append(launch)
    return launches


def _threads(nest: LoopNest) -> int:
    """Whole warps, a thread a column where a row is not too long."""
    return min(_MOST_THREADS, max(1, -(-nest.columns * nest.together // WARP)) * WARP)
