"""Singular values, and what follows from them: ranks, condition numbers, norms, pseudoinverses, least squares.

The symmetric matrix [[0, a], [aᵀ, 0]] has the singular values of `a`, and their negatives, as its eigenvalues: small
ones are found as precisely as `eigh` finds eigenvalues, which those of aᵀ a are not.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...ir import finfo, is_float
from ..tracing.tracer import ArrayLike, ShapeError, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, reshaped, shape_of
from .comparison import equal, greater, less, logical_or, where
from .factors import eigh, eigvalsh, inv
from .indexing import getitem
from .linear_algebra import matmul
from .manipulation import concatenate, expand_dims, matrix_transpose
from .orthogonal_factors import matrices
from .reductions import count_nonzero, norm
from .reductions import max as max_of
from .reductions import min as min_of
from .reductions import sum as sum_of


class LstsqResult(NamedTuple):
    """What `lstsq` gives."""

    x: Any
    residuals: Any
    rank: Any
    s: Any


def _both(a: ArrayLike) -> ArrayLike:
    """[[0, a], [aᵀ, 0]]."""
    *batch, m, n = shape_of(a)
    dtype = dtype_of(a)
    above = concatenate([np.zeros((*batch, m, m), dtype), a], axis=-1)
    below = concatenate([matrix_transpose(a), np.zeros((*batch, n, n), dtype)], axis=-1)
    return concatenate([above, below], axis=-2)


def svdvals(x: ArrayLike, /) -> Any:
    """The singular values of the matrices in the last two axes, (..., min(m, n)), from the largest to the smallest.

    The derivative of one that occurs several times, or is 0, is one of its subgradients. Raises `ShapeError` below two
    axes.
    """
    x = matrices("svdvals", x)
    count = min(shape_of(x)[-2:])
    if not count:
        return np.zeros((*shape_of(x)[:-2], 0), dtype_of(x))
    found = getitem(eigvalsh(_both(x)), (..., slice(None, -1 - count, -1)))
    return e.maximum(found, 0)


def matrix_rank(A: ArrayLike, tol: ArrayLike | None = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """How many singular values are above `tol`, by default `rtol` times the largest, with `rtol` the longer side times
    the precision of the dtype; int64. Of an array below two axes: whether it is not 0.
    """
    A = as_arraylike(A)
    if len(shape_of(A)) < 2:
        return e.astype(e.minimum(count_nonzero(A), 1), "int64")
    A = matrices("matrix_rank", A)
    values = _singular(A, hermitian)
    if tol is None:
        precision = max(shape_of(A)[-2:]) * float(finfo(dtype_of(A)).eps) if rtol is None else rtol
        tol = max_of(values, -1, keepdims=True) * _for_each(precision)
    else:
        tol = _for_each(tol)
    return count_nonzero(greater(values, tol), -1)


def _for_each(limit: Any) -> Any:
    """A limit for each matrix, beside the singular values of each."""
    return limit if isinstance(limit, (int, float)) else expand_dims(as_arraylike(limit), -1)


def _singular(a: ArrayLike, hermitian: bool) -> Any:
    return e.abs(eigvalsh(a)) if hermitian else svdvals(a)


def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of the matrices in the last two axes: "fro", the root of the sum of squares; 1 and -1, the largest and
    least sum of absolute values of a column, inf and -inf of a row; 2 and -2, the largest and least singular value;
    "nuc", the sum of these. Raises `ValueError` for another one.
    """
    x = matrices("matrix_norm", x)
    if ord in ("fro", None):
        return norm(x, None, (-2, -1), keepdims)
    if ord not in (1, -1, 2, -2, math.inf, -math.inf, "nuc"):
        raise ValueError(located(f"np.linalg.norm of matrices is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}"))
    extreme = max_of if ord == "nuc" or ord > 0 else min_of
    if ord in (2, -2, "nuc"):
        values = svdvals(x)
        result = sum_of(values, -1) if ord == "nuc" else extreme(values, -1)
    else:
        result = extreme(sum_of(e.abs(x), -2 if ord in (1, -1) else -1), -1)
    return expand_dims(expand_dims(result, -1), -1) if keepdims else result


def cond(x: ArrayLike, p: Any = None) -> Any:
    """The condition numbers of the matrices in the last two axes: the quotient of the largest and least singular value,
    or for another norm `p` of `matrix_norm` that of the matrix times that of its inverse; inf of a singular matrix.
    """
    x = matrices("cond", x)
    if p in (None, 2, -2):
        values = svdvals(x)
        first, last = getitem(values, (..., 0)), getitem(values, (..., -1))
        high, low = (last, first) if p == -2 else (first, last)
        none = equal(low, 0)
        return where(none, math.inf, high / where(none, 1, low))
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


def pinv(a: ArrayLike, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The pseudoinverses (..., n, m) of the matrices (..., m, n) by Moore and Penrose. Singular values below `rtol`, or
    `rcond`, times the largest count as 0; by default 1e-15.

    The derivative is that along matrices of the same rank (Golub and Pereyra 1973). Raises `ShapeError` below two axes.
    """
    a = matrices("pinv", a)
    limit = rtol if rcond is None else rcond
    limit = 1e-15 if limit is None else limit
    if 0 in shape_of(a):
        *batch, m, n = shape_of(a)
        return np.zeros((*batch, n, m), dtype_of(a))
    return _pinv()(a, limit)


@functools.cache
def _pinv() -> Any:
    from ..tracing.custom_vjp import custom_vjp

    def value(a: Any, limit: Any) -> Any:
        m = shape_of(a)[-2]
        eigenvalues, vectors = eigh(_both(a))
        size = e.abs(eigenvalues)
        none = logical_or(less(size, max_of(size, -1, keepdims=True) * _for_each(limit)), equal(size, 0))
        inverse = where(none, 0, 1 / where(none, 1, eigenvalues))
        lower = getitem(vectors, (..., slice(m, None), slice(None)))
        upper = getitem(vectors, (..., slice(None, m), slice(None)))
        return matmul(lower * expand_dims(inverse, -2), matrix_transpose(upper))

    pinv = custom_vjp(value, nondiff_argnums=(1,))

    def forward(a: Any, limit: Any) -> Any:
        p = pinv(a, limit)
        return p, (a, p)

    def backward(limit: Any, kept: Any, g: Any) -> Any:
        a, p = kept
        p_t, g_t = matrix_transpose(p), matrix_transpose(g)
        along = -matmul(matmul(p_t, g), p_t)
        rows = matmul(matmul(g_t - matmul(a, matmul(p, g_t)), p), p_t)
        columns = matmul(matmul(p_t, p), g_t - matmul(matmul(g_t, p), a))
        return (along + rows + columns,)

    pinv.defvjp(forward, backward)
    return pinv


def lstsq(a: ArrayLike, b: ArrayLike, rcond: Any = None) -> LstsqResult:
    """(x, residuals, rank, s): the x of least length with the least |a x - b|², for `a` (m, n) and `b` (m,) or (m, k);
    the sum of squares for each column of b, (0,) where `a` has not the rank n or no more rows; the rank; and singular
    values. Those below `rcond` times the largest, by default the longer side times the precision of the dtype, count as
    0. The rank of a traced `a` is not known while tracing: residuals are then there where m > n.

    Raises `ShapeError` where shapes do not fit.
    """
    a, b = matrices("lstsq", a), as_arraylike(b)
    if len(shape_of(a)) != 2 or len(shape_of(b)) not in (1, 2) or shape_of(a)[0] != shape_of(b)[0]:
        raise ShapeError(
            located(f"np.linalg.lstsq: a is (m, n), b (m,) or (m, k), got {described(a)} and {described(b)}")
        )
    m, n = shape_of(a)
    limit = max(m, n) * float(finfo(dtype_of(a)).eps) if rcond is None else rcond
    b = cast(b, dtype_of(a)) if not is_float(dtype_of(b)) else b
    x = matmul(pinv(a, limit), b)
    rank = matrix_rank(a, rtol=limit)
    residuals: Any = np.zeros(0, dtype_of(a))
    if m > n and (not isinstance(rank, np.ndarray) or int(rank) == n):
        squares = sum_of(e.square(matmul(a, x) - b), 0)
        residuals = reshaped(squares, (1,)) if len(shape_of(b)) == 1 else squares
    return LstsqResult(x, residuals, rank, svdvals(a))
