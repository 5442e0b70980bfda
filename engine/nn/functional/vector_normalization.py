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
from ..spelling import chosen_axis, torch_arguments
from .reduction import check_floats


@rounded_once
def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(variance + eps) over the last axes, of shape `normalized_shape`; then times weight, plus bias.

    Ba, Kiros and Hinton 2016, "Layer normalization". The variance is divided by n.
    """
    x = as_arraylike(input)
    axes = _last_axes("layer_norm", x, normalized_shape)
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
    axes = _last_axes("rms_norm", x, normalized_shape)
    least = float(finfo(x.dtype).eps) if eps is None else eps
    result = x * (1 / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + least))
    return result if weight is None else result * weight


def _last_axes(what: str, x: Any, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ShapeError(located(f"{what}: the last axes of {described(x)} are not normalized_shape {shape}"))
    return tuple(range(-len(shape), 0))


@rounded_once
@torch_arguments
def normalize(
    input: Any, p: float = 2.0, axis: int | tuple[int, ...] = 1, eps: float = 1e-12, *, dim: Any = None
) -> Any:
    """input / max(its p-norm along `axis`, or `dim`, eps). The derivative of a norm of 0 is taken as 0."""
    axis = chosen_axis(axis, dim, 1)
    x = as_arraylike(input)
    if not is_float(x.dtype):
        raise TracingError(located(f"normalize: floats are normalized, got {described(x)}; write .astype('float32')"))
    if not p > 0:
        raise ValueError(located(f"normalize: p is above 0, got {p}"))
    if p == math.inf:
        length = xp.max(xp.abs(x), axis=axis, keepdims=True)
    else:
        power = x * x if p == 2 else power_flat_at_zero(xp.abs(x), p)
        length = root_of_powers(xp.sum(power, axis=axis, keepdims=True), p)
    return x / xp.maximum(length, eps)
