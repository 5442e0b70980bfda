"""Normalization of each vector by itself: by its mean and variance, its mean square, or its p-norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....ir import finfo, is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...array_api.elementwise import power_flat_at_zero, root_of_powers
from ...tracing.activations import rounded_once
from ...tracing.tracer import ShapeError, TracingError, located
from ..spelling import axis_in, torch_arguments
from .reduction import check_floats


@rounded_once
def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(variance + eps) over the last axes, of shape `normalized_shape`; then times weight, plus bias.

    Ba, Kiros and Hinton 2016, "Layer normalization". The variance is divided by n.
    """
    x = as_arraylike(input)
    axes = _last_axes("layer_norm", x, normalized_shape, weight, bias)
    centered = x - xp.mean(x, axis=axes, keepdims=True)
    variance = xp.mean(centered * centered, axis=axes, keepdims=True)
    result = centered * (1 / xp.sqrt(variance + eps))
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


@rounded_once
def rms_norm(input: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """x / √(the mean of x² + eps) over the last axes, of shape `normalized_shape`; then times weight.

    `eps` is the dtype's, 2^-23 or 2^-52, if none is given. Zhang and Sennrich 2019, "Root mean square layer
    normalization".
    """
    x = check_floats("rms_norm", "the input", input)
    axes = _last_axes("rms_norm", x, normalized_shape, weight)
    least = float(finfo(x.dtype).eps) if eps is None else eps
    result = x * (1 / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + least))
    return result if weight is None else result * weight


def _last_axes(what: str, x: Any, normalized_shape: int | Sequence[int], *given: Any) -> tuple[int, ...]:
    """The axes of `normalized_shape`, which a weight and a bias have too, where they are `given`."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ShapeError(located(f"{what}: the last axes of {described(x)} are not normalized_shape {shape}"))
    for array in given:
        if array is not None and tuple(as_arraylike(array).shape) != shape:
            wanted = f"weight and bias are {shape}, as normalized_shape"
            raise ShapeError(located(f"{what}: {wanted}, got {described(array)}"))
    return tuple(range(-len(shape), 0))


@rounded_once
@torch_arguments
def normalize(
    input: Any, p: float = 2.0, axis: int | tuple[int, ...] = 1, eps: float = 1e-12, *, dim: Any = None
) -> Any:
    """input / max(its p-norm along `axis`, or `dim`, eps), for any number p: with 0 it counts what is not 0, and is the
    largest or the smallest with inf or -inf. The derivative of a norm of 0 is taken as 0.
    """
    x = as_arraylike(input)
    axis = axis_in(x.ndim, axis, dim, 1)
    if not is_float(x.dtype):
        raise TracingError(located(f"normalize: floats are normalized, got {described(x)}; write .astype('float32')"))
    if p in (math.inf, -math.inf):
        length = (xp.max if p > 0 else xp.min)(xp.abs(x), axis=axis, keepdims=True)
    elif p == 0:
        length = xp.astype(xp.sum(x != 0, axis=axis, keepdims=True), x.dtype)
    else:
        power = x * x if p == 2 else power_flat_at_zero(xp.abs(x), p)
        length = root_of_powers(xp.sum(power, axis=axis, keepdims=True), p)
    return x / xp.maximum(length, eps)
