"""Lanes of vectors: which of them are there, and squares of them that change rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from .natives import INT, WORD


def shuffled(builder: Any, x: Any, y: Any, order: Sequence[int]) -> Any:
    """A vector of these lanes of x, and after them of y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def lanes_below(builder: Any, limit: Any, lanes: int) -> Any:
    """The mask of the lanes whose number is below `limit`, a word."""
    wide = ir.VectorType(WORD, lanes)
    spread = builder.insert_element(ir.Constant(wide, ir.Undefined), limit, INT(0))
    spread = shuffled(builder, spread, spread, [0] * lanes)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(lanes))), spread)


def transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """The columns of a square: as many vectors as each has lanes, a power of two.

    Squares of half the size change places across the diagonal, then squares within these, down to elements: a vector
    takes part in log2(n) shuffles of two vectors, where element by element it would take n.
    """
    values, n = list(rows), len(rows)
    half = n // 2
    while half:
        upper = [j if not j & half else n + j - half for j in range(n)]
        lower = [j + half if not j & half else n + j for j in range(n)]
        for i in range(n):
            if not i & half:
                pair = values[i], values[i | half]
                values[i], values[i | half] = shuffled(builder, *pair, upper), shuffled(builder, *pair, lower)
        half //= 2
    return values
