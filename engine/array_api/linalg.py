"""`numpy.linalg`, with functions of SciPy's: `solve_triangular`, `cho_factor`, `expm` and others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..tracing.keywords import tells_keywords
from ..tracing.missing_names import attributes_of
from ..tracing.tracer import ArrayLike, ShapeError, located
from . import diagonals, linear_algebra, matrix_functions, reductions
from .broadcasting import as_arraylike, axes_tuple, described, reshaped, shape_of
from .factors import cho_factor, cho_solve, cholesky, det, eigh, eigvalsh, inv, lu, slogdet, solve, solve_triangular
from .general_eigenvalues import eig, eigvals
from .linear_algebra import matmul, tensordot, vecdot
from .manipulation import expand_dims, matrix_transpose, moveaxis
from .matrix_functions import expm, matrix_power, multi_dot, tensorinv, tensorsolve
from .orthogonal_factors import householder_product, qr
from .singular_values import cond, lstsq, matrix_norm, matrix_rank, pinv, svd, svdvals
from .structured_matrices import block_diag, toeplitz

__all__ = [
    "block_diag",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "householder_product",
    "inv",
    "lstsq",
    "lu",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "toeplitz",
    "trace",
    "vecdot",
    "vector_norm",
]


@tells_keywords
def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Any:
    """The diagonals of the matrices in the last two axes."""
    return diagonals.diagonal(x, offset, -2, -1)


@tells_keywords
def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums of the diagonals of the matrices in the last two axes."""
    return diagonals.trace(x, offset, -2, -1, dtype)


@tells_keywords
def outer(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The products of all pairs of elements of two vectors. Raises `ShapeError` for others."""
    x1, x2 = as_arraylike(x1), as_arraylike(x2)
    if len(shape_of(x1)) != 1 or len(shape_of(x2)) != 1:
        raise ShapeError(
            located(f"np.linalg.outer takes vectors, got {described(x1)} and {described(x2)}; np.outer flattens them")
        )
    return linear_algebra.outer(x1, x2)


@tells_keywords
def vector_norm(x: ArrayLike, /, *, axis: int | None = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The norm of the vectors along `axis`, or of all elements. See `norm`."""
    x = as_arraylike(x)
    if axis is not None:
        return reductions.norm(x, ord, axis, keepdims)
    whole = reductions.norm(reshaped(x, (math.prod(shape_of(x)),)), ord)
    return reshaped(whole, (1,) * len(shape_of(x))) if keepdims else whole


@tells_keywords
def norm(x: ArrayLike, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors along `axis`: 2, 1, inf, -inf, 0 or another power; or over two axes, and of a matrix, that of
    matrices: `matrix_norm`. Without `ord` the root of the sum of all squares.

    The derivative at a vector of zeros is 0, and so it is at an element of 0 where its power has none.
    """
    x = as_arraylike(x)
    axes = axes_tuple(axis, len(shape_of(x)))
    if ord is None or ord == "fro" or len(axes) != 2:
        return reductions.norm(x, ord, axis, keepdims)
    rows_and_columns = axes if axis is None else tuple(axis)  # in this order
    result = matrix_norm(moveaxis(x, rows_and_columns, (-2, -1)), ord=ord)
    for place in sorted(axes) if keepdims else ():
        result = expand_dims(result, place)
    return result


@tells_keywords
def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Any:
    """The vector products of vectors of three elements along `axis`; other axes broadcast."""
    return matrix_functions.cross(x1, x2, axis=axis)


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gradloom.numpy.linalg")
__dir__ = __all__.copy
