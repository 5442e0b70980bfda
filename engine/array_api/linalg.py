"""`numpy.linalg`, as far as it can be traced."""

from __future__ import annotations

import math
from typing import Any

from ..tracer import ArrayLike
from . import diagonals
from .broadcasting import as_arraylike, reshaped, shape_of
from .linear_algebra import matmul, outer, tensordot, vecdot
from .manipulation import matrix_transpose
from .reductions import norm

__all__ = ["diagonal", "matmul", "matrix_transpose", "norm", "outer", "tensordot", "trace", "vecdot", "vector_norm"]


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Any:
    """The diagonals of the matrices in the last two axes."""
    return diagonals.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0) -> Any:
    """The sums of the diagonals of the matrices in the last two axes."""
    return diagonals.trace(x, offset, -2, -1)


def vector_norm(x: ArrayLike, /, *, axis: int | None = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The norm of the vectors along `axis`, or of all elements. See `norm`."""
    x = as_arraylike(x)
    if axis is not None:
        return norm(x, ord, axis, keepdims)
    whole = norm(reshaped(x, (math.prod(shape_of(x)),)), ord)
    return reshaped(whole, (1,) * len(shape_of(x))) if keepdims else whole
