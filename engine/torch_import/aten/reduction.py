"""Sums, means, extrema and softmax along axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...array_api.elementwise import power_flat_at_zero, root_of_powers
from ...nn import functional as F
from ..promotion import converted
from ..table import aten
from .elementwise import truth


def _axes(dim: int | Sequence[int] | None) -> Any:
    """Axes as NumPy takes them: torch reads no axes as all."""
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) or None


def _summed(x: Any, dtype: Any) -> Any:
    if dtype is not None:
        return converted(x, dtype)
    return x if is_float(x.dtype) else converted(x, np.dtype("int64"))


@aten("sum.default")
def sum_all(x: Any, dtype: Any = None) -> Any:
    """The sum."""
    return xp.sum(_summed(x, dtype))


@aten("sum.dim_IntList")
def sum_dim(x: Any, dim: Any, keepdim: bool = False, dtype: Any = None) -> Any:
    """Sums along axes."""
    return xp.sum(_summed(x, dtype), axis=_axes(dim), keepdims=keepdim)


@aten("mean.default")
def mean_all(x: Any, dtype: Any = None) -> Any:
    """The mean."""
    return xp.mean(x if dtype is None else converted(x, dtype))


@aten("mean.dim")
def mean_dim(x: Any, dim: Any, keepdim: bool = False, dtype: Any = None) -> Any:
    """Means along axes."""
    return xp.mean(x if dtype is None else converted(x, dtype), axis=_axes(dim), keepdims=keepdim)


@aten("prod.default")
def prod_all(x: Any, dtype: Any = None) -> Any:
    """The product."""
    return xp.prod(_summed(x, dtype))


@aten("prod.dim_int")
def prod_dim(x: Any, dim: int, keepdim: bool = False, dtype: Any = None) -> Any:
    """Products along an axis."""
    return xp.prod(_summed(x, dtype), axis=dim, keepdims=keepdim)


@aten("var.correction", whole=True)
def var(x: Any, dim: Any = None, correction: float | None = None, keepdim: bool = False) -> Any:
    """Variances along axes."""
    return xp.var(x, axis=_axes(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


@aten("var.dim", whole=True)
def var_dim(x: Any, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Any:
    """Variances along axes."""
    return var(x, dim, int(unbiased), keepdim)


@aten("var_mean.correction", whole=True)
def var_mean(x: Any, dim: Any = None, correction: float | None = None, keepdim: bool = False) -> Any:
    """Variances and means along axes."""
    return var(x, dim, correction, keepdim), xp.mean(x, axis=_axes(dim), keepdims=keepdim)


@aten("std.correction", whole=True)
def std(x: Any, dim: Any = None, correction: float | None = None, keepdim: bool = False) -> Any:
    """Standard deviations along axes."""
    return xp.std(x, axis=_axes(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


@aten("amax.default")
def amax(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """The largest along axes; equal ones share the derivative."""
    return xp.max(x, axis=_axes(dim), keepdims=keepdim)


@aten("amin.default")
def amin(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """The smallest along axes; equal ones share the derivative."""
    return xp.min(x, axis=_axes(dim), keepdims=keepdim)


@aten("max.default", whole=True)
def max_all(x: Any) -> Any:
    """The largest."""
    return xp.max(x)


@aten("min.default", whole=True)
def min_all(x: Any) -> Any:
    """The smallest."""
    return xp.min(x)


def _extreme(find: Callable[..., Any], x: Any, dim: int, keepdim: bool) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    place = find(x, axis=dim, keepdims=True)
    value = xp.take_along_axis(x, place, axis=dim)
    if keepdim:
        return value, place
    return xp.squeeze(value, dim), xp.squeeze(place, dim)


@aten("max.dim")
def max_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """The largest along an axis, which takes the derivative, and its place."""
    return _extreme(xp.argmax, x, dim, keepdim)


@aten("min.dim")
def min_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """The smallest along an axis, which takes the derivative, and its place."""
    return _extreme(xp.argmin, x, dim, keepdim)


@aten("argmax.default")
def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The place of the largest."""
    return xp.argmax(x, axis=dim, keepdims=keepdim)


@aten("argmin.default")
def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The place of the smallest."""
    return xp.argmin(x, axis=dim, keepdims=keepdim)


@aten("any.default", "any.dim", "any.dims")
def any_dim(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether any is not 0."""
    return xp.any(truth(x), axis=_axes(dim), keepdims=keepdim)


@aten("all.default", "all.dim", "all.dims", whole=True)
def all_dim(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether all are not 0."""
    return xp.all(truth(x), axis=_axes(dim), keepdims=keepdim)


@aten("_softmax.default")
def softmax(x: Any, dim: int, half_to_float: bool = False) -> Any:
    """exp(x), divided by its sum along an axis."""
    return F.softmax(x, dim) if x.ndim else xp.ones_like(x)


@aten("_log_softmax.default")
def log_softmax(x: Any, dim: int, half_to_float: bool = False) -> Any:
    """The logarithm of softmax."""
    return F.log_softmax(x, dim) if x.ndim else xp.zeros_like(x)


@aten("softmax.int", whole=True)
def softmax_int(x: Any, dim: int, dtype: Any = None) -> Any:
    """exp(x), divided by its sum along an axis."""
    return softmax(x if dtype is None else converted(x, dtype), dim)


@aten("log_softmax.int", whole=True)
def log_softmax_int(x: Any, dim: int, dtype: Any = None) -> Any:
    """The logarithm of softmax."""
    return log_softmax(x if dtype is None else converted(x, dtype), dim)


@aten("logsumexp.default", whole=True)
def logsumexp(x: Any, dim: Sequence[int], keepdim: bool = False) -> Any:
    """log(sum(exp(x))) along axes."""
    return F.logsumexp(x, tuple(dim), keepdim)


@aten("linalg_vector_norm.default", whole=True)
def vector_norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Norms along axes; the derivative of a norm of 0 is 0."""
    x, axis = x if dtype is None else converted(x, dtype), _axes(dim)
    if math.isinf(ord):
        return (xp.max if ord > 0 else xp.min)(xp.abs(x), axis=axis, keepdims=keepdim)
    if ord == 0:
        return xp.sum(xp.astype(truth(x), x.dtype), axis=axis, keepdims=keepdim)
    power = xp.multiply(x, x) if ord == 2 else power_flat_at_zero(xp.abs(x), ord)
    return root_of_powers(xp.sum(power, axis=axis, keepdims=keepdim), ord)


@aten("_cdist_forward.default")
def cdist(x: Any, y: Any, p: float, compute_mode: int | None = None) -> Any:
    """The distances of all rows of x (..., P, M) and of y (..., R, M)."""
    return vector_norm(xp.subtract(xp.expand_dims(x, -2), xp.expand_dims(y, -3)), p, -1)


@aten("count_nonzero.default", "count_nonzero.dim_IntList", whole=True)
def count_nonzero(x: Any, dim: Any = None) -> Any:
    """How many are not 0."""
    return xp.sum(xp.astype(truth(x), "int64"), axis=_axes(dim))


@aten("_pdist_forward.default")
def pdist(x: Any, p: float = 2.0) -> Any:
    """The distances of all pairs of rows."""
    first, second = np.triu_indices(x.shape[0], 1)
    return vector_norm(xp.subtract(xp.take(x, first, 0), xp.take(x, second, 0)), p, -1)


@aten("dist.default", whole=True)
def dist(x: Any, y: Any, p: float = 2) -> Any:
    """The norm of a difference."""
    return vector_norm(xp.subtract(x, y), p)
