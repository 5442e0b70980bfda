"""Linear systems and factors of square matrices, which are the last two axes; the axes before them are a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare, same_attrs
from ..types import Array, ArrayType, is_float
from . import elementwise as ew
from .matrices import batch_only, cubed, on_diagonal, part, product, quotient, swapped, triangle

PIVOT_BYTES = 4
"""Bytes of an index that LAPACK keeps for each row it exchanges."""


def _check_square(x: ArrayType) -> None:
    if not is_float(x.dtype) or x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise TypeRuleError(f"takes square matrices of floats in the last two axes, got {x}")


def _system_type(a: ArrayType, b: ArrayType) -> ArrayType:
    _check_square(a)
    if a.dtype != b.dtype or a.ndim != b.ndim or a.shape[:-1] != b.shape[:-1]:
        raise TypeRuleError(f"the right sides are columns (..., n, m) for matrices (..., n, n), got {a} and {b}")
    return b


def _columns_apart(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    """The matrices of a batch are apart, and so are the columns of the right side."""
    batch = list(range(output.ndim - 2))
    return [[*batch, None, None], [*batch, None, output.ndim - 1]]


# The factor of a positive definite matrix.


def _cholesky_type(x: ArrayType) -> ArrayType:
    _check_square(x)
    return x


def _cholesky(x: Array) -> Array:
    return np.linalg.cholesky(x)


def _cholesky_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Murray 2016, "Differentiation of the Cholesky decomposition": with P = Φ(Lᵀ g), the lower triangle with half its
    # diagonal, the cotangent of a symmetric matrix is L⁻ᵀ (P + Pᵀ) L⁻¹ / 2. Only the lower triangle is read, so each
    # element below the diagonal stands for two.
    inside = triangle(b, product(b, swapped(b, o), g), True, half_diagonal=True)
    upper = swapped(b, o)
    left = triangular_solve(b, upper, ew.add(b, inside, swapped(b, inside)), lower=False)
    both = triangular_solve(b, upper, swapped(b, left), lower=False)
    return triangle(b, both, True, half_diagonal=True)


def _cholesky_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return cubed(3, inputs[0])


cholesky = declare(
    Op(
        "cholesky",
        "linalg",
        _cholesky_type,
        _cholesky,
        _cholesky_flops,
        batch_only,
        _cholesky_vjp,
        "the lower triangular L with L Lᵀ = x, of which the lower triangle is read; a matrix that is not positive "
        "definite stops the run",
        accepts_strides=True,
        batch=same_attrs,
    )
)


# Eigenvalues of symmetric matrices.


def _eigh_type(x: ArrayType) -> ArrayType:
    _check_square(x)
    return ArrayType((*x.shape[:-2], x.shape[-1] + 1, x.shape[-1]), x.dtype)


def _eigh(x: Array) -> Array:
    values, vectors = np.linalg.eigh(x)
    return np.concatenate([values[..., None, :], vectors], axis=-2)


def _eigh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Giles 2008, "Collected matrix derivative results": of a symmetric matrix it is V (diag(w') + E ∘ VᵀV') Vᵀ, with
    # E[i, j] = 1 / (w[j] - w[i]). It is not finite where two eigenvalues are one and their vectors are read.
    n = x.type.shape[-1]
    values, vectors, of_vectors = part(b, o, rows=(0, 1)), part(b, o, rows=(1, n + 1)), part(b, g, rows=(1, n + 1))
    axes = tuple(range(x.type.ndim))
    along_rows = OPS["broadcast"](b, _flat(b, values), shape=x.type.shape, axes=(*axes[:-2], axes[-1]))
    of_values = OPS["broadcast"](b, _flat(b, part(b, g, rows=(0, 1))), shape=x.type.shape, axes=(*axes[:-2], axes[-1]))
    is_diagonal = on_diagonal(b, x)
    apart = ew.sub(b, along_rows, swapped(b, along_rows))
    apart = ew.select(b, is_diagonal, b.full_like(x, 1), apart)
    rotated = quotient(b, product(b, swapped(b, vectors), of_vectors), apart)
    inside = ew.select(b, is_diagonal, of_values, rotated)
    whole = product(b, product(b, vectors, inside), swapped(b, vectors))
    return triangle(b, ew.add(b, whole, swapped(b, whole)), True, half_diagonal=True)


def _flat(b: Builder, row: Value) -> Value:
    """Matrices of one row as vectors."""
    *batch, _, columns = row.type.shape
    return OPS["reshape"](b, row, shape=(*batch, columns))


def _eigh_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[*range(output.ndim - 2), None, None]]


def _eigh_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 9 * cubed(1, inputs[0])


def eigh_words(n: int) -> tuple[int, int]:
    """Elements and integers that LAPACK's divide and conquer works in."""
    return 1 + 6 * n + 2 * n * n, 3 + 5 * n


def _eigh_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, and what its divide and conquer works in."""
    n = inputs[0].shape[-1]
    elements, integers = eigh_words(n)
    return (n * n + elements) * inputs[0].dtype.itemsize + integers * PIVOT_BYTES


eigh = declare(
    Op(
        "eigh",
        "linalg",
        _eigh_type,
        _eigh,
        _eigh_flops,
        _eigh_axes,
        _eigh_vjp,
        "a row of the eigenvalues of a symmetric matrix, of which the lower triangle is read, from the smallest to the "
        "largest, above a matrix with their vectors as columns: (..., n + 1, n)",
        accepts_strides=True,
        batch=same_attrs,
        workspace=_eigh_workspace,
    )
)


# Systems with one solution.


def _triangular_solve_type(a: ArrayType, b: ArrayType, lower: bool) -> ArrayType:
    return _system_type(a, b)


def _triangular_solve(a: Array, b: Array, lower: bool) -> Array:
    n = a.shape[-1]
    x = np.zeros_like(b)
    for i in range(n) if lower else reversed(range(n)):
        done = slice(0, i) if lower else slice(i + 1, n)
        known = np.matmul(a[..., i : i + 1, done], x[..., done, :])
        x[..., i : i + 1, :] = (b[..., i : i + 1, :] - known) / a[..., i : i + 1, i : i + 1]
    return x


def _triangular_solve_vjp(b: Builder, g: Value, o: Value, a: Value, y: Value, lower: bool) -> tuple[Value, Value]:
    of_y = triangular_solve(b, swapped(b, a), g, lower=not lower)
    return triangle(b, ew.neg(b, product(b, of_y, swapped(b, o))), lower), of_y


def _triangular_solve_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return inputs[1].size * inputs[0].shape[-1]


triangular_solve = declare(
    Op(
        "triangular_solve",
        "linalg",
        _triangular_solve_type,
        _triangular_solve,
        _triangular_solve_flops,
        _columns_apart,
        _triangular_solve_vjp,
        "the x with a x = b, of the lower or the upper triangle of a; infinite or NaN where its diagonal has a 0",
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=same_attrs,
    )
)


def _factor_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """A copy of one matrix, and the rows that its factorization exchanges."""
    n = inputs[0].shape[-1]
    return n * n * inputs[0].dtype.itemsize + n * PIVOT_BYTES


def _solve(a: Array, b: Array) -> Array:
    return np.linalg.solve(a, b)


def _solve_vjp(b: Builder, g: Value, o: Value, a: Value, y: Value) -> tuple[Value, Value]:
    of_y = solve(b, swapped(b, a), g)
    return ew.neg(b, product(b, of_y, swapped(b, o))), of_y


def _solve_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    matrices, right = inputs
    return 2 * (cubed(3, matrices) + right.size * right.shape[-2]) if right.size else 0


solve = declare(
    Op(
        "solve",
        "linalg",
        _system_type,
        _solve,
        _solve_flops,
        batch_only,
        _solve_vjp,
        "the x with a x = b, by elimination with exchange of rows; a matrix that is singular stops the run",
        accepts_strides=True,
        batch=same_attrs,
        workspace=_factor_workspace,
    )
)


def _slogdet_type(x: ArrayType) -> ArrayType:
    _check_square(x)
    return ArrayType((*x.shape[:-2], 2), x.dtype)


def _slogdet(x: Array) -> Array:
    return np.stack(np.linalg.slogdet(x), axis=-1).astype(x.dtype, copy=False)


def _slogdet_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[*range(output.ndim - 1), None]]


def _slogdet_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # The sign is constant; of log |det x| the derivative is the transposed inverse.
    *batch, _ = g.type.shape
    start, stop = (*(0 for _ in batch), 1), (*batch, 2)
    of_log = OPS["slice"](b, g, start=start, stop=stop, step=(1,) * len(stop))
    of_log = OPS["reshape"](b, of_log, shape=tuple(batch))
    spread = OPS["broadcast"](b, of_log, shape=x.type.shape, axes=tuple(range(len(batch))))
    scaled = ew.select(b, on_diagonal(b, x), spread, b.full_like(x, 0))
    return solve(b, swapped(b, x), scaled)


def _slogdet_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 2 * cubed(3, inputs[0])


slogdet = declare(
    Op(
        "slogdet",
        "linalg",
        _slogdet_type,
        _slogdet,
        _slogdet_flops,
        _slogdet_axes,
        _slogdet_vjp,
        "the sign of the determinant, or 0, and the logarithm of its absolute value: (..., 2)",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=same_attrs,
        workspace=_factor_workspace,
    )
)
