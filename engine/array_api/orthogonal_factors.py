"""Factors of matrices of any sides, one of them orthogonal."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...ir.ops import orthogonal_factors as ops
from ..tracing.errors import UnsupportedError
from ..tracing.keywords import tells_keywords
from ..tracing.promotion import float_dtype, result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, key_of, shape_of
from .diagonals import tril, triu
from .factors import solve_triangular
from .indexing import getitem
from .linear_algebra import matmul
from .manipulation import expand_dims, matrix_transpose


class QRResult(NamedTuple):
    """A matrix with orthonormal columns, and an upper triangle."""

    Q: Any
    R: Any


@tells_keywords
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """(Q, R) with `Q @ R == a` for the matrices (..., m, n) in the last two axes: Q has orthonormal columns, R is upper
    triangular, and the signs are LAPACK's. With k = min(m, n), `mode` "reduced" gives Q (..., m, k) and R (..., k, n),
    "complete" Q (..., m, m) and R (..., m, n), and "r" the reduced R alone.

    Derivatives are finite where the first k columns are independent. The complete factors of a tall matrix have none:
    nothing says which the last columns of Q are, and a derivative raises `NotImplementedError`. Raises `ShapeError`
    below two axes, `ValueError` for another mode.
    """
    if mode == "raw":
        advice = "write mode='reduced', or call scipy.linalg.qr(a, mode='raw') outside"
        raise UnsupportedError(located(f"np.linalg.qr: mode='raw' is not traced; {advice}"))
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(located(f"np.linalg.qr: mode is 'reduced', 'complete' or 'r', got {mode!r}"))
    a = matrices("qr", a)
    m = shape_of(a)[-2]
    both = emit(ops.qr, a, complete=mode == "complete")
    r = getitem(both, (..., slice(m, None)))
    if mode == "r":
        return r
    return QRResult(matrix_transpose(getitem(both, (..., slice(None, m)))), r)


def matrices(name: str, a: ArrayLike) -> ArrayLike:
    """An operand whose last two axes are matrices, as floats. Raises `ShapeError` below two axes."""
    a = as_arraylike(a)
    if len(shape_of(a)) < 2:
        raise ShapeError(located(f"np.linalg.{name} takes matrices in the last two axes, got {described(a)}"))
    return cast(a, float_dtype(dtype_of(a)))


@tells_keywords
def householder_product(a: ArrayLike, taus: ArrayLike, /) -> Any:
    """The first n columns of the product of reflections I - taus[..., i] v vᵀ, as `torch.linalg.householder_product`:
    v is column i of `a` (..., m, n) below its diagonal, with 1 on it and 0 above. `taus` is (..., k), k <= n <= m.

    The product is made at once, as I - V T Vᵀ with T of a triangular system (Schreiber and Van Loan 1989). Raises
    `ShapeError` where shapes do not fit.
    """
    a, taus = matrices("householder_product", a), as_arraylike(taus)
    *batch, m, n = shape_of(a)
    if not n <= m or len(shape_of(taus)) != len(batch) + 1 or shape_of(taus)[-1] > n:
        rule = "a is (..., m, n) and taus (..., k), with k <= n <= m"
        shown = f"{described(a)} and {described(taus)}"
        raise ShapeError(located(f"np.linalg.householder_product: {rule}, got {shown}"))
    dtype = float_dtype(result_dtype(key_of(a), key_of(taus)))
    a, taus, k = cast(a, dtype), expand_dims(cast(taus, dtype), -1), shape_of(taus)[-1]
    v = tril(getitem(a, (..., slice(None, k))), -1) + np.eye(m, k, dtype=dtype)
    # T⁻¹ has 1 / taus on its diagonal, and above this that of Vᵀ V; without the division a tau of 0 is no exception.
    system = triu(e.multiply(taus, matmul(matrix_transpose(v), v)), 1)
    rows = e.multiply(taus, matrix_transpose(getitem(v, (..., slice(None, n), slice(None)))))
    return np.eye(m, n, dtype=dtype) - matmul(v, solve_triangular(system, rows, unit_diagonal=True))
