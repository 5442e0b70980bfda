"""What layers compute: linear maps, look-ups, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.ops import creation
from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...array_api.elementwise import power_flat_at_zero, root_of_powers
from ...tracing.tracer import ShapeError, Tracer, TracingError, emit, located, trace_of
from ..spelling import chosen_axis, torch_arguments


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`x @ weight.T + bias` for x (..., in), weight (out, in), bias (out,)."""
    x, weight = as_arraylike(input), as_arraylike(weight)
    if weight.ndim not in (1, 2):
        raise ShapeError(located(f"linear: weight is (out, in), or (in,) for one output, got {described(weight)}"))
    if not x.shape or x.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            located(f"linear: the last axis of x, {described(x)}, does not fit weight (out, in) = {weight.shape}")
        )
    product = xp.matmul(x, xp.matrix_transpose(weight) if weight.ndim == 2 else weight)
    return product if bias is None else product + bias


def class_places(like: Any, shape: tuple[int, ...]) -> Any:
    """0, 1, 2, ... as int32 along the last axis of `shape`; computed in the program of `like` where that is traced."""
    trace = trace_of([like])
    attrs: dict[str, Any] = {"shape": shape, "axis": len(shape) - 1, "dtype": np.dtype("int32")}
    if trace is None:
        return emit(creation.iota, **attrs)
    return Tracer(trace, trace.emit_node(creation.iota, **attrs).output)


def checked_index(index: Any, size: int, what: str) -> Any:
    """`index` as int32 or int64, checked when the program runs to lie in 0 <= index < size."""
    index = as_arraylike(index)
    if index.dtype.kind not in "iu":
        raise TracingError(located(f"{what} are integers, got {described(index)}; write .astype('int64')"))
    if index.dtype == np.dtype("uint8"):
        index = xp.astype(index, "int32")
    return emit(ew.check_index, index, size=size)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 of shape (*tensor.shape, num_classes): 1 at the class, 0 elsewhere."""
    if num_classes < 1:
        raise ValueError(located(f"one_hot: num_classes must be given, as 1 or more, got {num_classes}"))
    index = checked_index(tensor, num_classes, "one_hot: classes")
    places = class_places(index, (*index.shape, num_classes))
    return xp.astype(places == xp.expand_dims(xp.astype(index, "int32"), -1), "int64")


def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(variance + eps) over the last axes, of shape `normalized_shape`; then times weight, plus bias.

    Ba, Kiros and Hinton 2016, "Layer normalization". The variance is divided by n.
    """
    x = as_arraylike(input)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ShapeError(located(f"layer_norm: the last axes of {described(x)} are not normalized_shape {shape}"))
    axes = tuple(range(-len(shape), 0))
    centered = x - xp.mean(x, axis=axes, keepdims=True)
    variance = xp.mean(centered * centered, axis=axes, keepdims=True)
    result = centered * (1 / xp.sqrt(variance + eps))
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


@torch_arguments
def normalize(
    input: Any, p: float = 2.0, axis: int | tuple[int, ...] = 1, eps: float = 1e-12, *, dim: Any = None
) -> Any:
    """input / max(its p-norm along `axis`, or `dim`, eps). The derivative of a norm of 0 is taken as 0."""
    axis = chosen_axis(axis, dim, 1)
    x = as_arraylike(input)
    if x.dtype.kind != "f":
        raise TracingError(located(f"normalize: floats are normalized, got {described(x)}; write .astype('float32')"))
    if not p > 0:
        raise ValueError(located(f"normalize: p is above 0, got {p}"))
    if p == math.inf:
        length = xp.max(xp.abs(x), axis=axis, keepdims=True)
    else:
        power = x * x if p == 2 else power_flat_at_zero(xp.abs(x), p)
        length = root_of_powers(xp.sum(power, axis=axis, keepdims=True), p)
    return x / xp.maximum(length, eps)
