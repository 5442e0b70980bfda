"""Factors, inverses and determinants of matrices. Counts that torch gives beside, of what failed, are 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import array_api as xp
from ...tracing.errors import UnsupportedError, located
from ..table import aten


def _nothing_failed(a: Any) -> Any:
    return np.zeros(a.shape[:-2], np.int32)


@aten("_linalg_solve_ex.default")
def solve(a: Any, b: Any, left: bool = True, check_errors: bool = False) -> Any:
    """x of a x = b, or of x a = b; b holds vectors where it has the shape of `a` without its last axis."""
    vectors = b.ndim == 1 or (b.ndim == a.ndim - 1 and tuple(b.shape) == tuple(a.shape[:-1]))
    if vectors:
        b = xp.expand_dims(b, -1)
    x = (
        xp.linalg.solve(a, b)
        if left
        else xp.swapaxes(xp.linalg.solve(xp.swapaxes(a, -1, -2), xp.swapaxes(b, -1, -2)), -1, -2)
    )
    return xp.squeeze(x, -1) if vectors else x, None, None, _nothing_failed(a)


@aten("linalg_inv_ex.default")
def inverse(a: Any, check_errors: bool = False) -> Any:
    """The inverse."""
    return xp.linalg.inv(a), _nothing_failed(a)


@aten("_linalg_det.default")
def determinant(a: Any) -> Any:
    """The determinant."""
    return xp.linalg.det(a), None, None


@aten("_linalg_slogdet.default")
def sign_and_logarithm(a: Any) -> Any:
    """The sign of the determinant, and the logarithm of its size."""
    sign, logarithm = xp.linalg.slogdet(a)
    return sign, logarithm, None, None


@aten("linalg_cholesky_ex.default")
def cholesky(a: Any, upper: bool = False, check_errors: bool = False) -> Any:
    """The triangle L of a = L Lᵀ."""
    return xp.linalg.cholesky(a, upper=upper), _nothing_failed(a)


@aten("linalg_solve_triangular.default")
def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """x of a x = b, or of x a = b, for a triangle."""
    if left:
        return xp.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
    x = xp.linalg.solve_triangular(a, xp.swapaxes(b, -1, -2), trans=1, lower=not upper, unit_diagonal=unitriangular)
    return xp.swapaxes(x, -1, -2)


@aten("cholesky_solve.default")
def cholesky_solve(b: Any, factor: Any, upper: bool = False) -> Any:
    """x of L Lᵀ x = b."""
    first, second = (1, 0) if upper else (0, 1)
    x = xp.linalg.solve_triangular(factor, b, trans=first, lower=not upper)
    return xp.linalg.solve_triangular(factor, x, trans=second, lower=not upper)


@aten("linalg_qr.default")
def qr(a: Any, mode: str = "reduced") -> Any:
    """Orthogonal columns and a triangle."""
    if mode == "r":
        return None, xp.linalg.qr(a, "r")
    q, r = xp.linalg.qr(a, mode)
    return q, r


@aten("_linalg_eigh.default")
def eigh(a: Any, uplo: str = "L", compute_v: bool = True) -> Any:
    """Eigenvalues and eigenvectors of a symmetric matrix."""
    if not compute_v:
        return xp.linalg.eigvalsh(a, uplo), None
    values, vectors = xp.linalg.eigh(a, uplo)
    return values, vectors


@aten("_linalg_svd.default")
def svd(a: Any, full_matrices: bool = False, compute_uv: bool = True, driver: str | None = None) -> Any:
    """Singular values between their vectors, which torch asks for wherever there may be a derivative."""
    return tuple(xp.linalg.svd(a, full_matrices)) if compute_uv else (None, xp.linalg.svdvals(a), None)


@aten("linalg_lu.default")
def lu(a: Any, pivot: bool = True) -> Any:
    """A permutation and two triangles."""
    if not pivot:
        raise UnsupportedError(located("torch.linalg.lu with pivot=False is not supported; leave it away"))
    return xp.linalg.lu(a)


@aten("linalg_householder_product.default")
def householder_product(a: Any, tau: Any) -> Any:
    """Columns of a product of reflections."""
    return xp.linalg.householder_product(a, tau)


@aten("linalg_matrix_exp.default")
def matrix_exp(a: Any) -> Any:
    """The exponential of a matrix."""
    return xp.linalg.expm(a)


@aten("linalg_pinv.atol_rtol_tensor", whole=True)
def pinv(a: Any, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """The pseudo-inverse of Moore and Penrose."""
    if atol is not None:
        raise UnsupportedError(located("torch.linalg.pinv with atol is not supported; write rtol"))
    rtol = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol
    return xp.linalg.pinv(a, hermitian=hermitian, rtol=rtol)
