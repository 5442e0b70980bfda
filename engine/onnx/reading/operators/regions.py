"""Images read at places that are computed: pooling of regions, and convolutions at moved places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import array_api as xp
from ..operator import Call, operator
from ..program import OnnxNode
from .sampling import read_linearly
from .spatial import per_axis


def _needs_regions(node: OnnxNode) -> tuple[int, ...]:
    """Without a ratio the size of a region says how often it is read."""
    return () if node.attributes.get("sampling_ratio", 0) else (1,)


@operator("RoiAlign", known=_needs_regions)
def roi_align(
    call: Call,
    x: Any,
    regions: Any,
    batch_indices: Any,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Any:
    """The mean, or the largest, of places in each part of each region (x1, y1, x2, y2). He et al. 2017."""
    if mode not in ("avg", "max"):
        raise call.refuse(f"mode is avg or max, got {mode!r}")
    half = coordinate_transformation_mode == "half_pixel"
    corners = regions * spatial_scale - (0.5 if half else 0.0)
    images = xp.take(x, batch_indices, axis=0)
    places, counts = [], []
    for low, high, parts in ((1, 3, output_height), (0, 2, output_width)):
        begin, length = corners[:, low], corners[:, high] - corners[:, low]
        length = length if half else xp.maximum(length, 1.0)
        each = length / parts
        count = np.full(regions.shape[0], sampling_ratio) if sampling_ratio else np.ceil(np.asarray(each))
        number = np.arange(max(int(count.max(initial=1)), 1))
        inside = (number + 0.5) / np.maximum(count, 1)[:, None]
        at = begin[:, None, None] + (np.arange(parts)[:, None] + inside[:, None, :]) * each[:, None, None]
        places.append(xp.astype(at, x.dtype))
        counts.append(number < np.maximum(count, 1)[:, None])
    return _combined(images, places, counts, mode)


def _combined(images: Any, places: list[Any], counts: list[Any], mode: str) -> Any:
    """What is read in each part, combined over those places that there are."""
    n, channels, height, width = images.shape
    down, across = places
    rows, columns = down.shape[1] * down.shape[2], across.shape[1] * across.shape[2]
    y = xp.broadcast_to(xp.reshape(down, (n, rows, 1)), (n, rows, columns))
    x = xp.broadcast_to(xp.reshape(across, (n, 1, columns)), (n, rows, columns))
    near = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = xp.clip(y, 0, height - 1), xp.clip(x, 0, width - 1)
    combine: Callable[[list[Any]], Any] = sum if mode == "avg" else _largest
    found = xp.where(xp.expand_dims(near, 1), read_linearly(images, [y, x], combine), 0)
    apart = xp.reshape(found, (n, channels, down.shape[1], down.shape[2], across.shape[1], across.shape[2]))
    there = counts[0][:, None, None, :, None, None] & counts[1][:, None, None, None, None, :]
    if mode == "max":
        return xp.max(xp.where(there, apart, -np.inf), axis=(3, 5))
    total = xp.sum(xp.where(there, apart, 0), axis=(3, 5))
    return total / there.sum(axis=(3, 5)).astype(images.dtype)


def _largest(parts: list[Any]) -> Any:
    """ONNX takes the largest of the neighbours, each times its weight."""
    result = parts[0]
    for part in parts[1:]:
        result = xp.maximum(result, part)
    return result


@operator("DeformConv")
def deform_conv(
    call: Call,
    x: Any,
    weight: Any,
    offset: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    offset_group: int = 1,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """A convolution of images whose kernel is moved at each place. Dai et al. 2017."""
    if x.ndim != 4:
        raise call.refuse(f"takes images (n, channels, height, width), got {tuple(x.shape)}")
    stride, dilation = per_axis(call, "strides", strides, 2), per_axis(call, "dilations", dilations, 2)
    low = per_axis(call, "pads", pads, 4, 0)[:2]
    n, channels = x.shape[:2]
    kernel, lengths = tuple(weight.shape[2:]), tuple(offset.shape[2:])
    size = math.prod(kernel)
    moved = xp.reshape(offset, (n, offset_group, size, 2, *lengths))
    factors = None if mask is None else xp.reshape(mask, (n, offset_group, size, *lengths))
    parts = xp.split(x, offset_group, axis=1)
    columns = []
    for k, place in enumerate(itertools.product(*map(range, kernel))):
        read = []
        for g, part in enumerate(parts):
            places = [
                moved[:, g, k, i] + _base(lengths, i, stride[i], place[i] * dilation[i] - low[i], x.dtype)
                for i in range(2)
            ]
            found = read_linearly(part, places, sum)
            read.append(found if factors is None else found * factors[:, g, k][:, None])
        columns.append(xp.concat(read, axis=1))
    taps = xp.reshape(xp.stack(columns, axis=2), (n, group, channels // group * size, math.prod(lengths)))
    matrices = xp.reshape(weight, (group, weight.shape[0] // group, -1))
    y = xp.reshape(xp.matmul(matrices, taps), (n, weight.shape[0], *lengths))
    return y if bias is None else y + xp.reshape(bias, (-1, 1, 1))


def _base(lengths: tuple[int, ...], axis: int, stride: int, first: int, dtype: Any) -> Any:
    """Where a place of the kernel lies before it is moved."""
    at = (np.arange(lengths[axis]) * stride + first).astype(dtype)
    return at.reshape((-1,) + (1,) * (len(lengths) - 1 - axis))
