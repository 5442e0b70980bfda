"""Images and signals in another size: interpolation; and channels shuffled, into space or among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import Array, is_float
from ....ir.ops import window as wd
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, emit, located
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .spatial import numbers_of

_NDIMS = {"linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,)}
_COPYING = ("nearest", "nearest-exact")
"""Modes whose results are elements of the input."""
_MODES = (*_COPYING, "area", *_NDIMS)
_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}

Taps = list[tuple[Array, Array | None]]
"""For each tap the index of the element that every result takes, and its weight (`None`: 1)."""


def interpolate(
    input: Any,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """(N, C, L), (N, C, H, W) or (N, C, D, H, W) in another size, which `size` or `scale_factor` says.

    `mode` is "nearest", "nearest-exact", "area", "linear" (L), "bilinear" or "bicubic" (H, W), "trilinear" (D, H, W);
    the first two take integers too. `align_corners` lets the centers of the outer elements stay where they are, not
    their edges. With `antialias` the modes "bilinear" and "bicubic" smooth over all the elements that one stands for.
    Indices and weights are torch's.
    """
    x = as_arraylike(input)
    ndim = x.ndim - 2
    if mode not in _MODES:
        raise ValueError(located(f"interpolate: mode is one of {', '.join(_MODES)}, got {mode!r}"))
    if ndim not in _NDIMS.get(mode, (1, 2, 3)) or not (is_float(x.dtype) or mode in _COPYING):
        raise ShapeError(located(f"interpolate: mode {mode!r} does not take {described(x)}"))
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(located(f"interpolate: antialias goes with bilinear and bicubic, not with {mode!r}"))
    if align_corners is not None and mode not in _NDIMS:
        raise ValueError(located(f"interpolate: align_corners goes with {', '.join(_NDIMS)}, not with {mode!r}"))
    sizes, scales = _sizes(x, ndim, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        return _AREA[ndim](x, sizes)
    lengths = x.shape[2:]
    make = _smooth_taps if antialias else _taps
    dtype = x.dtype if is_float(x.dtype) else np.dtype("float32")
    taps = [make(n, out, scale, mode, bool(align_corners), dtype) for n, out, scale in zip(lengths, sizes, scales)]
    if is_float(x.dtype) and all(_repeats(n, out, tap) for n, out, tap in zip(lengths, sizes, taps)):
        return _repeated(x, sizes)
    for i, (out, tap) in enumerate(zip(sizes, taps)):
        x = _resampled(x, 2 + i, out, tap)
    return x


def _repeats(n: int, out: int, taps: Taps) -> bool:
    """Whether every element is taken as often as any other, in their order."""
    return taps[0][1] is None and out % n == 0 and np.array_equal(taps[0][0], np.arange(out) // (out // n))


def _repeated(x: Any, sizes: tuple[int, ...]) -> Any:
    """Every element repeated along the axes behind the channels: as windows side by side, each filled with its own."""
    each = tuple(out // n for out, n in zip(sizes, x.shape[2:]))
    if all(count == 1 for count in each):
        return x
    zeros, ones = (0,) * len(each), (1,) * len(each)
    window = {"size": each, "stride": each, "low": zeros, "high": zeros, "dilation": ones}
    return emit(wd.window_spread, x, lengths=sizes, axes=tuple(range(2, x.ndim)), **window)


def _sizes(
    x: Any, ndim: int, size: Any, scale_factor: Any, recompute: bool
) -> tuple[tuple[int, ...], list[float | None]]:
    """The new lengths, and how many new elements stand for an old one where that is not their quotient."""
    if (size is None) == (scale_factor is None):
        raise ValueError(located("interpolate: one of size and scale_factor is given, and not both"))
    lengths = x.shape[2:]
    if 0 in lengths:
        raise ShapeError(located(f"interpolate: there is nothing to interpolate in {described(x)}"))
    if size is not None:
        if recompute:
            raise ValueError(located("interpolate: recompute_scale_factor goes with scale_factor, not with size"))
        return numbers_of("interpolate", "size", size, ndim, least=1), [None] * ndim
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * ndim
    if len(factors) != ndim or not all(isinstance(f, (int, float, np.number)) and 0 < f < math.inf for f in factors):
        raise ValueError(
            located(f"interpolate: scale_factor is a number above 0 or {ndim} of them, got {scale_factor!r}")
        )
    sizes = tuple(math.floor(n * float(f)) for n, f in zip(lengths, factors))
    if 0 in sizes:
        raise ShapeError(located(f"interpolate: scale_factor {scale_factor!r} leaves nothing of {described(x)}"))
    return sizes, [None if recompute else float(f) for f in factors]


def _taps(n: int, out: int, scale: float | None, mode: str, align_corners: bool, dtype: Any) -> Taps:
    """Which of `n` elements make the `out` new ones, computed in `dtype`, as torch does."""
    index = np.arange(out).astype(dtype)
    step = dtype.type(n / out if scale is None else 1.0 / scale)
    if mode in _COPYING:
        # torch multiplies and subtracts with one rounding, and takes the floor in float32.
        half = 0.5 if mode == "nearest-exact" else 0.0
        at = (np.float64(step) * (np.arange(out) + half) - half).astype(dtype) + dtype.type(half)
        return [(np.minimum(np.floor(at.astype(np.float32)).astype(np.int64), n - 1), None)]
    if align_corners:
        at = index * dtype.type((n - 1) / (out - 1) if out > 1 else 0)
    else:
        at = step * (index + dtype.type(0.5)) - dtype.type(0.5)
    if mode == "bicubic":
        floor = np.floor(at)
        weights = cubic_weights(np.clip(at - floor, 0, 1))
        return [(np.clip(floor.astype(np.int64) + k - 1, 0, n - 1), w.astype(dtype)) for k, w in enumerate(weights)]
    at = np.maximum(at, 0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    upper = np.clip(at - low, 0, 1).astype(dtype)
    return [(low, 1 - upper), (np.minimum(low + 1, n - 1), upper)]


def _smooth_taps(n: int, out: int, scale: float | None, mode: str, align_corners: bool, dtype: Any) -> Taps:
    """As `_taps`, with weights over all the elements that a new one stands for: the kernel is as wide as the step."""
    if align_corners:
        step = (n - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = n / out if scale is None else 1.0 / scale
    half = 1.0 if mode == "bilinear" else 2.0
    wide = max(step, 1.0)
    support = half * wide
    center = step * (np.arange(out) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), n) - first
    index = first[:, None] + np.arange(count.max())
    distance = np.abs(index - center[:, None] + 0.5) / wide
    kernel = np.maximum(1 - distance, 0) if mode == "bilinear" else _keys(distance)
    kernel = np.where(np.arange(count.max()) < count[:, None], kernel, 0)
    kernel = (kernel / kernel.sum(1, keepdims=True)).astype(dtype)
    return [(np.minimum(index[:, k], n - 1), kernel[:, k]) for k in range(count.max())]


def _keys(d: Array) -> Array:
    """Keys's kernel with a = -0.5 at the distance `d`."""
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def cubic_weights(t: Any) -> list[Any]:
    """Weights of the four neighbours of a place `t` behind the second, by Keys's kernel with a = -0.75."""
    a = -0.75

    def near(d: Any) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Any) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _resampled(x: Any, axis: int, out: int, taps: Taps) -> Any:
    """The weighted sum of the elements of `x` along `axis` that `taps` name."""
    n = x.shape[axis]
    result: Any = None
    for index, weight in taps:
        if weight is not None and not weight.any():
            continue
        part = _taken(x, axis, n, index)
        if weight is not None and not (weight == 1).all():
            part = part * weight.reshape((out,) + (1,) * (x.ndim - 1 - axis))
        result = part if result is None else result + part
    return result


def _taken(x: Any, axis: int, n: int, index: Array) -> Any:
    return x if np.array_equal(index, np.arange(n)) else xp.take(x, index, axis=axis)


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(..., C r², H, W) as (..., C, H r, W r) with r = `upscale_factor`. Shi et al. 2016."""
    x = as_arraylike(input)
    r = upscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-3] % (r * r):
        raise ShapeError(
            located(f"pixel_shuffle: the channels of (..., C, H, W) are a multiple of {r}², got {described(x)}")
        )
    *batch, channels, height, width = x.shape
    b = len(batch)
    x = xp.reshape(x, (*batch, channels // (r * r), r, r, height, width))
    x = xp.permute_dims(x, (*range(b), b, b + 3, b + 1, b + 4, b + 2))
    return xp.reshape(x, (*batch, channels // (r * r), height * r, width * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(..., C, H r, W r) as (..., C r², H, W) with r = `downscale_factor`: what undoes `pixel_shuffle`."""
    x = as_arraylike(input)
    r = downscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            located(f"pixel_unshuffle: height and width of (..., C, H, W) are multiples of {r}, got {described(x)}")
        )
    *batch, channels, height, width = x.shape
    b = len(batch)
    x = xp.reshape(x, (*batch, channels, height // r, r, width // r, r))
    x = xp.permute_dims(x, (*range(b), b, b + 2, b + 4, b + 1, b + 3))
    return xp.reshape(x, (*batch, channels * r * r, height // r, width // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """The channels of (N, C, ...) in another order: the first of each of so many groups, the second of each, ...

    Zhang, Zhou, Lin and Sun 2018, "ShuffleNet".
    """
    x = as_arraylike(input)
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            located(f"channel_shuffle: the channels of (N, C, ...) are a multiple of {groups}, got {described(x)}")
        )
    batch, channels, *rest = x.shape
    grouped = xp.reshape(x, (batch, groups, channels // groups, *rest))
    return xp.reshape(xp.moveaxis(grouped, 2, 1), x.shape)


native_channel_shuffle = channel_shuffle


def upsample(
    input: Any,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:
    """`interpolate`, under the name that it had before in torch."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Any, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Any:
    """`interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(
    input: Any, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Any:
    """`interpolate` with mode "bilinear" and align_corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)
