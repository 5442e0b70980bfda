"""From a region to launches on a GPU: one over tiles of rows, and those that combine the parts of sums over rows."""

from __future__ import annotations

from ...ir import Node
from ...passes.kernels.loop_nest import LoopNest
from ...passes.memory.plan import Plan
from .gpu_epilogue import lower_gpu_epilogue
from .gpu_reductions import combine_parts
from .gpu_region_kernel import GpuRegionWriter
from .gpu_text import GpuText
from .gpu_transposition import gpu_transposed_copies
from .launch import Launch, Pointer, Scratch, Traps
from .region import parts_of_sums
from .region_kernel import Operands
from .row_threads import RowThreads


def lower_gpu_region(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """Transposed copies, or one launch over tiles of rows, then concurrently those that combine the parts of sums."""
    if (copies := gpu_transposed_copies(node, plan)) is not None:
        return copies
    nest: LoopNest = plan.nests[node]
    if nest.product is not None:
        return lower_gpu_epilogue(node, plan)
    buffers, in_place = plan.scratch.get(node, 0), plan.in_place.get(node, {})
    inputs = [Pointer(plan.views[value].base) for value in node.inputs]
    targets = [Pointer(value) for value in node.outputs]
    parts = Scratch(buffers + nest.workers_bytes(plan.threads))
    operands = Operands(inputs, targets, Scratch(buffers, nest.buffer_bytes), parts, traps)
    threads = RowThreads.of(nest)
    text = GpuText(nest.tiles if nest.rows or nest.crossings else 0, threads.threads)
    GpuRegionWriter(nest, in_place, operands, text, threads).write()
    launches = [text.launch()]
    for sum_, begin, target in parts_of_sums(nest, parts, targets):
        result = sum_.output.type
        launch = combine_parts(sum_.op, result.dtype, begin, target, nest.tiles, result.size)
        launch.concurrent = len(launches) > 1
        launches.append(launch)
    return launches
