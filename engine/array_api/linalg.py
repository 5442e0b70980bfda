"""`numpy.linalg`, as far as it can be traced."""

from __future__ import annotations

import math
from typing import Any

from ..tracing.tracer import ArrayLike, ShapeError, located
from . import diagonals, linear_algebra
from .broadcasting import as_arraylike, described, reshaped, shape_of
from .linear_algebra import matmul, tensordot, vecdot
from .manipulation import matrix_transpose
from .reductions import norm

__all__ = ["diagonal", "matmul", "matrix_transpose", "norm", "outer", "tensordot", "trace", "vecdot", "vector_norm"]


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Any:
    """The diagonals of the matrices in the last two axes."""
    return diagonals.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums of the diagonals of the matrices in the last two axes."""
    return diagonals.trace(x, offset, -2, -1, dtype)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The products of all pairs of elements of two vectors. Raises `ShapeError` for others."""
    x1, x2 = as_arraylike(x1), as_arraylike(x2)
    if len(shape_of(x1)) != 1 or len(shape_of(x2)) != 1:
        raise ShapeError(
            located(f"np.linalg.outer takes vectors, got {described(x1)} and {described(x2)}; np.outer flattens them")
        )
    return linear_algebra.outer(x1, x2)


def vector_norm(x: ArrayLike, /, *, axis: int | None = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The norm of the vectors along `axis`, or of all elements. See `norm`."""
    x = as_arraylike(x)
    if axis is not None:
        return norm(x, ord, axis, keepdims)
    whole = norm(reshaped(x, (math.prod(shape_of(x)),)), ord)
    return reshaped(whole, (1,) * len(shape_of(x))) if keepdims else whole
