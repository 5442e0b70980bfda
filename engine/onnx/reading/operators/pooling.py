"""Pooling over windows, and over whole images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .....ir import is_float
from .....ir.ops import window as wd
from .... import array_api as xp
from ....tracing.tracer import emit
from ..operator import Call, operator
from .spatial import per_axis, window_pads

Window = dict[str, tuple[int, ...]]


def _window(
    call: Call, x: Any, kernel_shape: Any, strides: Any, pads: Any, dilations: Any, auto_pad: str, ceil_mode: int
) -> tuple[Window, tuple[int, ...]]:
    """The attributes of the window ops, and how much of what lies behind is padding and no mere overhang."""
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        raise call.refuse(f"pooling runs over one to three axes behind the channels, got {axes}")
    size = per_axis(call, "kernel_shape", kernel_shape, axes)
    stride, dilation = per_axis(call, "strides", strides, axes), per_axis(call, "dilations", dilations, axes)
    lengths = x.shape[2:]
    low, padded = window_pads(call, auto_pad, pads, lengths, size, stride, dilation)
    counts = []
    for n, k, s, d, a, b in zip(lengths, size, stride, dilation, low, padded):
        room = n + a + b - d * (k - 1) - 1
        count = -(-room // s) + 1 if ceil_mode else room // s + 1
        # The last window begins inside, or in the padding before.
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= n + a else count)
    high = tuple(
        max((c - 1) * s + d * (k - 1) + 1 - a - n, 0)
        for c, s, d, k, a, n in zip(counts, stride, dilation, size, low, lengths)
    )
    over = tuple(range(2, x.ndim))
    return {"axes": over, "size": size, "stride": stride, "low": low, "high": high, "dilation": dilation}, padded


@operator("MaxPool")
def max_pool(
    call: Call,
    x: Any,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    kernel_shape: Any,
    pads: Any = None,
    storage_order: int = 0,
    strides: Any = None,
) -> Any:
    window, _ = _window(call, x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    if not is_float(x.dtype):
        if call.wants(1):
            raise call.refuse("the indices of a pooling of integers are not supported")
        return xp.astype(emit(wd.window_max, xp.astype(x, "float64"), **window), x.dtype)
    places = emit(wd.window_find, x, emit(wd.window_max, x, **window), **window)
    largest = emit(wd.window_pick, x, places, outside=-math.inf, **window)
    return (largest, _flat_indices(x, places, window, storage_order)) if call.wants(1) else largest


def _flat_indices(x: Any, places: Any, window: Window, storage_order: int) -> Any:
    """For each window the index of its largest element in the flattened input."""
    axes = x.ndim - 2
    rest = xp.astype(places, "int64")
    along: list[Any] = [0] * axes
    for i in reversed(range(axes)):
        k = window["size"][i]
        begin = np.arange(places.shape[2 + i], dtype=np.int64) * window["stride"][i] - window["low"][i]
        along[i] = rest % k * window["dilation"][i] + begin.reshape((-1,) + (1,) * (axes - 1 - i))
        rest = rest // k
    total: Any = 0
    for i in range(axes) if not storage_order else reversed(range(axes)):
        total = total * x.shape[2 + i] + along[i]
    images = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(x.shape[0], x.shape[1], *(1,) * axes)
    return total + images * math.prod(x.shape[2:])


@operator("AveragePool")
def average_pool(
    call: Call,
    x: Any,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = None,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    window, padded = _window(call, x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    total = emit(wd.window_sum, x, **window)
    return total / _elements(x, total, window, padded if count_include_pad else None)


def _elements(x: Any, total: Any, window: Window, padded: Any) -> Any:
    """How many elements each window has, with those of the padding where that is given."""
    result = np.ones((), x.dtype)
    for i, n in enumerate(x.shape[2:]):
        low = window["low"][i]
        begin = np.arange(total.shape[2 + i])[:, None] * window["stride"][i] - low
        at = begin + np.arange(window["size"][i]) * window["dilation"][i]
        inside = (at >= 0) & (at < n) if padded is None else at < n + padded[i]
        result = result[..., None] * inside.sum(axis=1).astype(x.dtype)
    first = result.flat[0]
    return first if (result == first).all() else result


@operator("LpPool")
def lp_pool(
    call: Call,
    x: Any,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    kernel_shape: Any,
    p: int = 2,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    window, _ = _window(call, x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    return emit(wd.window_sum, xp.abs(x) ** p, **window) ** (1 / p)


@operator("GlobalAveragePool")
def global_average_pool(call: Call, x: Any) -> Any:
    return xp.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: Any) -> Any:
    return xp.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(call: Call, x: Any, *, p: int = 2) -> Any:
    return xp.sum(xp.abs(x) ** p, axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)


@operator("MaxUnpool", known=(2,))
def max_unpool(
    call: Call,
    x: Any,
    indices: Any,
    output_shape: Any = None,
    *,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """The elements at their indices in a field of zeros, of the shape that was pooled."""
    axes = x.ndim - 2
    stride = per_axis(call, "strides", strides, axes)
    given = per_axis(call, "pads", pads, 2 * axes, 0)
    lengths = tuple(
        (n - 1) * s - a - b + k for n, s, k, a, b in zip(x.shape[2:], stride, kernel_shape, given[:axes], given[axes:])
    )
    inner = (*x.shape[:2], *lengths)
    shape = inner if output_shape is None else call.numbers(output_shape, "output_shape")
    flat = xp.zeros(math.prod(inner), x.dtype)
    field = xp.reshape(xp.at(flat)[xp.reshape(indices, (-1,))].set(xp.reshape(x, (-1,))), inner)
    return xp.pad(field, [(0, n - m) for n, m in zip(shape, inner)]) if shape != inner else field
