"""Transposed copies, square by square in vector registers: a loop along either side would wait for memory.

The source is read along its columns and the result written along its rows, each a vector at a time. Element by element,
one of the two would touch a cache line for each element, and a line is gone before its next element is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node, Value
from ...ir.ops import elementwise as ew
from ...passes.graph.views import View
from ...passes.memory.plan import Plan
from ...passes.target import Target
from .launch import TILE, Call, Launch, Pointer

_TILE_ELEMENTS = 1 << 14
# A square with less than half of its rows or columns takes longer than a loop over its elements.
_LEAST_SIDE = 8


def transposed_copies(node: Node, plan: Plan) -> list[Launch] | None:
    """The launches of a region of nothing but transposed copies, which run concurrently; else None."""
    copies = copies_of(node, plan)
    if copies is None:
        return None
    launches: list[Launch] = []
    for view, copy, output in copies:
        args = [TILE, Pointer.to(view), Pointer(output), copy.rows, copy.columns, copy.column_stride, copy.step]
        args += [-(-copy.rows // copy.step), len(copy.batch), *(n for axis in copy.batch for n in axis)]
        launches.append(Launch(copy.tiles, [Call(_kernel(copy.itemsize, copy.side), args)], concurrent=bool(launches)))
    return launches


def copies_of(node: Node, plan: Plan) -> list[tuple[View, Transposed, Value]] | None:
    """The source, the copy and the result of each node of a region of nothing but transposed copies; else None."""
    body = node.attrs["body"]
    if any(inner.op is not ew.copy for inner in body.nodes) or len(body.outputs) != len(body.nodes):
        return None
    copies: list[tuple[View, Transposed, Value]] = []
    for inner, output in zip(body.outputs, node.outputs):
        source = inner.node.inputs[0]
        if source not in body.inputs:
            return None
        view = plan.views[node.inputs[body.inputs.index(source)]]
        copy = transposed(view, plan.target)
        if copy is None:
            return None
        copies.append((view, copy, output))
    return copies


@dataclass(frozen=True, slots=True)
class Transposed:
    """A contiguous result (batch..., rows, columns) of `itemsize` bytes an element, read from columns whose elements
    are neighbours and that begin `column_stride` elements after one another.

    `batch` has a length and a stride, in elements of the source, for each leading axis. A square of registers has
    `side` rows and columns.
    """

    batch: tuple[tuple[int, int], ...]
    rows: int
    columns: int
    column_stride: int
    itemsize: int
    side: int

    @property
    def step(self) -> int:
        """Rows of a tile, in whole squares."""
        return self.side * max(1, min(_TILE_ELEMENTS // (self.side * self.columns), -(-self.rows // self.side)))

    @property
    def tiles(self) -> int:
        """All tiles."""
        return math.prod(n for n, _ in self.batch) * -(-self.rows // self.step)


def transposed(view: View, target: Target) -> Transposed | None:
    """The view as such an array, or None where it is none, or too small to gain by it."""
    itemsize = view.base.type.dtype.itemsize
    if itemsize not in (4, 8):
        return None
    axes: list[tuple[int, int]] = []
    for length, stride in zip(view.shape, view.strides):
        if length == 1:
            continue
        if axes and axes[-1][1] == length * stride:
            axes[-1] = (axes[-1][0] * length, stride)
        else:
            axes.append((length, stride))
    if len(axes) < 2 or axes[-2][1] != 1 or axes[-1][1] < axes[-2][0]:
        return None
    (rows, _), (columns, column_stride) = axes[-2:]
    if min(rows, columns) < _LEAST_SIDE:
        return None
    return Transposed(tuple(axes[:-2]), rows, columns, column_stride, itemsize, target.vector_bytes // itemsize)


def _kernel(itemsize: int, side: int) -> str:
    """Args: tile, source, result, rows, columns, elements from column to column of the source, rows of a tile, tiles
    of one batch entry, batch axes, then for each: length, elements of the source from one to the next.
    """
    return f"""
whole_square = tile_transpose({itemsize}, {side}, True)
part_of_square = tile_transpose({itemsize}, {side}, False)


def kernel(b):
    rows, columns, column_stride, step, tiles = word(b, 3), word(b, 4), {itemsize} * word(b, 5), word(b, 6), word(b, 7)
    entry = word(b, 0) // tiles
    first = (word(b, 0) - entry * tiles) * step
    last = first + step if first + step < rows else rows
    source, target = word(b, 1), word(b, 2) + {itemsize} * entry * rows * columns
    for axis in range(word(b, 8) - 1, -1, -1):
        length = word(b, 9 + 2 * axis)
        source += {itemsize} * (entry % length) * word(b, 10 + 2 * axis)
        entry = entry // length
    row = {itemsize} * columns
    for i in range(first, last, {side}):
        down = last - i if last - i < {side} else i64({side})
        for j in range(0, columns, {side}):
            across = columns - j if columns - j < {side} else i64({side})
            x = source + j * column_stride + {itemsize} * i
            y = target + i * row + {itemsize} * j
            if (down == {side}) & (across == {side}):
                whole_square(x, column_stride, y, row, across, down)
            else:
                part_of_square(x, column_stride, y, row, across, down)
    return i64(0)
"""
