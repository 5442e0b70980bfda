"""Products whose register tiles add up the parts of a sum by their tree, so that a result is written once."""

from __future__ import annotations

from ...ir import ArrayType
from ..target import Target
from .matmul_tiles import DEPTH, is_in_registers

_MOST_TERMS = 1 << 10
"""Terms at most: a strip of so many rows of the right operand stays in the second cache."""


def can_add_parts(x: ArrayType, y: ArrayType, parts: int, target: Target) -> bool:
    """Whether register tiles multiply matrices x (m, k) and y (k, n) in so many parts of the sums: each part is one
    chain of multiply-adds then, with the bits of the product of that part alone.
    """
    k = x.shape[1]
    chains = k % parts == 0 and k // parts <= DEPTH
    return chains and k <= _MOST_TERMS and is_in_registers(x, y, target)
