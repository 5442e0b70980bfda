"""Which products are made as dot products, by vectors along the terms of a sum, and the tiles of these.

Register tiles read vectors of neighbouring columns. Where there are fewer columns than lanes, most lanes are idle;
where there are few rows, to transpose a right operand takes longer than to multiply by it. Rows of both operands that
lie along the sum are read as they are instead. Known elsewhere as inner products, or gemv.
"""

from __future__ import annotations

import math

from ...ir import is_float
from ..graph.views import View
from ..target import Target
from .register_tiles import Rows

FEW_ROWS = 4
"""Rows below which a product only waits for its right operand."""
NARROW = 2
"""Vectors of columns below which lanes of register tiles may be idle."""
# Vectors of a section of the sum; of a long sum a section has as many as there are sections.
_SECTION = 256
# Vectors along the sum for which it is worth adding up the lanes of more results than a vector has.
_WORTH_ADDING = 8
# Rows of a left operand that is read once for each few columns, at most.
_MOST_ROWS = 65
# Columns that are made of a right operand in rows, at most.
_MOST_INTERLEAVED = 3
# Lines that are read together, at most: prefetchers of the processor follow few.
_MOST_LINES = 8


def is_by_dots(x: View, y: View, target: Target) -> bool:
    """Whether the product of x (batch..., m, k) and y (batch..., k, n) is made of dot products."""
    dtype, (m, k), n = x.base.type.dtype, x.shape[-2:], y.shape[-1]
    if target.matmul != "registers" or not is_float(dtype) or x.strides[-1] != 1:
        return False
    lanes = target.vector_bytes // dtype.itemsize
    if 0 in (m, n) or k < lanes:
        return False
    if y.strides[-2] != 1:
        return is_interleaved(y, target)
    return m < rows_by_dots(k, lanes) or n <= lanes or (n < NARROW * lanes and k >= _WORTH_ADDING * lanes)


def is_interleaved(y: View, target: Target) -> bool:
    """Whether dot products read so few columns of a right operand in rows that vectors of each are made in registers.
    The rows lie without gaps, and have fewer elements than a vector.
    """
    n, lanes = y.shape[-1], target.vector_bytes // y.base.type.dtype.itemsize
    return 1 < n <= min(most_columns(target), _MOST_INTERLEAVED) and n < lanes and y.strides[-2:] == (n, 1)


def most_columns(target: Target) -> int:
    """Columns of a tile of several rows, at most."""
    return 5 if target.vector_registers > 19 else 3


def rows_by_dots(k: int, lanes: int) -> int:
    """Rows below which it takes longer to transpose a right operand than to add up the lanes of dot products."""
    return max(FEW_ROWS, min(_MOST_ROWS, 2 * k // lanes))


def section_terms(k: int, lanes: int) -> int:
    """Terms of a section of a sum of k: neither a lane's chain in a section nor that of sections is longer than the
    square root of k, or than some hundreds.
    """
    return lanes * max(_SECTION, math.isqrt(max(k - 1, 0) // lanes) + 1)


def most_dots(m: int, n: int, target: Target) -> tuple[int, int]:
    """The most rows and columns of a tile: sums, an element of a row and those of all columns fit the registers."""
    registers = target.vector_registers - 3
    if m < FEW_ROWS:
        return m, min(_MOST_LINES, registers // (m + 1))
    columns = Rows.of(n, most_columns(target)).most
    return min(_MOST_LINES, (registers - columns) // columns), columns


def dot_shapes(rows: set[int], columns: set[int], most: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """All tiles of dot products that occur in tiles of so many rows and columns."""
    heights = {size for length in rows for size in Rows.of(length, most[0]).sizes()}
    widths = {size for length in columns for size in Rows.of(length, most[1]).sizes()}
    return tuple((height, width) for height in sorted(heights) for width in sorted(widths))
