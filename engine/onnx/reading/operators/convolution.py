"""Convolutions, and what undoes them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .....ir.ops import convolution as ops
from .....ir.ops import window as wd
from .... import array_api as xp
from ....tracing.tracer import emit
from ..operator import Call, operator
from .spatial import per_axis, window_pads


@operator("Conv")
def conv(
    call: Call,
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    axes = x.ndim - 2
    _check_axes(call, axes)
    stride, dilation = per_axis(call, "strides", strides, axes), per_axis(call, "dilations", dilations, axes)
    low, high = window_pads(call, auto_pad, pads, x.shape[2:], weight.shape[2:], stride, dilation)
    last = xp.permute_dims(x, (0, *range(2, x.ndim), 1))
    ones = (1,) * axes
    result = emit(
        ops.conv, last, weight, stride=stride, low=low, high=high, dilation=dilation, expand=ones, groups=group
    )
    return _channels_first(result, bias)


@operator("ConvTranspose")
def conv_transpose(
    call: Call,
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """The gradient of a convolution to its input, of a weight (in, out / group, ...kernel)."""
    axes = x.ndim - 2
    _check_axes(call, axes)
    stride, dilation = per_axis(call, "strides", strides, axes), per_axis(call, "dilations", dilations, axes)
    extra = per_axis(call, "output_padding", output_padding, axes, 0)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:])]
    whole = [s * (n - 1) + e + r for s, n, e, r in zip(stride, x.shape[2:], extra, reach)]
    begin, end = _transposed_pads(call, auto_pad, pads, output_shape, whole, x.shape[2:], stride)
    channels, per_group, *kernel = weight.shape
    split = xp.reshape(weight, (group, channels // group, per_group, *kernel))
    swapped = xp.permute_dims(split, (0, 2, 1, *range(3, 3 + axes)))
    turned = xp.reshape(swapped, (group * per_group, channels // group, *kernel))
    turned = xp.flip(turned, axis=tuple(range(2, 2 + axes)))
    low = tuple(r - 1 - b for r, b in zip(reach, begin))
    high = tuple(r - 1 + e - b for r, e, b in zip(reach, extra, end))
    last = xp.permute_dims(x, (0, *range(2, x.ndim), 1))
    ones = (1,) * axes
    result = emit(
        ops.conv, last, turned, stride=ones, low=low, high=high, dilation=dilation, expand=stride, groups=group
    )
    return _channels_first(result, bias)


def _transposed_pads(
    call: Call, auto_pad: str, pads: Any, output_shape: Any, whole: list[int], lengths: Any, stride: Any
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is cut off from the `whole` result before and behind."""
    axes = len(whole)
    if output_shape is None and auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        given = (0,) * (2 * axes) if auto_pad == "VALID" else per_axis(call, "pads", pads, 2 * axes, 0)
        return given[:axes], given[axes:]
    wanted = [n * s for n, s in zip(lengths, stride)] if output_shape is None else output_shape[-axes:]
    totals = [have - want for have, want in zip(whole, wanted)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


def _check_axes(call: Call, axes: int) -> None:
    if not 1 <= axes <= 3:
        raise call.refuse(f"convolutions run over one to three axes behind the channels, got {axes}")


def _channels_first(y: Any, bias: Any) -> Any:
    y = y if bias is None else y + bias
    return xp.permute_dims(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))


@operator("Col2Im", known=(1, 2))
def col2im(
    call: Call,
    x: Any,
    image_shape: Any,
    block_shape: Any,
    *,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Blocks (n, channels * block, windows) added up where they lie in images."""
    lengths, block = call.numbers(image_shape, "image_shape"), call.numbers(block_shape, "block_shape")
    axes = len(lengths)
    stride, dilation = per_axis(call, "strides", strides, axes), per_axis(call, "dilations", dilations, axes)
    given = per_axis(call, "pads", pads, 2 * axes, 0)
    low, high = given[:axes], given[axes:]
    counts = wd.window_counts(lengths, block, stride, low, high, dilation)
    size = math.prod(block)
    channels = x.shape[1] // size
    parts = xp.reshape(x, (x.shape[0], channels, size, *counts))
    whole = tuple(a + n + b for a, n, b in zip(low, lengths, high))
    total: Any = np.zeros((), x.dtype)
    for i, place in enumerate(itertools.product(*map(range, block))):
        total = total + _spread(parts[:, :, i], whole, place, stride, dilation)
    return total[(..., *(slice(a, a + n) for a, n in zip(low, lengths)))]


def _spread(part: Any, whole: Any, place: Any, stride: Any, dilation: Any) -> Any:
    """What one place of all windows adds to the padded image: windows of one element, `stride` apart."""
    axes = len(whole)
    shifted = [k * d for k, d in zip(place, dilation)]
    rest = [n - a for n, a in zip(whole, shifted)]
    ones = (1,) * axes
    reach = [(n - 1) * s + 1 for n, s in zip(part.shape[2:], stride)]
    window = {"size": ones, "stride": stride, "dilation": ones, "low": (0,) * axes, "high": (0,) * axes}
    spread = emit(wd.window_spread, part, lengths=tuple(reach), axes=tuple(range(2, 2 + axes)), **window)
    return xp.pad(spread, [(0, 0), (0, 0), *((a, n - r) for a, n, r in zip(shifted, rest, reach))])
