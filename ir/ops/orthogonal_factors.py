"""Factors of matrices of any sides, one of them orthogonal; the axes before the last two are a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare, same_attrs
from ..types import Array, ArrayType, is_float
from . import elementwise as ew
from .linalg import PIVOT_BYTES, triangular_solve
from .matrices import batch_only, on_diagonal, part, product, quotient, spread, swapped, triangle

LAPACK_BLOCK = 32
"""Columns that LAPACK takes together, for each of which it works in a column or row of the matrix."""


def _check_matrices(x: ArrayType) -> None:
    if not is_float(x.dtype) or x.ndim < 2:
        raise TypeRuleError(f"takes matrices of floats in the last two axes, got {x}")


# An orthogonal matrix and a triangle.


def _qr_type(x: ArrayType, complete: bool) -> ArrayType:
    _check_matrices(x)
    *batch, m, n = x.shape
    return ArrayType((*batch, m if complete else min(m, n), m + n), x.dtype)


def _qr(x: Array, complete: bool) -> Array:
    q, r = np.linalg.qr(x, "complete" if complete else "reduced")
    return np.concatenate([np.swapaxes(q, -1, -2), r], axis=-1)


def _qr_vjp(b: Builder, g: Value, o: Value, x: Value, complete: bool) -> Value:
    # Walter and Lehmann 2012, "Algorithmic differentiation of linear algebra functions": with M = R' Rᵀ - Qᵀ Q', the
    # cotangent is (Q' + Q S) R⁻ᵀ, where S is the symmetric matrix whose upper triangle is that of M. Of a wide matrix
    # the first columns have these factors, and the others are Q times theirs of R.
    *_, m, n = x.type.shape
    k = min(m, n)
    if o.type.shape[-2] > k:
        where = f", at {b.origin.source}" if b.origin.source else ""
        raise NotImplementedError(
            "the columns that complete an orthogonal matrix have no derivative, as nothing says which they are; write "
            f"mode='reduced' for np.linalg.qr, full_matrices=False for np.linalg.svd{where}"
        )
    square = min(m + k, m + n)
    q, r = part(b, o, (0, k), (0, m)), part(b, o, (0, k), (m, square))
    of_q, of_r = part(b, g, (0, k), (0, m)), part(b, g, (0, k), (m, square))
    of_rest = part(b, g, (0, k), (square, m + n)) if n > k else None
    if of_rest is not None:
        of_q = ew.add(b, of_q, product(b, of_rest, swapped(b, part(b, x, columns=(k, n)))))
    both = ew.sub(b, product(b, of_r, swapped(b, r)), product(b, q, swapped(b, of_q)))
    upper = triangle(b, both, False, half_diagonal=True)
    symmetric = ew.add(b, upper, swapped(b, upper))
    first = swapped(b, triangular_solve(b, r, ew.add(b, of_q, product(b, symmetric, q)), lower=False))
    if of_rest is None:
        return first
    return OPS["concatenate"](b, first, product(b, swapped(b, q), of_rest), axis=x.type.ndim - 1)


def _qr_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    x, rows = inputs[0], outputs[0].shape[-2]
    return 2 * x.size * (min(x.shape[-2:]) + rows)


def qr_work_elements(m: int, n: int, rows: int) -> int:
    """Elements that LAPACK works in."""
    return LAPACK_BLOCK * max(n, rows, 1)


def _qr_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, a number for each of its reflections, and what LAPACK works in."""
    m, n = inputs[0].shape[-2:]
    return (m * n + min(m, n) + qr_work_elements(m, n, outputs[0].shape[-2])) * inputs[0].dtype.itemsize


qr = declare(
    Op(
        "qr",
        "linalg",
        _qr_type,
        _qr,
        _qr_flops,
        batch_only,
        _qr_vjp,
        "the Qᵀ with orthogonal rows, min(m, n) or if `complete` m of them, beside the upper triangular R of x = Q R: "
        "(..., rows, m + n)",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=same_attrs,
        workspace=_qr_workspace,
    )
)


# Singular values.


def _svd_type(x: ArrayType) -> ArrayType:
    _check_matrices(x)
    *batch, m, n = x.shape
    return ArrayType((*batch, min(m, n), m + 1 + n), x.dtype)


def _svd(x: Array) -> Array:
    u, s, v = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([np.swapaxes(u, -1, -2), s[..., None], v], axis=-1)


def _svd_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Townsend 2016, "Differentiating the singular value decomposition". It is not finite where two singular values are
    # one, or one is 0, and their vectors are read.
    *batch, m, n = x.type.shape
    k = min(m, n)
    if not k:
        return b.full_like(x, 0)
    (u, s, v), (of_u, of_s, of_v) = (
        (part(b, y, columns=(0, m)), part(b, y, columns=(m, m + 1)), part(b, y, columns=(m + 1, m + 1 + n)))
        for y in (o, g)
    )
    s, of_s = (OPS["reshape"](b, y, shape=(*batch, k)) for y in (s, of_s))
    rows = spread(b, s, k)
    columns = swapped(b, rows)
    skew_u, skew_v = (
        ew.sub(b, y, swapped(b, y)) for y in (product(b, u, swapped(b, of_u)), product(b, v, swapped(b, of_v)))
    )
    turned = ew.add(b, ew.mul(b, skew_u, columns), ew.mul(b, skew_v, rows))
    apart = ew.mul(b, ew.sub(b, columns, rows), ew.add(b, columns, rows))
    inside = ew.select(b, on_diagonal(b, rows), spread(b, of_s, k), quotient(b, turned, apart))
    result = product(b, swapped(b, u), product(b, inside, v))
    if m > k:
        beside = quotient(b, _outside(b, of_u, u), spread(b, s, m))
        result = ew.add(b, result, product(b, swapped(b, beside), v))
    if n > k:
        beside = quotient(b, _outside(b, of_v, v), spread(b, s, n))
        result = ew.add(b, result, product(b, swapped(b, u), beside))
    return result


def _outside(b: Builder, x: Value, unit: Value) -> Value:
    """What of the rows of `x` is orthogonal to all rows of `unit`, which are so to each other."""
    return ew.sub(b, x, product(b, product(b, x, swapped(b, unit)), unit))


def _svd_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    m, n = inputs[0].shape[-2:]
    return inputs[0].size * 14 * min(m, n)


def svd_words(m: int, n: int) -> tuple[int, int]:
    """Elements and integers that LAPACK's divide and conquer works in."""
    k = min(m, n)
    return 4 * k * k + 7 * k + LAPACK_BLOCK * (m + n), 8 * k


def _svd_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, its singular values and right vectors, and what its divide and conquer works in."""
    m, n = inputs[0].shape[-2:]
    k, (elements, integers) = min(m, n), svd_words(m, n)
    return (m * n + k + k * n + elements) * inputs[0].dtype.itemsize + integers * PIVOT_BYTES


svd = declare(
    Op(
        "svd",
        "linalg",
        _svd_type,
        _svd,
        _svd_flops,
        batch_only,
        _svd_vjp,
        "the Uᵀ with orthogonal rows, a column of the singular values from the largest to the smallest, and the V with "
        "orthogonal rows, beside each other, of x = U diag(s) V: (..., min(m, n), m + 1 + n)",
        accepts_strides=True,
        batch=same_attrs,
        workspace=_svd_workspace,
    )
)
