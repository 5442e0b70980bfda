"""Scatters other than sums: each entry that an index names is replaced by what its op makes of it and of an update."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Op
from ...ir.ops import elementwise as ew
from ...ir.ops import scatter
from ...passes.memory.plan import Plan
from .data_movement import moved, rows_of_tile
from .elementwise import element_of
from .launch import TILE, Call, Launch, Pointer, Traps
from .scatter_tile import COPY_OF_THE_ARRAY, scatter_tile

_COMBINED: Mapping[Op, Op] = {
    scatter.scatter_mul: ew.mul,
    scatter.scatter_max: ew.maximum,
    scatter.scatter_min: ew.minimum,
}
_COLUMNS = 256
"""The most columns of a tile."""


def lower_scatter(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of columns and blocks, which stand before the axis. In a tile all updates are made in their
    order. An index out of range is a trap.
    """
    x, indices, _ = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    outer, inner = math.prod(x.shape[batch:axis]), math.prod(x.shape[axis + 1 :])
    blocks, count = math.prod(x.shape[:batch]) * outer, math.prod(indices.shape[batch:])
    columns = max(1, min(inner, _COLUMNS))
    rows, down = rows_of_tile(blocks, max(x.shape[axis], count) * columns)
    operands = [Pointer.to(plan.views[v]) for v in (*node.inputs, node.output)]
    args = [traps.code(node, x.shape[axis]), TILE, columns, *operands, rows, blocks, outer, x.shape[axis], inner, count]
    source = _kernel(node.op, x.dtype, indices.dtype)
    return [Launch(-(-inner // columns) * max(down, 1), [Call(source, [*args, int(node in plan.in_place)])])]


def _kernel(op: Op, dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """All updates of a tile are made in their order. The arguments are those of `scatter_tile`."""
    combined = _COMBINED.get(op)
    short = moved(dtype) if combined is None else SHORT_NAMES[dtype]
    made = "source[j]" if combined is None else element_of(combined, dtype, "target[j]", "source[j]")
    return f"""
def kernel(b):
    {scatter_tile(short, index)}
    {COPY_OF_THE_ARRAY}
    for block in range(top, bottom):
        for k in range(count):
            place = i64(at[block // outer * count + k])
            if place < 0:
                place = place + length
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(o, (block * length + place) * inner + first, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = {made}
    return i64(0)
"""
