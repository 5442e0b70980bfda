"""Kernels of users: one launch, of one tile where no rows are declared."""

from __future__ import annotations

from ...ir import SHORT_NAMES, ArrayType, Node, node_flops, node_workspace
from ...ir.ops.custom_op import scratch_bytes
from ...ir.user_kernel import UserKernel
from ...passes.memory.plan import Plan
from ..codegen.array_kernel import ArrayArgument, kernel_source
from .launch import TILE, Address, Arg, Call, Launch, Pointer, Scratch, Traps

_TILE_WORK = 1 << 15
"""Operations, and elements that are read or written, of one tile."""


def lower_user_kernel(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows, or over one tile."""
    kernel, options = node.op.kernel, node.attrs["options"]
    assert kernel is not None
    step, rows = _tiles(node, kernel)
    arrays: list[ArrayArgument] = []
    args: list[Arg] = [TILE, step, rows, traps.code(node, 0)]

    def add(type: ArrayType, at: Address, written: bool, has_rows: bool) -> None:
        arrays.append(ArrayArgument(SHORT_NAMES[type.dtype], type.ndim, written, has_rows))
        args.extend([at, *type.shape])

    for value in node.outputs:
        add(value.type, Pointer.to(plan.views[value]), True, bool(kernel.rows))
    for number, value in enumerate(node.inputs):
        add(value.type, Pointer.to(plan.views[value]), False, number in kernel.rows)
    at = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    for type in kernel.scratch_types([v.type for v in node.inputs], options):
        add(type, at, True, False)
        at = at.plus(scratch_bytes(type))
    return [Launch(-(-rows // step), [Call(kernel_source(kernel, arrays, options), args)])]


def _tiles(node: Node, kernel: UserKernel) -> tuple[int, int]:
    """Rows of a tile, and all rows. They follow from the graph alone."""
    if not kernel.rows:
        return 1, 1
    rows = node.outputs[0].type.shape[0]
    work = node_flops(node) + sum(v.type.size for v in (*node.inputs, *node.outputs))
    return max(1, min(rows, _TILE_WORK * rows // max(work, 1))), rows
