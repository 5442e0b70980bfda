"""Sliding windows over one to three neighbouring axes: what pooling is made of.

A window has `size` places along each of `axes`, `dilation` apart; window i begins at element i * stride - low. Windows
may reach out over both ends by `low` and `high`; nothing lies there. The other axes are kept, wherever they stand, so
that images may be channels-first or channels-last. A place in a window is numbered in row-major order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..op import Attrs, Op, Recompute, TypeRuleError, declare, no_flops
from ..types import INT32, Array, ArrayType, DType, is_float

if TYPE_CHECKING:
    from ..builder import Builder
    from ..graph import Value

Axes = tuple[int, ...]

UINT8 = np.dtype("uint8")


def place_dtype(size: Sequence[int]) -> DType:
    """The dtype of places in windows of `size`: the smallest that holds them."""
    return UINT8 if math.prod(size) <= 256 else INT32


def window_counts(
    lengths: Sequence[int],
    size: Sequence[int],
    stride: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Windows along each axis of `lengths`; 0 or less where not even one fits."""
    return tuple(
        (n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, a, b, d in zip(lengths, size, stride, low, high, dilation)
    )


def _check(ndim: int, axes: Axes, size: Axes, stride: Axes, low: Axes, high: Axes, dilation: Axes) -> None:
    if not 1 <= len(axes) <= 3 or not 0 <= axes[0] <= axes[-1] < ndim or axes != tuple(range(axes[0], axes[-1] + 1)):
        raise TypeRuleError(f"windows run over one to three neighbouring axes, got {axes} of {ndim}")
    if any(len(part) != len(axes) for part in (size, stride, low, high, dilation)):
        raise TypeRuleError(f"size, stride, low, high and dilation are not for the axes {axes}")
    if min(*size, *stride, *dilation) < 1 or min(*low, *high) < 0:
        raise TypeRuleError(
            f"size {size}, stride {stride} and dilation {dilation} are above 0, low {low} and high {high} not below"
        )


def _placed(shape: tuple[int, ...], axes: Axes, lengths: Sequence[int]) -> tuple[int, ...]:
    return (*shape[: axes[0]], *lengths, *shape[axes[-1] + 1 :])


def _windows(
    x: ArrayType, axes: Axes, size: Axes, stride: Axes, low: Axes, high: Axes, dilation: Axes
) -> tuple[int, ...]:
    """The shape that has one element for each window over `x`."""
    _check(x.ndim, axes, size, stride, low, high, dilation)
    if not is_float(x.dtype):
        raise TypeRuleError(f"takes a float, got {x}")
    counts = window_counts([x.shape[a] for a in axes], size, stride, low, high, dilation)
    if min(counts) < 1:
        raise TypeRuleError(f"no window of size {size} and dilation {dilation} fits the axes {axes} of {x}")
    return _placed(x.shape, axes, counts)


def _elements(
    windows: ArrayType,
    axes: Axes,
    size: Axes,
    stride: Axes,
    low: Axes,
    high: Axes,
    dilation: Axes,
    lengths: Axes,
) -> ArrayType:
    """The type of the array of `lengths` along `axes` over which the windows run."""
    _check(windows.ndim, axes, size, stride, low, high, dilation)
    if len(lengths) != len(axes) or min(lengths) < 0:
        raise TypeRuleError(f"lengths {lengths} are not for the axes {axes}")
    x = ArrayType(_placed(windows.shape, axes, lengths), windows.dtype)
    expected = _windows(x, axes, size, stride, low, high, dilation)
    if windows.shape != expected:
        raise TypeRuleError(f"there are {expected} windows over {x}, got {windows}")
    return x


def _check_places(places: ArrayType, shape: tuple[int, ...], size: Axes) -> None:
    expected = ArrayType(shape, place_dtype(size))
    if places != expected:
        raise TypeRuleError(f"places are {places}, expected {expected}")


# References: one place of all windows after the other, in the order in which kernels take them.


def _each_place(x: Array, fill: float, attrs: Mapping[str, Any]) -> Iterator[tuple[int, Array]]:
    """Every place, with the elements of all windows there as a view of `x` in a field of `fill`."""
    axes, size, stride, dilation = attrs["axes"], attrs["size"], attrs["stride"], attrs["dilation"]
    widths = [(0, 0)] * x.ndim
    for a, before, after in zip(axes, attrs["low"], attrs["high"]):
        widths[a] = (before, after)
    padded = np.pad(x, widths, constant_values=fill)
    yield from _places_of(padded, axes, size, stride, dilation)


def _places_of(padded: Array, axes: Axes, size: Axes, stride: Axes, dilation: Axes) -> Iterator[tuple[int, Array]]:
    zeros = (0,) * len(axes)
    counts = window_counts([padded.shape[a] for a in axes], size, stride, zeros, zeros, dilation)
    for number, place in enumerate(itertools.product(*map(range, size))):
        at = [slice(None)] * padded.ndim
        for a, k, n, s, d in zip(axes, place, counts, stride, dilation):
            at[a] = slice(k * d, k * d + (n - 1) * s + 1, s)
        yield number, padded[tuple(at)]


def _field(windows: Array, lengths: Axes, attrs: Mapping[str, Any]) -> tuple[Array, tuple[slice, ...]]:
    """Zeros for the elements and what windows reach over, and where the elements are."""
    axes = attrs["axes"]
    whole = [a + n + b for a, n, b in zip(attrs["low"], lengths, attrs["high"])]
    inside = [slice(None)] * windows.ndim
    for a, before, n in zip(axes, attrs["low"], lengths):
        inside[a] = slice(before, before + n)
    return np.zeros(_placed(windows.shape, axes, whole), windows.dtype), tuple(inside)


def _sum(x: Array, **attrs: Any) -> Array:
    return np.array(sum(part for _, part in _each_place(x, 0, attrs)), x.dtype)


def _max(x: Array, **attrs: Any) -> Array:
    result: Array | None = None
    for _, part in _each_place(x, -np.inf, attrs):
        result = np.array(part) if result is None else np.maximum(result, part)
    assert result is not None
    return result


def _find(x: Array, value: Array, **attrs: Any) -> Array:
    result = np.zeros(value.shape, place_dtype(attrs["size"]))
    inside = np.ones(x.shape, x.dtype)
    places = list(zip(_each_place(x, 0, attrs), _each_place(inside, 0, attrs)))
    for (number, part), (_, there) in reversed(places):
        hit = (part == value) | ((part != part) & (value != value))
        result[hit & (there != 0)] = number
    return result


def _pick(x: Array, places: Array, outside: float, **attrs: Any) -> Array:
    result = np.full(places.shape, outside, x.dtype)
    for number, part in _each_place(x, outside, attrs):
        result = np.where(places == number, part, result)
    return result


def _spread(windows: Array, lengths: Axes, **attrs: Any) -> Array:
    field, inside = _field(windows, lengths, attrs)
    for _, part in _places_of(field, attrs["axes"], attrs["size"], attrs["stride"], attrs["dilation"]):
        part += windows
    return np.ascontiguousarray(field[inside])


def _put(windows: Array, places: Array, lengths: Axes, **attrs: Any) -> Array:
    field, inside = _field(windows, lengths, attrs)
    for number, part in _places_of(field, attrs["axes"], attrs["size"], attrs["stride"], attrs["dilation"]):
        part += np.where(places == number, windows, 0)
    return np.ascontiguousarray(field[inside])


# Type rules.


def _reduced_type(x: ArrayType, **attrs: Any) -> ArrayType:
    return ArrayType(_windows(x, **attrs), x.dtype)


def _find_type(x: ArrayType, value: ArrayType, **attrs: Any) -> ArrayType:
    expected = _reduced_type(x, **attrs)
    if value != expected:
        raise TypeRuleError(f"values are {value}, expected {expected}")
    return ArrayType(value.shape, place_dtype(attrs["size"]))


def _pick_type(x: ArrayType, places: ArrayType, outside: float, **attrs: Any) -> ArrayType:
    result = _reduced_type(x, **attrs)
    _check_places(places, result.shape, attrs["size"])
    return result


def _put_type(windows: ArrayType, places: ArrayType, lengths: Axes, **attrs: Any) -> ArrayType:
    result = _elements(windows, lengths=lengths, **attrs)
    _check_places(places, windows.shape, attrs["size"])
    return result


# The other facets.


def _window_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i in attrs["axes"] else i for i in range(output.ndim)] for _ in inputs]


def _one_per_place(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation for each place of each window; the windows are the smaller of input and output."""
    windows = inputs[0] if "lengths" in attrs else outputs[0]
    return windows.size * math.prod(attrs["size"]) if inputs[0].size else 0


def _one_per_window(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return inputs[0].size


def _lengths(x: Value, attrs: Mapping[str, Any]) -> Axes:
    axes: Axes = attrs["axes"]
    return tuple(x.type.shape[a] for a in axes)


def _sum_vjp(b: Builder, g: Value, o: Value, x: Value, **attrs: Any) -> Value:
    return window_spread(b, g, lengths=_lengths(x, attrs), **attrs)


def _max_vjp(b: Builder, g: Value, o: Value, x: Value, **attrs: Any) -> Value:
    return window_put(b, g, window_find(b, x, o, **attrs), lengths=_lengths(x, attrs), **attrs)


def _pick_vjp(
    b: Builder, g: Value, o: Value, x: Value, places: Value, outside: float, **attrs: Any
) -> tuple[Value, None]:
    return window_put(b, g, places, lengths=_lengths(x, attrs), **attrs), None


def _spread_vjp(b: Builder, g: Value, o: Value, windows: Value, lengths: Axes, **attrs: Any) -> Value:
    return window_sum(b, g, **attrs)


def _put_vjp(
    b: Builder, g: Value, o: Value, windows: Value, places: Value, lengths: Axes, **attrs: Any
) -> tuple[Value, None]:
    return window_pick(b, g, places, outside=0.0, **attrs), None


window_sum = declare(
    Op(
        "window_sum",
        "window",
        _reduced_type,
        _sum,
        _one_per_place,
        _window_axes,
        _sum_vjp,
        "the sum of each window",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
window_max = declare(
    Op(
        "window_max",
        "window",
        _reduced_type,
        _max,
        _one_per_place,
        _window_axes,
        _max_vjp,
        "the largest element of each window; NaN where there is one, -inf where nothing lies in the window; "
        "the first of equal ones has the derivative",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
window_find = declare(
    Op(
        "window_find",
        "window",
        _find_type,
        _find,
        _one_per_place,
        _window_axes,
        None,
        "the first place of each window that holds the window's `value`; 0 where none does",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
window_pick = declare(
    Op(
        "window_pick",
        "window",
        _pick_type,
        _pick,
        no_flops,
        _window_axes,
        _pick_vjp,
        "the element at one place of each window; `outside` where nothing lies there",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
window_spread = declare(
    Op(
        "window_spread",
        "window",
        _elements,
        _spread,
        _one_per_place,
        _window_axes,
        _spread_vjp,
        "for each of `lengths` elements the sum over the windows that it lies in: what undoes window_sum",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
window_put = declare(
    Op(
        "window_put",
        "window",
        _put_type,
        _put,
        _one_per_window,
        _window_axes,
        _put_vjp,
        "for each of `lengths` elements the sum over the windows whose place it is: what undoes window_pick",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
