"""Factors of matrices, and systems of equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...ir import is_inexact
from ...ir.ops import elementwise, triangular_factors
from ...ir.ops import linalg as ops
from ..tracing.keywords import tells_keywords
from ..tracing.promotion import float_dtype, result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, emit, located, trace_of
from . import elementwise as e
from .broadcasting import as_arraylike, described, dtype_of, fitted, key_of, reshaped, shape_of
from .comparison import equal
from .complex_numbers import as_complex, is_complex_array, joined, parts
from .diagonals import tril, triu
from .indexing import getitem
from .linear_algebra import matmul
from .manipulation import concatenate, expand_dims, matrix_transpose
from .sorting import argsort


class EighResult(NamedTuple):
    """Eigenvalues, and their vectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class SlogdetResult(NamedTuple):
    """The sign of a determinant, and the logarithm of its absolute value."""

    sign: Any
    logabsdet: Any


@tells_keywords
def cholesky(a: ArrayLike, /, *, upper: bool = False) -> Any:
    """The lower triangular L with `L @ L.T == a` (`upper`: U with `U.T @ U == a`) of the matrices in the last two axes.

    Only the lower triangle is read, as the matrices are to be symmetric. The derivative is that along symmetric
    matrices, and symmetric itself, as JAX's and torch's: write `cholesky((a + a.T) / 2)` for one that differences along
    other matrices agree with. A run raises `np.linalg.LinAlgError`, and has changed nothing, where a matrix is not
    positive definite. Raises `ShapeError` for matrices that are not square.
    """
    (x,) = _matrices("cholesky", a)
    factor = emit(ops.cholesky, _symmetrically(x))
    return matrix_transpose(factor) if upper else factor


@tells_keywords
def cho_factor(a: ArrayLike, lower: bool = False) -> tuple[Any, bool]:
    """(c, lower) for `cho_solve`: the upper triangular factor of `cholesky`, or with `lower` the lower one, as
    `scipy.linalg.cho_factor`; the other triangle is 0. Only that triangle of `a` is read.
    """
    (x,) = _matrices("cholesky", a)
    factor = cholesky(x if lower else matrix_transpose(x))
    return (factor if lower else matrix_transpose(factor)), bool(lower)


@tells_keywords
def cho_solve(c_and_lower: tuple[ArrayLike, bool], b: ArrayLike) -> Any:
    """The x with `a @ x == b`, by what `cho_factor` gives for `a`; axes as in `solve`."""
    factor, lower = c_and_lower
    half = solve_triangular(factor, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(factor, half, trans=1 if lower else 0, lower=lower)


@tells_keywords
def eigh(a: ArrayLike, /, UPLO: str = "L") -> EighResult:
    """The eigenvalues of the symmetric matrices in the last two axes, from the smallest to the largest, and their
    vectors as columns.

    Only the lower triangle is read (`UPLO="U"`: the upper one); the derivative is symmetric, as that of `cholesky`.
    That of the vectors is not finite where two eigenvalues are equal. A run raises `np.linalg.LinAlgError`, and has
    changed nothing, where the iteration finds none. Raises `ShapeError` for matrices that are not square.
    """
    if UPLO not in ("L", "U", "l", "u"):
        raise ValueError(located(f"np.linalg.eigh: UPLO is 'L' or 'U', got {UPLO!r}"))
    (x,) = _matrices("eigh", a)
    both = emit(ops.eigh, _symmetrically(matrix_transpose(x) if UPLO in ("U", "u") else x))
    return EighResult(getitem(both, (..., 0, slice(None))), getitem(both, (..., slice(1, None), slice(None))))


@tells_keywords
def eigvalsh(a: ArrayLike, /, UPLO: str = "L") -> Any:
    """The eigenvalues of symmetric matrices. See `eigh`."""
    return eigh(a, UPLO).eigenvalues


@tells_keywords
def lu(a: ArrayLike, permute_l: bool = False, *, p_indices: bool = False) -> tuple[Any, ...]:
    """(P, L, U) with `P @ L @ U == a` for the matrices (..., m, n) in the last two axes, by elimination with exchange
    of rows, as `scipy.linalg.lu`. With k = min(m, n), P is a permutation (..., m, m), L lower triangular (..., m, k)
    with ones on its diagonal, and U upper triangular (..., k, n). With `permute_l` (P @ L, U); with `p_indices` P is
    the int64 indices (..., m) with `L[P] @ U == a`.

    Raises `ShapeError` below two axes.
    """
    x = as_arraylike(a)
    if len(shape_of(x)) < 2:
        raise ShapeError(located(f"lu takes matrices in the last two axes, got {described(x)}"))
    x = e.astype(x, float_dtype(dtype_of(x)))
    m, n = shape_of(x)[-2:]
    both, k = emit(triangular_factors.lu, x), min(m, n)
    lower = tril(getitem(both, (..., slice(None, k))), -1) + np.eye(m, k, dtype=dtype_of(x))
    upper = triu(getitem(both, (..., slice(None, k), slice(None, n))))
    row_of = e.astype(getitem(both, (..., n)), "int64")
    if p_indices and not permute_l:
        return argsort(row_of, axis=-1), lower, upper
    back = e.astype(equal(expand_dims(row_of, -2), np.arange(m)[:, None]), dtype_of(x))
    return (matmul(back, lower), upper) if permute_l else (back, lower, upper)


@tells_keywords
def solve(a: ArrayLike, b: ArrayLike, /) -> Any:
    """The x with `a @ x == b`: `b` is a vector if it has one axis, else its columns are right sides. Leading axes are
    broadcast.

    A run raises `np.linalg.LinAlgError`, and has changed nothing, where a matrix is singular. Raises `ShapeError` where
    shapes do not fit.
    """
    if is_complex_array(as_arraylike(a)) or is_complex_array(as_arraylike(b)):
        return _complex_solution("solve", as_complex(a), as_complex(b))
    matrices, columns, is_vector = _system("solve", a, b)
    return _without_column(emit(ops.solve, matrices, columns), is_vector)


@tells_keywords
def solve_triangular(
    a: ArrayLike, b: ArrayLike, trans: int | str = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """The x with `a @ x == b` (`trans` 1 or "T": `a.T @ x == b`), of one triangle of `a`; `unit_diagonal` takes ones
    for its diagonal.

    As `scipy.linalg.solve_triangular`, with leading axes as in `solve`; where the diagonal has a 0 the result is
    infinite or NaN. Raises `ShapeError` where shapes do not fit.
    """
    if trans not in (0, 1, "N", "T"):
        raise ValueError(located(f"solve_triangular: trans is 0 or 'N', 1 or 'T', got {trans!r}"))
    matrices, columns, is_vector = _system("solve_triangular", a, b)
    if unit_diagonal:
        matrices = e.where(np.eye(shape_of(matrices)[-1], dtype=bool), dtype_of(matrices).type(1), matrices)
    turned = trans in (1, "T")
    matrices = matrix_transpose(matrices) if turned else matrices
    solved = emit(ops.triangular_solve, matrices, columns, lower=bool(lower) != turned)
    return _without_column(solved, is_vector)


@tells_keywords
def inv(a: ArrayLike, /) -> Any:
    """The inverses of the matrices in the last two axes; `solve(a, b)` is faster and more precise than `inv(a) @ b`.

    A run raises `np.linalg.LinAlgError`, and has changed nothing, where a matrix is singular. Raises `ShapeError` for
    matrices that are not square.
    """
    if is_complex_array(as_arraylike(a)):
        a = as_complex(a)
        _check_square("inv", a)
        return _complex_solution("inv", a, np.eye(shape_of(a)[-1], dtype=dtype_of(a)))
    (x,) = _matrices("inv", a)
    shape = shape_of(x)
    trace = trace_of([x])
    return emit(ops.solve, x, fitted(np.eye(shape[-1], dtype=dtype_of(x)), dtype_of(x), shape, trace))


@tells_keywords
def slogdet(a: ArrayLike, /) -> SlogdetResult:
    """The sign and the logarithm of the absolute value of the determinants of the matrices in the last two axes.

    They are 0 and -inf where a matrix is singular; the derivative there raises `np.linalg.LinAlgError` in a run. Raises
    `ShapeError` for matrices that are not square.
    """
    (x,) = _matrices("slogdet", a)
    both = emit(ops.slogdet, x)
    return SlogdetResult(getitem(both, (..., 0)), getitem(both, (..., 1)))


@tells_keywords
def det(a: ArrayLike, /) -> Any:
    """The determinants of the matrices in the last two axes. See `slogdet`."""
    (x,) = _matrices("det", a)
    sign, logarithm = slogdet(x)
    return e.multiply(sign, e.exp(logarithm))


def _complex_solution(name: str, a: Any, b: Any) -> Any:
    """Of A + i B and C + i D that of [[A, -B], [B, A]] and [[C], [D]]: the real part above the imaginary one."""
    _check_square(name, a)
    (re, im), (right, right_im) = parts(a), parts(b)
    is_vector = len(shape_of(b)) == 1
    rows = [concatenate([re, e.negative(im)], axis=-1), concatenate([im, re], axis=-1)]
    both = solve(concatenate(rows, axis=-2), concatenate([right, right_im], axis=-1 if is_vector else -2))
    n = shape_of(a)[-1]
    halves = (slice(None, n), slice(n, None))
    return joined(*(getitem(both, (..., half) if is_vector else (..., half, slice(None))) for half in halves))


def _check_square(name: str, x: ArrayLike) -> None:
    shape = shape_of(x)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(located(f"np.linalg.{name} takes square matrices in the last two axes, got {described(x)}"))


def _matrices(name: str, *operands: ArrayLike) -> list[ArrayLike]:
    """Operands, the first of which are square matrices, in the float dtype that NumPy computes with."""
    arrays = [as_arraylike(x) for x in operands]
    _check_square(name, arrays[0])
    dtype = result_dtype(*map(key_of, arrays))
    dtype = dtype if is_inexact(dtype) else np.dtype("float64")
    return [e.astype(x, dtype) for x in arrays]


def _symmetrically(x: ArrayLike) -> ArrayLike:
    """`x`, with the derivative of what reads its lower triangle shared among both triangles."""
    if not isinstance(x, Tracer):
        return x
    half = e.multiply(e.add(x, matrix_transpose(x)), 0.5)
    return e.add(half, emit(elementwise.stop_gradient, e.subtract(x, half)))


def _system(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Any, Any, bool]:
    """Matrices and right sides as columns, of one batch, and whether the right side was a vector."""
    x, y = _matrices(name, a, b)
    is_vector = len(shape_of(y)) == 1
    if is_vector:
        y = reshaped(y, (*shape_of(y), 1))
    try:
        fits = shape_of(x)[-1] == shape_of(y)[-2]
        batch = np.broadcast_shapes(shape_of(x)[:-2], shape_of(y)[:-2])
    except (ValueError, IndexError):
        fits, batch = False, ()
    if not fits:
        rule = "b is a vector as long as the rows of a, or has such columns, and leading axes broadcast"
        shown = f"{described(as_arraylike(a))} and {described(as_arraylike(b))}"
        raise ShapeError(located(f"np.linalg.{name}: {shown} do not fit; {rule}"))
    trace, dtype = trace_of([x, y]), dtype_of(x)
    return (
        fitted(x, dtype, (*batch, *shape_of(x)[-2:]), trace),
        fitted(y, dtype, (*batch, *shape_of(y)[-2:]), trace),
        is_vector,
    )


def _without_column(x: Any, is_vector: bool) -> Any:
    return reshaped(x, shape_of(x)[:-1]) if is_vector else x
