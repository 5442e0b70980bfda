"""Columns of a product that column tiles multiply: the last ones, where these are too few to fill a vector.

A register tile takes as long for a vector of one column as for a whole one. The vectors of a column tile lie along the
rows instead; it transposes a left operand whose rows are dense, which takes as long as some columns more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..graph.views import View
from ..target import Target

_VECTORS = 2
"""Vectors of rows of a column tile at most. Where nothing is transposed, their sums hide how long an addition takes."""
_STAGE = 0.75
"""Columns that one of the stages takes as long as in which a square is transposed."""
_READING = 0.5
"""Columns that reading a left operand takes as long as where nothing is transposed."""
_WORTH = 0.95
"""The part of the time of register tiles below which it is worth another kind of tile."""


@dataclass(frozen=True, slots=True)
class LastColumns:
    """So many columns, by tiles of so many vectors of rows; none where register tiles multiply all."""

    count: int = 0
    vectors: int = 0


NO_COLUMNS = LastColumns()


def last_columns(x: View, y: View, rows: int, target: Target) -> LastColumns:
    """The last columns of a tile of `rows` rows of x (batch..., m, k) times y (batch..., k, n)."""
    (m, k), n, size = x.shape[-2:], y.shape[-1], x.base.type.dtype.itemsize
    lanes = target.vector_bytes // size
    count, turned = n % lanes, x.strides[-1] != 1
    if not count or k < lanes or 1 not in x.strides[-2:] or 1 not in y.strides[-2:]:
        return NO_COLUMNS
    # Squares and sums, an element of the right operand and one more fit the registers.
    vectors = max(1, min(_VECTORS, (target.vector_registers - 3) // (count + 1), -(-m // lanes))) if turned else 1
    if vectors * count + 2 + (vectors if turned else lanes) > target.vector_registers:
        return NO_COLUMNS
    to_transpose = _STAGE * math.log2(lanes)
    padded = -(-rows // (lanes * vectors)) * lanes * vectors
    by_columns = (count + (_READING if turned else to_transpose * -(-k // lanes) * lanes / k)) * padded
    by_columns += to_transpose * lanes / (2 * k) * padded
    whole = (n - count) * rows
    worth = whole + by_columns <= _WORTH * (whole + lanes * rows)
    return LastColumns(count, vectors) if worth else NO_COLUMNS
