"""A weight divided by its largest singular value, or split into lengths and directions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....ir import Array
from ... import array_api as xp
from ...tracing.errors import located
from ...tracing.transforms import stop_gradient
from ..functional import normalize
from ..layers import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from ..parameter import Buffer, Parameter

_FIRST_ITERATIONS = 15
"""Power iterations on an initial weight."""


def output_axis(module: Module, dim: int | None, ndim: int) -> int:
    """The axis of a weight that counts outputs, unless `dim` names one. Raises `IndexError` where there is none."""
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    if not -ndim <= dim < ndim:
        raise IndexError(located(f"spectral_norm: dim {dim} is none of {ndim} axes"))
    return dim % ndim


def check_iterations(n_power_iterations: int) -> None:
    """Raise `ValueError` for a number of iterations below 1."""
    if n_power_iterations < 1:
        raise ValueError(located(f"spectral_norm: n_power_iterations is 1 or more, got {n_power_iterations}"))


def as_matrix(weight: Any, dim: int) -> Any:
    """(length of axis `dim`, the rest)."""
    return xp.reshape(xp.moveaxis(weight, dim, 0), (weight.shape[dim], -1))


def over_largest_singular_value(weight: Any, dim: int, u: Any, v: Any) -> Any:
    """weight / (uᵀ W v), where u and v are constants."""
    sigma = xp.sum(stop_gradient(u) * xp.matmul(as_matrix(weight, dim), stop_gradient(v)))
    return weight / sigma


def left(matrix: Any, v: Any, eps: float) -> Any:
    """The unit vector along W v, a constant."""
    return normalize(xp.matmul(stop_gradient(matrix), v), axis=0, eps=eps)


def right(matrix: Any, u: Any, eps: float) -> Any:
    """The unit vector along Wᵀ u, a constant."""
    return normalize(xp.matmul(xp.matrix_transpose(stop_gradient(matrix)), u), axis=0, eps=eps)


def singular_vectors(weight: Parameter, dim: int, eps: float, levels: int, name: str) -> tuple[Buffer, Buffer]:
    """The left and the right vector as buffers, at first after some iterations on the initial weight, which is called
    `name` in place of the last `levels` parts of their own names.
    """
    rows = weight.shape[dim]
    u, v = Buffer(rows, weight.dtype), Buffer(weight.size // rows if rows else 0, weight.dtype)
    for buffer, is_left in ((u, True), (v, False)):
        buffer.derive(weight, levels, name, partial(_first_vector, dim=dim, eps=eps, is_left=is_left))
    return u, v


def _first_vector(generator: np.random.Generator, weight: Array, dim: int, eps: float, is_left: bool) -> Array:
    matrix = as_matrix(np.asarray(weight, np.float64), dim)
    u, v = np.zeros(matrix.shape[0]), generator.standard_normal(matrix.shape[1])
    for _ in range(_FIRST_ITERATIONS):
        u = left(matrix, v, eps)
        v = right(matrix, u, eps)
    return u if is_left else v


def lengths(weight: Any, axis: int | None) -> Any:
    """The norms of a weight along all axes but `axis`, which are kept as 1; of all for `None`, of shape ()."""
    if axis is None:
        return xp.sqrt(xp.sum(weight * weight))
    return xp.sqrt(xp.sum(weight * weight, axis=tuple(i for i in range(weight.ndim) if i != axis), keepdims=True))


def with_lengths(direction: Any, length: Any, axis: int | None) -> Any:
    """The weight of these directions and lengths. Salimans and Kingma 2016, "Weight normalization"."""
    return direction * (length / lengths(direction, axis))


def length_axis(dim: int | None, ndim: int) -> int | None:
    """The axis that counts lengths; `None` for one length of all, which torch also calls -1."""
    if dim is None or dim == -1:
        return None
    if not 0 <= dim < ndim:
        raise IndexError(located(f"weight_norm: dim {dim} is none of {ndim} axes; None gives one length"))
    return dim


def length_parameter(weight: Parameter, axis: int | None, name: str) -> Parameter:
    """The lengths of a weight as a parameter; the weight is called `name` beside it."""
    shape = () if axis is None else tuple(n if i == axis else 1 for i, n in enumerate(weight.shape))
    result = Parameter(shape, weight.dtype, requires_grad=weight.requires_grad)
    return result.derive(weight, 1, name, partial(_first_lengths, axis=axis))


def _first_lengths(generator: np.random.Generator, weight: Array, axis: int | None) -> Array:
    return lengths(np.asarray(weight, np.float64), axis)
