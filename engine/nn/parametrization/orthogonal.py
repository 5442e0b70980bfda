"""Weights with orthonormal rows or columns, which matrices without a constraint stand for."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import numpy as np

from ....ir import Array, DType, finfo
from ... import array_api as xp
from ...tracing.tracer import located
from ...tracing.transforms import stop_gradient
from ..init import Initializer, constant
from ..module import Module
from ..parameter import Buffer, Parameter
from .parametrize import is_parametrized, register_parametrization, stored_parameter

M = TypeVar("M", bound=Module)

_MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """Q of a matrix, by one of the maps, times the buffer `base` where there is one. Wide matrices are transposed."""

    def __init__(self, orthogonal_map: str, base: Buffer | None) -> None:
        self.orthogonal_map = orthogonal_map
        self.register_buffer("base", base)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        x = xp.matrix_transpose(x) if wide else x
        q = _of_reflections(x) if self.orthogonal_map == "householder" else _of_skew(x, self.orthogonal_map)
        q = q if self.base is None else xp.matmul(self.base, q)
        return xp.matrix_transpose(q) if wide else q

    def extra_repr(self) -> str:
        return f"{self.orthogonal_map!r}"


def _of_skew(x: Any, orthogonal_map: str) -> Any:
    """The first k columns of exp(A), or of (1 + A/2) (1 - A/2)⁻¹, for the skew matrix A of x (n, k)."""
    n, k = x.shape[-2:]
    lower = xp.tril(x)
    if n != k:
        lower = xp.concat([lower, xp.zeros((*x.shape[:-1], n - k), x.dtype)], axis=-1)
    a = lower - xp.matrix_transpose(lower)
    one = np.eye(n, dtype=x.dtype)
    q = xp.linalg.expm(a) if orthogonal_map == "matrix_exp" else xp.linalg.solve(one - 0.5 * a, one + 0.5 * a)
    return q[..., :k]


def _of_reflections(x: Any) -> Any:
    """The product of the reflections whose vectors stand below the diagonal, times the signs that stand on it."""
    a = xp.tril(x, k=-1)
    taus = 2 / (1 + xp.sum(a * a, axis=-2))
    signs = stop_gradient(xp.trunc(xp.linalg.diagonal(x)))
    return xp.linalg.householder_product(a, taus) * xp.expand_dims(signs, -2)


def orthogonal(
    module: M, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> M:
    """Let a weight of `module` have orthonormal columns, or rows where these are fewer; returns the module.

    It is computed of `parametrizations.<name>.original`, of the same shape, by one of the maps "matrix_exp", "cayley"
    and "householder"; the first is the default of square matrices, the last that of others. Axes before the last two
    count matrices. With `use_trivialization` the result is multiplied by the buffer `parametrizations.<name>.0.base`,
    and the weight begins as its initial value made orthogonal (Lezcano-Casado 2019, "Trivializations for gradient-based
    optimization on manifolds"). Without, it begins so for "householder", and else as what the map makes of that value.
    Raises `ValueError` for a weight that is no matrix, and where it has a parametrization already.
    """
    if is_parametrized(module, name):
        first = "orthogonal is the first parametrization; register others behind it"
        raise ValueError(located(f"{name} of {type(module).__name__} is computed of others already: {first}"))
    weight = stored_parameter(module, name)
    if weight.ndim < 2 or 0 in weight.shape:
        raise ValueError(located(f"orthogonal: a matrix or several are expected, {name} has shape {weight.shape}"))
    rows, columns = weight.shape[-2:]
    chosen = orthogonal_map or ("matrix_exp" if rows == columns else "householder")
    if chosen not in _MAPS:
        raise ValueError(located(f"orthogonal_map is one of {', '.join(_MAPS)}, got {orthogonal_map!r}"))
    base = None
    if use_trivialization:
        base = Buffer((*weight.shape[:-2], max(rows, columns), max(rows, columns)), weight.dtype)
        base.derive(Parameter(weight.type, initializer=weight.initializer), 2, "original", _first_base)
        weight.initialize(constant(np.broadcast_to(-np.eye(rows, columns), weight.shape)))
    elif chosen == "householder":
        weight.initialize(partial(_first_reflections, draw=weight.initializer))
    register_parametrization(module, name, _Orthogonal(chosen, base))
    return module


def _tall(weight: Array) -> Array:
    return weight.swapaxes(-1, -2) if weight.shape[-2] < weight.shape[-1] else weight


def _first_base(generator: np.random.Generator, weight: Array) -> Array:
    """A square orthogonal matrix that begins with the columns of the weight, made orthogonal where they are not."""
    q = _tall(weight)
    n, k = q.shape[-2:]
    square = n == k
    gram = q.swapaxes(-1, -2) @ q
    if square and np.allclose(gram, np.eye(k), atol=10 * n * float(finfo(weight.dtype).eps)):
        return q
    drawn = generator.standard_normal((*q.shape[:-1], n - k))
    q, r = np.linalg.qr(np.concatenate([q, drawn], axis=-1).astype(np.float64))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def _first_reflections(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: DType, draw: Initializer
) -> Array:
    """The vectors of reflections whose product is the initial value made orthogonal, and its signs on the diagonal."""
    weight = np.asarray(draw(generator, shape, dtype), np.float64)
    packed, taus = np.linalg.qr(_tall(weight), mode="raw")
    packed = packed.swapaxes(-1, -2).copy()  # LAPACK's rows are columns
    k = packed.shape[-1]
    signs = np.sign(np.diagonal(packed, axis1=-2, axis2=-1)) * np.where(taus == 0, -1, 1)
    packed[..., range(k), range(k)] = signs
    return (packed.swapaxes(-1, -2) if shape[-2] < shape[-1] else packed).astype(dtype)
