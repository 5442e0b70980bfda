"""Matrices in the last two axes of arrays, the axes before them being a batch: what declarations of their ops share."""

from __future__ import annotations

from collections.abc import Sequence

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs
from ..types import INT64, ArrayType
from . import elementwise as ew


def batch_only(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    """The matrices of a batch are apart; along the other axes every element needs all."""
    batch = inputs[0].ndim - 2
    return [[i if i < batch else None for i in range(output.ndim)]] * len(inputs)


def cubed(share: int, x: ArrayType) -> int:
    """A `share`th of n³ operations for each matrix of `x`, and one for each element."""
    return x.size * x.shape[-1] // share + x.size


def swapped(b: Builder, x: Value) -> Value:
    """The matrices transposed."""
    last = x.type.ndim - 1
    return OPS["transpose"](b, x, perm=(*range(last - 1), last, last - 1))


def product(b: Builder, x: Value, y: Value) -> Value:
    """The matrix products of a batch."""
    last = x.type.ndim - 1
    batch = tuple(range(last - 1))
    return OPS["dot"](b, x, y, contract=((last,), (last - 1,)), batch=(batch, batch))


def places(b: Builder, x: Value) -> tuple[Value, Value]:
    """For each element of the matrices, the number of its row and of its column."""
    shape, last = x.type.shape, x.type.ndim - 1
    rows, columns = (OPS["iota"](b, shape=shape, axis=axis, dtype=INT64) for axis in (last - 1, last))
    return rows, columns


def on_diagonal(b: Builder, x: Value) -> Value:
    """Whether an element of the matrices stands on their diagonal."""
    return ew.eq(b, *places(b, x))


def triangle(b: Builder, x: Value, lower: bool, half_diagonal: bool = False) -> Value:
    """One triangle of each matrix with its diagonal, which may count by half; 0 elsewhere."""
    rows, columns = places(b, x)
    if half_diagonal:
        x = ew.select(b, ew.eq(b, rows, columns), ew.mul(b, x, b.full_like(x, 0.5)), x)
    return ew.select(b, (ew.ge if lower else ew.le)(b, rows, columns), x, b.full_like(x, 0))


def part(b: Builder, x: Value, rows: tuple[int, int] | None = None, columns: tuple[int, int] | None = None) -> Value:
    """Rows and columns from one to below another; all where none are given."""
    *batch, m, n = x.type.shape
    (top, bottom), (left, right) = rows or (0, m), columns or (0, n)
    start, stop = (*(0 for _ in batch), top, left), (*batch, bottom, right)
    return OPS["slice"](b, x, start=start, stop=stop, step=(1,) * len(stop))


def spread(b: Builder, x: Value, columns: int) -> Value:
    """Vectors (..., k) as matrices (..., k, columns) that are constant along rows."""
    last = x.type.ndim
    return OPS["broadcast"](b, x, shape=(*x.type.shape, columns), axes=tuple(range(last)))


def quotient(b: Builder, x: Value, y: Value) -> Value:
    """x / y, but 0 where both are 0: what depends on x alone, which is zero there, has that derivative."""
    known = ew.select(b, ew.eq(b, x, b.full_like(x, 0)), b.full_like(x, 1), b.full_like(x, 0))
    return ew.div(b, x, ew.select(b, ew.eq(b, y, b.full_like(y, 0)), known, y))
