"""Eigenvalues of square matrices that need not be symmetric; the axes before the last two are a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, TypeRuleError, declare, same_attrs
from ..types import Array, ArrayType, is_float
from . import elementwise as ew
from .linalg import solve
from .matrices import batch_only, cubed, on_diagonal, part, product, quotient, spread, swapped


def _eig_type(x: ArrayType) -> ArrayType:
    if not is_float(x.dtype) or x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise TypeRuleError(f"takes square matrices of floats in the last two axes, got {x}")
    *batch, n, _ = x.shape
    return ArrayType((*batch, 2 * (n + 1), n), x.dtype)


def _eig(x: Array) -> Array:
    # SciPy's LAPACK, which programs call too: the sign of a vector differs from one build to another.
    from scipy import linalg  # pyright: ignore[reportMissingTypeStubs]

    decompose: Callable[..., tuple[Array, Array]] = vars(linalg)["eig"]

    if not np.isfinite(x).all():
        raise np.linalg.LinAlgError("Array must not contain infs or NaNs")
    *batch, n, _ = x.shape
    both = np.empty((*batch, n + 1, n), np.result_type(x.dtype, np.complex64))
    for place in np.ndindex(*batch) if n else ():
        both[place][0], both[place][1:] = decompose(x[place], check_finite=False)
    return np.concatenate([np.real(both), np.imag(both)], axis=-2).astype(x.dtype, copy=False)


def _eig_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Boeddeker and others 2017, "On the computation of complex-valued gradients with application to statistically
    # optimum beamforming": V⁻ᴴ (diag(w') + (Vᴴ V' - Vᴴ V Re diag(Vᴴ V')) / E*) Vᴴ with E[i, j] = w[j] - w[i], for
    # functions that do not depend on the phase of a vector. It is not finite where two eigenvalues are one and their
    # vectors are read. A complex matrix X + i Y is computed with as [[X, -Y], [Y, X]].
    *batch, n, _ = x.type.shape

    (re, v_re), (im, v_im), (of_re, g_re), (of_im, g_im) = (
        (OPS["reshape"](b, part(b, y, (at, at + 1)), shape=(*batch, n)), part(b, y, (at + 1, at + 1 + n)))
        for y in (o, g)
        for at in (0, n + 1)
    )
    along_re, along_im = _product_with_adjoint(b, v_re, v_im, g_re, g_im)
    length_re, length_im = _product_with_adjoint(b, v_re, v_im, v_re, v_im)
    is_diagonal = on_diagonal(b, x)
    zero, one = b.full_like(x, 0), b.full_like(x, 1)
    own = OPS["reduce_sum"](b, ew.select(b, is_diagonal, along_re, zero), axes=(x.type.ndim - 2,))
    own = swapped(b, spread(b, own, n))
    free_re, free_im = (
        ew.sub(b, along, ew.mul(b, length, own)) for along, length in ((along_re, length_re), (along_im, length_im))
    )
    apart_re, apart_im = (ew.sub(b, swapped(b, rows), rows) for rows in (spread(b, re, n), spread(b, im, n)))
    square = ew.add(b, ew.mul(b, apart_re, apart_re), ew.mul(b, apart_im, apart_im))
    square = ew.select(b, is_diagonal, one, square)
    turned_re = ew.sub(b, ew.mul(b, free_re, apart_re), ew.mul(b, free_im, apart_im))
    turned_im = ew.add(b, ew.mul(b, free_re, apart_im), ew.mul(b, free_im, apart_re))
    inside_re = ew.select(b, is_diagonal, spread(b, of_re, n), quotient(b, turned_re, square))
    inside_im = ew.select(b, is_diagonal, spread(b, of_im, n), quotient(b, turned_im, square))
    adjoint = swapped(b, _as_real(b, v_re, v_im))
    right = product(b, _as_real(b, inside_re, inside_im), part(b, adjoint, columns=(0, n)))
    return part(b, solve(b, adjoint, right), (0, n))


def _product_with_adjoint(b: Builder, x: Value, y: Value, p: Value, q: Value) -> tuple[Value, Value]:
    """The parts of (x + i y)ᴴ (p + i q)."""
    x, y = swapped(b, x), swapped(b, y)
    real = ew.add(b, product(b, x, p), product(b, y, q))
    return real, ew.sub(b, product(b, x, q), product(b, y, p))


def _as_real(b: Builder, x: Value, y: Value) -> Value:
    """[[x, -y], [y, x]], which multiplies, and is transposed, as x + i y multiplies and is conjugated."""
    last = x.type.ndim - 1
    above, below = OPS["concatenate"](b, x, ew.neg(b, y), axis=last), OPS["concatenate"](b, y, x, axis=last)
    return OPS["concatenate"](b, above, below, axis=last - 1)


def _eig_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 25 * cubed(1, inputs[0])


def eig_work_elements(n: int) -> int:
    """Elements that LAPACK works in."""
    return 40 * n


def _eig_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, its vectors, and what LAPACK works in."""
    n = inputs[0].shape[-1]
    return (2 * n * n + 2 * n + eig_work_elements(n)) * inputs[0].dtype.itemsize


eig = declare(
    Op(
        "eig",
        "linalg",
        _eig_type,
        _eig,
        _eig_flops,
        batch_only,
        _eig_vjp,
        "a row of the eigenvalues above a matrix with their vectors as columns, of length 1, the real parts above the "
        "imaginary ones: (..., 2 (n + 1), n)",
        accepts_strides=True,
        batch=same_attrs,
        workspace=_eig_workspace,
    )
)
