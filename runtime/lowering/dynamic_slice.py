"""Slices that begin where a value says: copies of rows. A row is what one index of the axes before the slice's has."""

import math

from ...ir import Node, Value
from ...passes.memory.plan import Plan
from .data_movement import begin_accumulators, moved, rows_of_tile
from .launch import TILE, Call, Launch, Pointer, Traps


def lower_dynamic_slice(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows."""
    return [_rows(node, plan, node.attrs["size"], "whole", "part", (node.inputs[0], node.inputs[1], node.output))]


def lower_dynamic_update_slice(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows of the update, behind a copy of the array where that stays as it is."""
    size = node.inputs[2].type.shape[node.attrs["axis"]]
    operands = (node.output, node.inputs[1], node.inputs[2])
    return [*begin_accumulators(node, plan), _rows(node, plan, size, "part", "whole", operands)]


def _rows(node: Node, plan: Plan, size: int, source: str, target: str, operands: tuple[Value, ...]) -> Launch:
    """A launch that copies rows of `size` entries from one array to the other: the whole one and the part of it."""
    x, axis, batch = node.inputs[0].type, node.attrs["axis"], node.attrs["batch"]
    outer, inner = math.prod(x.shape[batch:axis]), math.prod(x.shape[axis + 1 :])
    rows = math.prod(x.shape[:batch]) * outer
    step, tiles = rows_of_tile(rows, size * inner)
    whole, start, part = (Pointer.to(plan.views[v]) for v in operands)
    args = [TILE, step, rows, whole, start, part, outer, x.shape[axis], size, inner]
    return Launch(tiles, [Call(_kernel(moved(x.dtype), source, target), args)])


def _kernel(short: str, source: str, target: str) -> str:
    """Args: tile, rows of a tile, all rows, the whole array, the starts, its part, rows of a batch, entries of a row of
    the whole, of the part, elements of an entry.
    """
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, y, at = array_{short}(word(b, 3), 0), array_{short}(word(b, 5), 0), array_i64(word(b, 4), 0)
    length, size, inner = word(b, 7), word(b, 8), word(b, 9)
    for r in range(first, last):
        start = at[r // word(b, 6)]
        start = start if start < length - size else length - size
        start = start if start > 0 else i64(0)
        whole = window(x, (r * length + start) * inner, size * inner)
        part = window(y, r * size * inner, size * inner)
        for j in range(size * inner):
            {target}[j] = {source}[j]
    return i64(0)
"""
