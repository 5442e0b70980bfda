"""Images in another size: each axis by weighted sums of neighbours, whose places and weights are known."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .....ir import Array, is_float
from .... import array_api as xp
from ..operator import Call, operator

Kernel = Callable[[Array], Array]
"""For a place behind its left neighbour, in (0, 1], the weights of the neighbours around it."""


@operator("Resize", known=(1, 2, 3))
def resize(
    call: Call,
    x: Any,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    antialias: int = 0,
    axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Any:
    along = [axis % x.ndim for axis in (range(x.ndim) if axes is None else axes)]
    lengths = [x.shape[axis] for axis in along]
    if sizes is not None and call.known(sizes, "sizes").size:
        new, factors = _by_sizes(call, lengths, call.numbers(sizes, "sizes"), keep_aspect_ratio_policy)
    else:
        given = call.known(scales, "scales").astype(np.float64)
        factors = [float(f) for f in given]
        new = [int(f * n) for f, n in zip(given, lengths)]
    if len(new) != len(along):
        raise call.refuse(f"there are {len(new)} sizes or scales for {len(along)} axes")
    region = None if roi is None else call.known(roi, "roi").astype(np.float64).ravel()
    whole = x if is_float(x.dtype) else xp.astype(x, "float32")
    for i, axis in enumerate(along):
        part = None if region is None or not region.size else (region[i], region[len(along) + i])
        if math.isclose(factors[i], 1.0) and new[i] == x.shape[axis] and part in (None, (0.0, 1.0)):
            continue
        at, outside = _places(call, coordinate_transformation_mode, factors[i], lengths[i], new[i], part)
        kernel = _kernel(call, mode, nearest_mode, cubic_coeff_a, factors[i] if antialias else None)
        whole = _resampled(whole, axis, at, kernel, bool(exclude_outside))
        if outside is not None and outside.any():
            whole = xp.where(outside.reshape((-1,) + (1,) * (x.ndim - 1 - axis)), extrapolation_value, whole)
    if is_float(x.dtype):
        return whole
    limits = np.iinfo(x.dtype)
    return xp.astype(xp.clip(whole, float(limits.min), float(limits.max)), x.dtype)


@operator("Upsample", known=(1,))
def upsample(call: Call, x: Any, scales: Any, *, mode: str = "nearest") -> Any:
    return resize(call, x, None, scales, mode=mode, nearest_mode="floor", coordinate_transformation_mode="asymmetric")


def _by_sizes(call: Call, lengths: Sequence[int], sizes: Sequence[int], policy: str) -> tuple[list[int], list[float]]:
    factors = [size / n for size, n in zip(sizes, lengths)]
    if policy == "stretch":
        return list(sizes), factors
    if policy not in ("not_larger", "not_smaller"):
        raise call.refuse(f"keep_aspect_ratio_policy is stretch, not_larger or not_smaller, got {policy!r}")
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [int(factor * n + 0.5) for n in lengths], [factor] * len(lengths)


def _places(
    call: Call, mode: str, factor: float, length: int, new: int, part: tuple[float, float] | None
) -> tuple[Array, Array | None]:
    """Where each new element lies among the old ones, and which of them are outside, where that matters."""
    y, whole = np.arange(new, dtype=np.float64), factor * length
    if mode == "align_corners":
        return (np.zeros(new) if whole == 1 else y * (length - 1) / (whole - 1)), None
    if mode == "asymmetric":
        return y / factor, None
    if mode == "pytorch_half_pixel" and whole == 1:
        return np.full(new, -0.5), None
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (y + 0.5) / factor - 0.5, None
    if mode == "half_pixel_symmetric":
        return length / 2 * (1 - new / whole) + (y + 0.5) / factor - 0.5, None
    if mode != "tf_crop_and_resize" or part is None:
        raise call.refuse(f"coordinate_transformation_mode {mode!r} is none of ONNX, or needs roi")
    begin, end = part
    inside = np.full(new, (end - begin) * (length - 1) / 2) if whole == 1 else (
        y * (end - begin) * (length - 1) / (whole - 1)
    )  # fmt: skip
    at = inside + begin * (length - 1)
    return at, (at < 0) | (at > length - 1)


def _kernel(call: Call, mode: str, nearest_mode: str, a: float, factor: float | None) -> Kernel:
    """The weights of a mode; with a `factor`, spread out over what a smaller image leaves out."""
    narrow = None if factor is None else min(factor, 1.0)
    if mode == "nearest":
        return functools.partial(_nearest, call, nearest_mode)
    if mode == "linear":
        return _linear if narrow is None else functools.partial(_spread, 1, narrow, _triangle)
    if mode == "cubic":
        cubic = functools.partial(_cubic, a)
        return (
            (lambda r: np.stack([cubic(r + 1), cubic(r), cubic(1 - r), cubic(2 - r)], -1))
            if narrow is None
            else functools.partial(_spread, 2, narrow, cubic)
        )
    raise call.refuse(f"mode is nearest, linear or cubic, got {mode!r}")


def _nearest(call: Call, mode: str, r: Array) -> Array:
    choose = {
        "round_prefer_floor": r > 0.5,
        "round_prefer_ceil": r >= 0.5,
        "floor": r == 1,
        "ceil": np.ones_like(r, bool),
    }
    if mode not in choose:
        raise call.refuse(f"nearest_mode is one of {', '.join(choose)}, got {mode!r}")
    return np.stack([~choose[mode], choose[mode]], -1).astype(np.float64)


def _linear(r: Array) -> Array:
    return np.stack([1 - r, r], -1)


def _triangle(d: Array) -> Array:
    return np.clip(1 - np.abs(d), 0, 1)


def _cubic(a: float, d: Array) -> Array:
    """Keys's kernel. Keys 1981, "Cubic convolution interpolation for digital image processing"."""
    d = np.abs(d)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _spread(reach: int, factor: float, kernel: Kernel, r: Array) -> Array:
    start = math.floor(-reach / factor) + 1
    count = 2 - 2 * start
    weights = kernel((np.arange(start, start + count) - r[:, None]) * factor)
    return weights / weights.sum(axis=-1, keepdims=True)


def _resampled(x: Any, axis: int, at: Array, kernel: Kernel, exclude_outside: bool) -> Any:
    length = x.shape[axis]
    floor = np.floor(at).astype(np.int64)
    # A place on an element is one behind the element before.
    weights = kernel(np.where(at == floor, 1.0, at - floor))
    count = weights.shape[-1]
    first = floor - (at == floor) - (count // 2 - 1)
    places = first[:, None] + np.arange(count)
    if exclude_outside:
        weights = np.where((places < 0) | (places >= length), 0, weights)
        total = weights.sum(axis=-1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    places = np.clip(places, 0, length - 1)
    if ((weights == 0) | (weights == 1)).all():
        return xp.take(x, places[np.arange(len(at)), weights.argmax(axis=-1)], axis=axis)
    result: Any = None
    for k in range(count):
        if weights[:, k].any():
            weight = weights[:, k].astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
            part = xp.take(x, places[:, k], axis=axis) * weight
            result = part if result is None else result + part
    return result
