"""Singular values, and what follows from them: ranks, condition numbers, norms, pseudoinverses, least squares."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...ir import finfo, is_float
from ...ir.ops import orthogonal_factors as ops
from ..tracing.keywords import tells_keywords
from ..tracing.tracer import ArrayLike, ShapeError, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, reshaped, shape_of
from .comparison import equal, greater, less, where
from .diagonals import tril
from .factors import eigh, eigvalsh, inv, slogdet
from .indexing import getitem, take_along_axis
from .linear_algebra import matmul
from .manipulation import concatenate, expand_dims, matrix_transpose
from .orthogonal_factors import matrices, qr
from .reductions import count_nonzero, norm
from .reductions import max as max_of
from .reductions import min as min_of
from .reductions import sum as sum_of
from .sorting import argsort


class LstsqResult(NamedTuple):
    """What `lstsq` gives."""

    x: Any
    residuals: Any
    rank: Any
    s: Any


class SVDResult(NamedTuple):
    """Vectors as columns, singular values, and vectors as rows."""

    U: Any
    S: Any
    Vh: Any


@tells_keywords
def svd(a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """(U, S, Vh) with `a == U[..., :k] * S[..., None, :] @ Vh[..., :k, :]` for the matrices (..., m, n) in the last two
    axes and k = min(m, n): U has orthonormal columns, Vh orthonormal rows, and S is (..., k), from the largest to the
    smallest. U is (..., m, m) and Vh (..., n, n), without `full_matrices` (..., m, k) and (..., k, n); without
    `compute_uv` S alone. `hermitian` says that matrices are symmetric: only the lower triangle is read.

    The signs are LAPACK's. The derivative of vectors is not finite where two singular values are equal, or one is 0.
    Vectors that complete U or Vh have none, and one raises `NotImplementedError`: write `full_matrices=False`. A run
    raises `np.linalg.LinAlgError`, and has changed nothing, where the iteration finds no singular values. Raises
    `ShapeError` below two axes.
    """
    a = matrices("svd", a)
    if hermitian:
        return _of_symmetric(a, compute_uv)
    if not compute_uv:
        return svdvals(a)
    m, n = shape_of(a)[-2:]
    both = emit(ops.svd, a)
    left, right = (getitem(both, (..., part)) for part in (slice(None, m), slice(m + 1, None)))
    u = matrix_transpose(left)
    if full_matrices and m > n:
        u = _completed(u)
    elif full_matrices and n > m:
        right = matrix_transpose(_completed(matrix_transpose(right)))
    return SVDResult(u, getitem(both, (..., m)), right)


def _completed(x: ArrayLike) -> ArrayLike:
    """Orthonormal columns, and as many more behind them as there are rows."""
    more = getitem(qr(x, "complete").Q, (..., slice(shape_of(x)[-1], None)))
    return concatenate([x, more], axis=-1)


def _of_symmetric(a: ArrayLike, compute_uv: bool) -> Any:
    if shape_of(a)[-1] != shape_of(a)[-2]:
        raise ShapeError(located(f"np.linalg.svd: hermitian matrices are square, got {described(a)}"))
    values, vectors = eigh(a)
    order = argsort(-e.abs(values), axis=-1)
    values = take_along_axis(values, order, axis=-1)
    if not compute_uv:
        return e.abs(values)
    u = take_along_axis(vectors, expand_dims(order, -2), axis=-1)
    signs = where(less(values, 0), -1, 1)
    return SVDResult(u, e.abs(values), matrix_transpose(u * expand_dims(signs, -2)))


@tells_keywords
def svdvals(x: ArrayLike, /) -> Any:
    """The singular values of the matrices in the last two axes, (..., min(m, n)), from the largest to the smallest.

    The derivative of one that occurs several times, or is 0, is one of its subgradients. Raises `ShapeError` below two
    axes.
    """
    x = matrices("svdvals", x)
    return getitem(emit(ops.svd, x), (..., shape_of(x)[-2]))


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
    values = svdvals(x) if ord in (2, -2, "nuc") else sum_of(e.abs(x), -2 if ord in (1, -1) else -1)
    if ord == "nuc" or (ord > 0 and not shape_of(values)[-1]):  # the largest of none is 0
        result = sum_of(values, -1)
    else:
        result = (max_of if ord > 0 else min_of)(values, -1)
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
    singular = equal(slogdet(x).sign, 0)
    regular = where(expand_dims(expand_dims(singular, -1), -1), np.eye(shape_of(x)[-1], dtype=dtype_of(x)), x)
    return where(singular, math.inf, matrix_norm(x, ord=p) * matrix_norm(inv(regular), ord=p))


def pinv(a: ArrayLike, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The pseudoinverses (..., n, m) of the matrices (..., m, n) by Moore and Penrose. Singular values below `rtol`, or
    `rcond`, times the largest count as 0; by default 1e-15.

    The derivative is that along matrices of the same rank (Golub and Pereyra 1973). Raises `ShapeError` below two axes.
    """
    a = matrices("pinv", a)
    if hermitian:
        a = tril(a) + matrix_transpose(tril(a, -1))
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
        u, values, right = svd(a, full_matrices=False)
        known = greater(values, max_of(values, -1, keepdims=True) * _for_each(limit))
        inverse = where(known, 1 / where(known, values, 1), 0)
        return matmul(matrix_transpose(right) * expand_dims(inverse, -2), matrix_transpose(u))

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
    rank = e.astype(matrix_rank(a, rtol=limit), "int32")
    residuals: Any = np.zeros(0, dtype_of(a))
    if m > n and (not isinstance(rank, np.ndarray) or int(rank) == n):
        squares = sum_of(e.square(matmul(a, x) - b), 0)
        residuals = reshaped(squares, (1,)) if len(shape_of(b)) == 1 else squares
    return LstsqResult(x, residuals, rank, svdvals(a))
