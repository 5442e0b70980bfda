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
    """Args: code if an index is out of range, tile, columns of a tile, array, indices, updates, result, blocks of a
    tile, all blocks, blocks of a batch, length, inner, indices of one batch, whether the result is the array itself.
    """
    combined = _COMBINED.get(op)
    short = moved(dtype) if combined is None else SHORT_NAMES[dtype]
    made = "source[j]" if combined is None else element_of(combined, dtype, "target[j]", "source[j]")
    return f"""
def kernel(b):
    x, at = array_{short}(word(b, 3), 0), array_{SHORT_NAMES[index]}(word(b, 4), 0)
    u, o = array_{short}(word(b, 5), 0), array_{short}(word(b, 6), 0)
    blocks, outer, length, inner, count = word(b, 8), word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    across = (inner + word(b, 2) - 1) // word(b, 2)
    down = word(b, 1) // across
    first = (word(b, 1) - down * across) * word(b, 2)
    columns = inner - first if inner - first < word(b, 2) else word(b, 2)
    top = down * word(b, 7)
    bottom = top + word(b, 7) if top + word(b, 7) < blocks else blocks
    if word(b, 13) == 0:
        for r in range(top * length, bottom * length):
            source, target = window(x, r * inner + first, columns), window(o, r * inner + first, columns)
            for j in range(columns):
                target[j] = source[j]
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
