"""Softmax and its relatives along `axis`."""

from __future__ import annotations

import math
from typing import Any

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, axis_index, dtype_of
from ...tracing import random
from ...tracing.activations import float32_inside
from ...tracing.errors import UnsupportedError
from ...tracing.promotion import float_dtype
from ...tracing.torch_methods import numpy_dtype
from ...tracing.tracer import located
from ...tracing.transforms import stop_gradient
from ..spelling import axis_in, chosen_axis, torch_arguments
from .transformations import class_places


def shifted_by_largest(x: Any, axis: int | tuple[int, ...]) -> tuple[Any, Any]:
    """x less its largest along `axis`, which softmax does not see, and that largest."""
    top = _largest(x, axis)
    return x - top, top


def _largest(x: Any, axis: int | tuple[int, ...]) -> Any:
    """The largest elements along `axis`, kept with length 1, without a derivative; 0 of nothing."""
    return stop_gradient((xp.max if x.size else xp.sum)(x, axis=axis, keepdims=True))


def _as_dtype(x: Any, dtype: Any) -> Any:
    return as_arraylike(x) if dtype is None else xp.astype(x, numpy_dtype(dtype))


@float32_inside
@torch_arguments
def softmax(input: Any, axis: int = -1, *, dim: int | None = None, dtype: Any = None) -> Any:
    """eˣ / Σ eˣ along `axis`, or `dim`; of `input` as `dtype`, if one is given."""
    x = _as_dtype(input, dtype)
    axis = axis_in(x.ndim, axis, dim, -1)
    e = xp.exp(shifted_by_largest(x, axis)[0])
    return e / xp.sum(e, axis=axis, keepdims=True)


@float32_inside
@torch_arguments
def log_softmax(input: Any, axis: int = -1, *, dim: int | None = None, dtype: Any = None) -> Any:
    """x - log Σ eˣ along `axis`, or `dim`; of `input` as `dtype`, if one is given."""
    x = _as_dtype(input, dtype)
    axis = axis_in(x.ndim, axis, dim, -1)
    shifted, _ = shifted_by_largest(x, axis)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


@float32_inside
@torch_arguments
def logsumexp(
    input: Any, axis: int | tuple[int, ...] = -1, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False
) -> Any:
    """log Σ eˣ along `axis`, or `dim`, without overflow."""
    x = as_arraylike(input)
    axis, keepdims = axis_in(x.ndim, axis, dim, -1), keepdims or keepdim
    top = _largest(x, axis)
    # An infinite largest element would give inf - inf.
    top = xp.where(xp.isfinite(top), top, 0)
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=True)
    # Nothing but -inf has the derivative 0, where the logarithm's is infinite.
    nothing = total == 0
    result = xp.where(nothing, -math.inf, xp.log(xp.where(nothing, 1, total))) + top
    return result if keepdims else xp.squeeze(result, axis)


@float32_inside
@torch_arguments
def softmin(input: Any, axis: int = -1, *, dim: int | None = None, dtype: Any = None) -> Any:
    """`softmax` of -x along `axis`, or `dim`; of `input` as `dtype`, if one is given."""
    return softmax(-_as_dtype(input, dtype), chosen_axis(axis, dim, -1))


@float32_inside
@torch_arguments
def gumbel_softmax(
    logits: Any, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, axis: int = -1, *, dim: int | None = None
) -> Any:
    """softmax((logits + g) / tau) along `axis`, or `dim`, with noise g of the Gumbel distribution.

    With `hard` the result is one-hot at the largest, and its derivative that of the softmax. Jang, Gu and Poole 2017,
    "Categorical reparameterization with Gumbel-softmax". Raises `RuntimeError` where there is no key to draw from, see
    `gl.random.key`, and `ValueError` unless tau is above 0.
    """
    if eps != 1e-10:
        raise UnsupportedError(located(f"gumbel_softmax: eps={eps} has no effect, in torch too; leave it away"))
    if not tau > 0:
        raise ValueError(located(f"gumbel_softmax: tau is above 0, got {tau}"))
    axis = chosen_axis(axis, dim, -1)
    x = as_arraylike(logits)
    x = xp.astype(x, float_dtype(dtype_of(x)))
    # 1 - u is in (0, 1], and -log of it, exponential, may be 0; the smallest u that is drawn stands for it.
    exponential = -xp.log1p(-xp.maximum(random.uniform(tuple(x.shape), x.dtype), _LEAST[str(x.dtype)]))
    soft = softmax((x - xp.log(exponential)) / tau, axis)
    if not hard:
        return soft
    place = axis_index(axis, x.ndim)
    last = xp.moveaxis(soft, place, -1)
    largest = xp.expand_dims(xp.astype(xp.argmax(last, axis=-1), "int32"), -1)
    one_hot = xp.moveaxis(xp.astype(class_places(last, tuple(last.shape)) == largest, x.dtype), -1, place)
    return one_hot - stop_gradient(soft) + soft


_LEAST = {"float32": 2.0**-25, "float64": 2.0**-54}
"""Half the step of `random.uniform`."""
