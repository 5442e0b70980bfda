"""Factors of matrices of any sides by elimination; the axes before the last two are a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare, same_attrs
from ..types import Array, ArrayType, is_float
from . import elementwise as ew
from .linalg import PIVOT_BYTES, triangular_solve
from .matrices import batch_only, on_diagonal, part, places, product, spread, swapped, triangle


def _lu_type(x: ArrayType) -> ArrayType:
    if not is_float(x.dtype) or x.ndim < 2:
        raise TypeRuleError(f"takes matrices of floats in the last two axes, got {x}")
    *batch, m, n = x.shape
    return ArrayType((*batch, m, n + 1), x.dtype)


def _lu(x: Array) -> Array:
    *_, m, n = x.shape
    rows = np.broadcast_to(np.arange(m, dtype=x.dtype)[:, None], (*x.shape[:-1], 1))
    found = np.concatenate([x, rows], axis=-1)
    for lu in found.reshape(-1, m, n + 1) if found.size else ():
        for k in range(min(m, n)):
            best = k + int(np.argmax(np.abs(lu[k:, k])))
            lu[[k, best]] = lu[[best, k]]
            if lu[k, k] != 0:
                lu[k + 1 :, k] /= lu[k, k]
                lu[k + 1 :, k + 1 : n] -= np.outer(lu[k + 1 :, k], lu[k, k + 1 : n])
    return found


def _lu_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # De Hoog, Anderssen and Lukas 2011, "Differentiation of matrix functionals using triangular factorization": of a
    # square matrix, with its rows in the order of the factors, it is L⁻ᵀ (tril(Lᵀ L', -1) + triu(U' Uᵀ)) U⁻ᵀ. Further
    # rows are L₂ U, further columns L U₂, whose cotangents are L₂' U⁻ᵀ and L⁻ᵀ U₂'.
    *batch, m, n = x.type.shape
    k = min(m, n)
    if not k:
        return b.full_like(x, 0)
    square, of_square = (part(b, y, (0, k), (0, k)) for y in (o, g))
    is_diagonal = on_diagonal(b, square)
    zero, one = b.full_like(square, 0), b.full_like(square, 1)

    def strictly_lower(y: Value) -> Value:
        return ew.select(b, is_diagonal, zero, triangle(b, y, True))

    adjoint = swapped(b, ew.select(b, is_diagonal, one, triangle(b, square, True)))
    upper = triangle(b, square, False)
    of_lower, of_upper = strictly_lower(of_square), triangle(b, of_square, False)
    rest = None
    if m > k:
        rest = swapped(b, triangular_solve(b, upper, swapped(b, part(b, g, (k, m), (0, k))), lower=False))
        below = product(b, swapped(b, part(b, o, (k, m), (0, k))), rest)
        of_upper = ew.sub(b, of_upper, triangle(b, below, False))
    elif n > k:
        rest = triangular_solve(b, adjoint, part(b, g, (0, k), (k, n)), lower=False)
        of_lower = ew.sub(b, of_lower, strictly_lower(product(b, rest, swapped(b, part(b, o, (0, k), (k, n))))))
    inside = ew.add(
        b,
        strictly_lower(product(b, adjoint, of_lower)),
        triangle(b, product(b, of_upper, swapped(b, upper)), False),
    )
    half = swapped(b, triangular_solve(b, upper, swapped(b, inside), lower=False))
    result = triangular_solve(b, adjoint, half, lower=False)
    if rest is not None:
        result = OPS["concatenate"](b, result, rest, axis=x.type.ndim - (2 if m > k else 1))
    order = OPS["reshape"](b, part(b, o, columns=(n, n + 1)), shape=(*batch, m))
    order = spread(b, order, m)
    is_row = ew.eq(b, order, ew.cast(b, places(b, order)[1], dtype=x.type.dtype))
    back = swapped(b, ew.select(b, is_row, b.full_like(order, 1), b.full_like(order, 0)))
    return product(b, back, result)


def _lu_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return inputs[0].size * min(inputs[0].shape[-2:])


def _lu_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, and the rows that its factorization exchanges."""
    m, n = inputs[0].shape[-2:]
    return m * n * inputs[0].dtype.itemsize + min(m, n) * PIVOT_BYTES


lu = declare(
    Op(
        "lu",
        "linalg",
        _lu_type,
        _lu,
        _lu_flops,
        batch_only,
        _lu_vjp,
        "U and below its diagonal L, which has ones on its own, of x = Pᵀ L U, beside the row of x that each of theirs "
        "is of: (..., m, n + 1)",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=same_attrs,
        workspace=_lu_workspace,
    )
)
