"""Pooling over the last one, two or three axes of (N, C, ...) or (C, ...), as torch has it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....ir import Array
from ....ir.ops import window as wd
from ... import array_api as xp
from ...array_api.broadcasting import described
from ...array_api.elementwise import power_flat_at_zero, root_of_powers
from ...tracing.tracer import ShapeError, emit, located
from .spatial import Numbers, numbers_of, spatial_input


def _counts(
    what: str,
    lengths: Sequence[int],
    size: Numbers,
    stride: Numbers,
    padding: Numbers,
    dilation: Numbers,
    ceil_mode: bool,
    x: Any,
) -> Numbers:
    """Windows along each axis, by torch's rule: with `ceil_mode` a last one may reach out over the end, as long as it
    begins inside or in the padding before.
    """
    counts: list[int] = []
    for n, k, s, p, d in zip(lengths, size, stride, padding, dilation):
        reach = d * (k - 1) + 1
        if 2 * p > reach:
            raise ValueError(located(f"{what}: padding {p} is more than half of a window that reaches over {reach}"))
        count = -(-(n + 2 * p - reach) // s) + 1 if ceil_mode else (n + 2 * p - reach) // s + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1
        if count < 1 or n < 1:
            raise ShapeError(
                located(
                    f"{what}: a window of {size}, dilation {dilation}, does not fit {described(x)} with padding "
                    f"{padding}; take a smaller kernel_size, or padding of up to half of it"
                )
            )
        counts.append(count)
    return tuple(counts)


def _window(
    what: str, ndim: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Numbers]:
    """The attributes of the window ops for torch's arguments."""
    size = numbers_of(what, "kernel_size", kernel_size, ndim, least=1)
    steps = size if stride is None or stride == () else numbers_of(what, "stride", stride, ndim, least=1)
    low = numbers_of(what, "padding", padding, ndim, least=0)
    apart = numbers_of(what, "dilation", dilation, ndim, least=1)
    lengths = tuple(x.shape[-ndim:])
    counts = _counts(what, lengths, size, steps, low, apart, ceil_mode, x)
    needed = [(c - 1) * s + d * (k - 1) + 1 for c, s, d, k in zip(counts, steps, apart, size)]
    high = tuple(max(n - a - length, 0) for n, a, length in zip(needed, low, lengths))
    axes = tuple(range(x.ndim - ndim, x.ndim))
    return {"axes": axes, "size": size, "stride": steps, "low": low, "high": high, "dilation": apart}


def _max_pool(what: str, ndim: int, x: Any, return_indices: bool, window: dict[str, Numbers]) -> Any:
    # The place of each largest element is found in the forward: the backward then reads these small numbers, not x.
    places = emit(wd.window_find, x, emit(wd.window_max, x, **window), **window)
    largest = emit(wd.window_pick, x, places, outside=-math.inf, **window)
    return (largest, _flat_indices(x, places, ndim, window)) if return_indices else largest


def _flat_indices(x: Any, places: Any, ndim: int, window: dict[str, Numbers]) -> Any:
    """For each place the index of its element in the flattened last `ndim` axes of `x`."""
    rest = xp.astype(places, "int64")
    result = xp.zeros_like(rest)
    weight = 1
    for i in reversed(range(ndim)):
        k = window["size"][i]
        begin = np.arange(places.shape[-ndim + i], dtype=np.int64) * window["stride"][i] - window["low"][i]
        begin = begin.reshape((-1,) + (1,) * (ndim - 1 - i))
        result = result + (rest % k * window["dilation"][i] + begin) * weight
        rest = rest // k
        weight *= x.shape[-ndim + i]
    return result


def _max_pool_nd(
    ndim: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    what = f"max_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    return _max_pool(
        what, ndim, x, return_indices, _window(what, ndim, x, kernel_size, stride, padding, dilation, ceil_mode)
    )


def max_pool1d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window over (N, C, L) or (C, L); the first of equal ones has the gradient.

    `stride` is `kernel_size` if not given. With `return_indices` also the place of each along the axis, int64.
    """
    return _max_pool_nd(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window over (N, C, H, W) or (C, H, W); the first of equal ones has the gradient.

    `stride` is `kernel_size` if not given. With `return_indices` also the place of each in its flattened image, int64.
    """
    return _max_pool_nd(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window over (N, C, D, H, W) or (C, D, H, W); the first of equal ones has the gradient.

    `stride` is `kernel_size` if not given. With `return_indices` also the place of each in its flattened volume, int64.
    """
    return _max_pool_nd(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool_nd(
    ndim: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    what = f"avg_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    window = _window(what, ndim, x, kernel_size, stride, padding, 1, ceil_mode)
    total = emit(wd.window_sum, x, **window)
    if divisor_override is not None:
        if not isinstance(divisor_override, (int, np.integer)) or divisor_override == 0:
            raise ValueError(
                located(f"{what}: divisor_override is a whole number other than 0, got {divisor_override!r}")
            )
        return total / int(divisor_override)
    return total / _divisors(x, total, ndim, window, count_include_pad)


def _divisors(x: Any, total: Any, ndim: int, window: dict[str, Numbers], count_include_pad: bool) -> Any:
    """Elements of each window, with those of the padding but never those past it: a number where all are equal."""
    result: Array = np.ones((), x.dtype)
    for i in range(ndim):
        n, k, p = x.shape[-ndim + i], window["size"][i], window["low"][i]
        begin = np.arange(total.shape[-ndim + i]) * window["stride"][i] - p
        end = np.minimum(begin + k, n + p)
        if not count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, n)
        result = result[..., None] * (end - begin).astype(x.dtype)
    first = result.flat[0]
    return first.item() if (result == first).all() else result


def avg_pool1d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of each window over (N, C, L) or (C, L); the padding's zeros count with `count_include_pad`."""
    return _avg_pool_nd(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window over (N, C, H, W) or (C, H, W); the padding's zeros count with `count_include_pad`.

    `divisor_override` divides the sum in place of the number of elements.
    """
    return _avg_pool_nd(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window over (N, C, D, H, W) or (C, D, H, W); the padding counts with `count_include_pad`.

    `divisor_override` divides the sum in place of the number of elements.
    """
    return _avg_pool_nd(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool_nd(ndim: int, input: Any, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    what = f"lp_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    if isinstance(norm_type, bool) or not isinstance(norm_type, (int, float)) or norm_type == 0:
        raise ValueError(located(f"{what}: norm_type is a number other than 0, got {norm_type!r}"))
    size = numbers_of(what, "kernel_size", kernel_size, ndim, least=1)
    power = power_flat_at_zero(x, norm_type)
    mean = _avg_pool_nd(ndim, power, kernel_size, stride, 0, ceil_mode, True, None)
    return root_of_powers(mean * math.prod(size), norm_type)


def lp_pool1d(
    input: Any,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Any:
    """(Σ x^p)^(1/p) over each window of (N, C, L) or (C, L), with p = `norm_type`; the derivative at 0 is 0."""
    return _lp_pool_nd(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Any,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Any:
    """(Σ x^p)^(1/p) over each window of (N, C, H, W) or (C, H, W), with p = `norm_type`; derivative 0 at 0."""
    return _lp_pool_nd(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Any,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Any:
    """(Σ x^p)^(1/p) over each window of (N, C, D, H, W) or (C, D, H, W), p = `norm_type`; derivative 0 at 0."""
    return _lp_pool_nd(3, input, norm_type, kernel_size, stride, ceil_mode)


# Adaptive pooling: window i of o over n elements is from floor(i n / o) to ceil((i + 1) n / o).


def _output_size(what: str, ndim: int, output_size: Any, x: Any) -> Numbers:
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * ndim
    if len(sizes) != ndim:
        raise ValueError(located(f"{what}: output_size is one number or {ndim}, got {output_size!r}"))
    kept = tuple(n if size is None else size for size, n in zip(sizes, x.shape[-ndim:]))
    if 0 in x.shape[-ndim:]:
        raise ShapeError(located(f"{what}: there is nothing to pool in {described(x)}"))
    return numbers_of(what, "output_size", kept, ndim, least=1)


def _bounds(n: int, count: int) -> tuple[Array, Array]:
    index = np.arange(count)
    return index * n // count, -(-(index + 1) * n // count)


def _equal_windows(x: Any, ndim: int, counts: Numbers) -> dict[str, Numbers] | None:
    """The window of a pooling whose windows are all alike and side by side; `None` where they differ."""
    lengths = x.shape[-ndim:]
    if any(n % count for n, count in zip(lengths, counts)):
        return None
    size = tuple(n // count for n, count in zip(lengths, counts))
    zeros, ones = (0,) * ndim, (1,) * ndim
    axes = tuple(range(x.ndim - ndim, x.ndim))
    return {"axes": axes, "size": size, "stride": size, "low": zeros, "high": zeros, "dilation": ones}


def _adaptive_avg_pool_nd(ndim: int, input: Any, output_size: Any) -> Any:
    what = f"adaptive_avg_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    counts = _output_size(what, ndim, output_size, x)
    if all(count == 1 for count in counts):
        return xp.mean(x, axis=tuple(range(-ndim, 0)), keepdims=True)
    window = _equal_windows(x, ndim, counts)
    if window is not None:
        size = math.prod(window["size"])
        return x if size == 1 else emit(wd.window_sum, x, **window) / size
    # Windows of unequal lengths are written out side by side, the shorter ones filled up with zeros. A matrix of
    # weights would not do: outside of a window it is 0, and 0 times an infinity is NaN.
    for i, count in enumerate(counts):
        axis = x.ndim - ndim + i
        begin, end = _bounds(x.shape[axis], count)
        parts = xp.take(x, _places_by_window(begin, end).reshape(count, -1), axis=axis)
        lengths = (end - begin).reshape(count, 1)
        inside = np.arange(parts.shape[axis + 1]) < lengths
        behind = (1,) * (ndim - 1 - i)
        parts = xp.where(inside.reshape(*inside.shape, *behind), parts, 0)
        x = xp.sum(parts, axis=axis + 1) / lengths.reshape(count, *behind).astype(x.dtype)
    return x


def _adaptive_max_pool_nd(ndim: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    what = f"adaptive_max_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    counts = _output_size(what, ndim, output_size, x)
    window = _equal_windows(x, ndim, counts)
    if window is not None:
        return _max_pool(what, ndim, x, return_indices, window)
    # Windows of unequal lengths are written out side by side, the shorter ones filled up with their last element.
    taken = [_places_by_window(*_bounds(n, count)) for n, count in zip(x.shape[-ndim:], counts)]
    return pooled_side_by_side(what, x, taken, counts, return_indices)


def pooled_side_by_side(what: str, x: Any, taken: Sequence[Any], counts: Numbers, return_indices: bool) -> Any:
    """The largest of each of `counts` windows, whose elements along each axis are at the places `taken`, one window
    after the other; places may differ from image to image: (..., count * size).
    """
    ndim, lengths = len(counts), x.shape[-len(counts) :]
    for i, places in enumerate(taken):
        x = _taken(x, places, i, ndim)
    window = _equal_windows(x, ndim, counts) or {}
    if not return_indices:
        return _max_pool(what, ndim, x, False, window)
    largest, at = _max_pool(what, ndim, x, True, window)
    result, apart = xp.zeros_like(at), 1
    for n, places in zip(reversed(lengths), reversed(taken)):
        result = result + _at_places(places, at % places.shape[-1], ndim) * apart
        at, apart = at // places.shape[-1], apart * n
    return largest, result


def _taken(x: Any, places: Any, i: int, ndim: int) -> Any:
    """`x` at `places` along the axis `i` of the last `ndim`, the same ones for all images or each image's own."""
    if places.ndim == 1:
        return xp.take(x, places, axis=i - ndim)
    along = (*(1,) * i, places.shape[-1], *(1,) * (ndim - 1 - i))
    return xp.take_along_axis(x, xp.reshape(places, (*places.shape[:-1], *along)), axis=i - ndim)


def _at_places(places: Any, index: Any, ndim: int) -> Any:
    """`places` at `index` (..., windows), the same ones for all images or each image's own."""
    if places.ndim == 1:
        return xp.take(places, index, axis=0)
    windows = (*index.shape[:-ndim], math.prod(index.shape[-ndim:]))
    flat = xp.take_along_axis(places, xp.reshape(index, windows), axis=-1)
    return xp.reshape(flat, index.shape)


def _places_by_window(begin: Array, end: Array) -> Array:
    """For each window from `begin` to `end` as many places as the longest has, one window after the other."""
    longest = int((end - begin).max())
    return np.minimum(begin[:, None] + np.arange(longest), end[:, None] - 1).reshape(-1)


def adaptive_avg_pool1d(input: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """Means of `output_size` windows that cover (N, C, L) or (C, L)."""
    return _adaptive_avg_pool_nd(1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """Means of `output_size` windows, one number or (H, W), that cover (N, C, H, W) or (C, H, W); `None` keeps."""
    return _adaptive_avg_pool_nd(2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """Means of `output_size` windows, one number or (D, H, W), that cover (N, C, D, H, W); `None` keeps a length."""
    return _adaptive_avg_pool_nd(3, input, output_size)


def adaptive_max_pool1d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """The largest of `output_size` windows that cover (N, C, L) or (C, L)."""
    return _adaptive_max_pool_nd(1, input, output_size, return_indices)


def adaptive_max_pool2d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """The largest of `output_size` windows, one number or (H, W), that cover (N, C, H, W) or (C, H, W)."""
    return _adaptive_max_pool_nd(2, input, output_size, return_indices)


def adaptive_max_pool3d(
    input: Any, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """The largest of `output_size` windows, one number or (D, H, W), that cover (N, C, D, H, W)."""
    return _adaptive_max_pool_nd(3, input, output_size, return_indices)


def with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """`pool` with `return_indices`, under the name that torch gives it."""

    @functools.wraps(pool)
    def call(*args: Any, **kwargs: Any) -> Any:
        return pool(*args, **{**kwargs, "return_indices": True})

    call.__name__ = call.__qualname__ = f"{pool.__name__}_with_indices"
    call.__doc__ = f"`{pool.__name__}` with `return_indices=True`: (values, indices)."
    return call


max_pool1d_with_indices = with_indices(max_pool1d)
max_pool2d_with_indices = with_indices(max_pool2d)
max_pool3d_with_indices = with_indices(max_pool3d)
adaptive_max_pool1d_with_indices = with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = with_indices(adaptive_max_pool3d)
