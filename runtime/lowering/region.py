"""From a region to launches: transposed copies, or the loops of its nest after the product that it begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...ir import Node, Value
from ...passes.kernels.loop_nest import LoopNest
from ...passes.memory.plan import Plan
from .launch import Address, Call, Launch, Pointer, Scratch, Traps
from .matmul import multiply_rows
from .reduction import combine_parts
from .region_kernel import Operands, call_loops
from .transposition import transposed_copies


def lower_region(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows, then one that combines the parts of sums over all rows, if there are any."""
    if (copies := transposed_copies(node, plan)) is not None:
        return copies
    nest: LoopNest = plan.nests[node]
    buffers = plan.scratch.get(node, 0)
    calls: list[Call] = []
    inputs: list[Address] = [Pointer(plan.views[value].base) for value in node.inputs]
    if nest.product is not None:
        # A worker holds the rows of its tile alone. Every tile finds them where it expects them in the whole product,
        # so their address moves back by as much as the rows of a tile move on.
        size = nest.product_rows * nest.product.type.shape[1] * nest.product.type.dtype.itemsize
        held = buffers + nest.buffer_bytes - nest.product_bytes
        inputs[0] = Scratch(held, nest.buffer_bytes, -size)
        panels = Scratch(held + nest.panels_at, nest.buffer_bytes)
        calls.append(multiply_rows(node, plan, inputs[0], nest.product_rows, panels))
    loops, combining = lower_loops(nest, inputs, node.outputs, plan.in_place.get(node, {}), buffers, plan, traps)
    launch = Launch(nest.tiles, [*calls, loops])
    return [launch, Launch(1, combining)] if combining else [launch]


def lower_loops(
    nest: LoopNest,
    inputs: Sequence[Address],
    outputs: Sequence[Value],
    in_place: Mapping[int, int],
    buffers: int,
    plan: Plan,
    traps: Traps,
) -> tuple[Call, list[Call]]:
    """The loops of a nest from `inputs` to `outputs`, and the calls that combine parts of sums. In the arena, the row
    buffers of all workers begin at `buffers`, the parts of sums behind them.
    """
    targets = [Pointer(value) for value in outputs]
    parts = Scratch(buffers + nest.workers_bytes(plan.threads))
    loops = call_loops(nest, in_place, Operands(inputs, targets, Scratch(buffers, nest.buffer_bytes), parts, traps))
    combining = [
        combine_parts(reduction.op, reduction.output.type.dtype, begin, target, nest.tiles, reduction.output.type.size)
        for reduction, begin, target in parts_of_sums(nest, parts, targets)
    ]
    return loops, combining


def parts_of_sums(
    nest: LoopNest, parts: Scratch, targets: Sequence[Pointer]
) -> Iterator[tuple[Node, Scratch, Pointer]]:
    """The reductions that leave parts, where those of all tiles begin, and where the result goes."""
    for reduction in nest.crossings:
        if nest.partial(reduction):
            result = reduction.output
            yield reduction, parts, targets[nest.body.outputs.index(result)]
            parts = parts.plus(nest.target.round_to_line(nest.tiles * result.type.nbytes))
