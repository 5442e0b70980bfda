"""Convolutions and transposed convolutions under torch's names, arguments and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from ....ir import is_float
from ....ir.ops import convolution as ops
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, emit, located
from .spatial import fitting_groups

Numbers = int | Sequence[int]


def numbers(value: Any, count: int, what: str, least: int) -> tuple[int, ...]:
    """One whole number for each of `count` axes, from such a tuple or from one number for all.

    Raises `ValueError` where one is below `least`, or their count is another.
    """
    given = tuple(value) if isinstance(value, (Sequence, np.ndarray)) else (value,) * count
    if len(given) == 1:
        given *= count
    whole = all(isinstance(n, SupportsIndex) and not isinstance(n, bool) for n in given)
    if len(given) != count or not whole or any(index(n) < least for n in given):
        raise ValueError(
            located(f"{what} is a whole number of {least} or more, or {count} of them for the axes, got {value!r}")
        )
    return tuple(index(n) for n in given)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlation of input (n, in, length), or (in, length), with weight (out, in / groups, kernel).

    Gives (n, out, length'), with length' = (length + 2 padding - dilation (kernel - 1) - 1) // stride + 1. `padding` is
    a number of zeros on both sides, "valid" for none, or "same" for as many as keep the length (with stride 1). Raises
    `ShapeError` where shapes or groups do not fit.
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Any:
    """`conv1d` for input (n, in, height, width), or without n, and weight (out, in / groups, height, width).

    Numbers may be pairs for the two axes.
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Any:
    """`conv1d` for input (n, in, depth, height, width), or without n, and weight (out, in / groups, ...kernel)."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` for input (length, n, in), weight (kernel, in, out) and bias (out,), with `pad` zeros on both sides.

    Gives (length', n, out). Raises `ShapeError` where shapes do not fit.
    """
    x, weight = as_arraylike(input), as_arraylike(weight)
    if x.ndim != 3 or weight.ndim != 3:
        shapes = "the input is (length, n, in) and the weight (kernel, in, out)"
        raise ShapeError(located(f"conv_tbc: {shapes}, got {described(x)} and {described(weight)}"))
    result = conv1d(xp.permute_dims(x, (1, 2, 0)), xp.permute_dims(weight, (2, 1, 0)), bias, padding=pad)
    return xp.permute_dims(result, (2, 0, 1))


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Any:
    """The gradient of `conv1d` to its input: of input (n, in, length) by weight (in, out / groups, kernel).

    Gives (n, out, length'), with
    length' = (length - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1. `output_padding`, below
    stride or dilation, chooses among the lengths that the convolution would bring to `length`.
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Any:
    """`conv_transpose1d` for input (n, in, height, width), or without n, and weight (in, out / groups, ...kernel)."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Any:
    """`conv_transpose1d` for input (n, in, depth, height, width), or without n, and weight (in, out / groups, ...)."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The zeros before and after each axis that keep its length; the odd one comes after, as in torch."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _convolution(
    what: str, axes: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    x, weight, batched = _operands(what, axes, input, weight)
    stride, dilation = numbers(stride, axes, f"{what}: stride", 1), numbers(dilation, axes, f"{what}: dilation", 1)
    groups = numbers(groups, 1, f"{what}: groups", 1)[0]
    out, inner, *kernel = weight.shape
    channels = x.shape[-1]
    if channels % groups or out % groups:
        raise ShapeError(
            located(
                f"{what}: groups {groups} must divide the channels in, {channels}, and out, {out}; "
                f"{fitting_groups(channels, out)}; got {_shown(x)}"
            )
        )
    if inner * groups != channels:
        raise ShapeError(
            located(
                f"{what}: input has {channels} channels, weight {tuple(weight.shape)} in {groups} groups is for "
                f"{inner * groups}; a weight is (out, in / groups, ...kernel){_channels_last(x, inner * groups)}"
            )
        )
    pads = _pads(what, padding, kernel, stride, dilation)
    for n, k, d, (low, high) in zip(x.shape[1:-1], kernel, dilation, pads):
        if n + low + high < d * (k - 1) + 1:
            raise ShapeError(
                located(
                    f"{what}: the kernel {tuple(kernel)} with dilation {dilation} is larger than the padded input, "
                    f"{_shown(x)} with padding {padding!r}; use more padding or a smaller kernel"
                )
            )
    low, high = (tuple(pair[side] for pair in pads) for side in (0, 1))
    ones = (1,) * axes
    result = emit(ops.conv, x, weight, stride=stride, low=low, high=high, dilation=dilation, expand=ones, groups=groups)
    return _finished(what, result, bias, out, batched)


def _transposed(
    what: str,
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Any:
    x, weight, batched = _operands(what, axes, input, weight)
    stride, dilation = numbers(stride, axes, f"{what}: stride", 1), numbers(dilation, axes, f"{what}: dilation", 1)
    padding = numbers(padding, axes, f"{what}: padding", 0)
    extra = numbers(output_padding, axes, f"{what}: output_padding", 0)
    groups = numbers(groups, 1, f"{what}: groups", 1)[0]
    channels, per_group, *kernel = weight.shape
    if channels != x.shape[-1]:
        raise ShapeError(
            located(
                f"{what}: input has {x.shape[-1]} channels, weight {tuple(weight.shape)} is for {channels}; "
                f"a weight is (in, out / groups, ...kernel){_channels_last(x, channels)}"
            )
        )
    if channels % groups:
        raise ShapeError(
            located(f"{what}: groups {groups} must divide the channels in, {channels}; {fitting_groups(channels)}")
        )
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(
            located(f"{what}: output_padding {extra} must be below stride {stride} or dilation {dilation}")
        )
    low = tuple(d * (k - 1) - p for k, d, p in zip(kernel, dilation, padding))
    high = tuple(n + e for n, e in zip(low, extra))
    lengths = [(n - 1) * s + 1 + a + b - d * (k - 1) for n, s, a, b, d, k in
               zip(x.shape[1:-1], stride, low, high, dilation, kernel)]  # fmt: skip
    if any(n < 1 for n in lengths):
        raise ShapeError(
            located(f"{what}: the output would be of lengths {tuple(lengths)}, from {_shown(x)} with padding {padding}")
        )
    split = xp.reshape(weight, (groups, channels // groups, per_group, *kernel))
    swapped = xp.reshape(
        xp.permute_dims(split, (0, 2, 1, *range(3, 3 + axes))), (groups * per_group, channels // groups, *kernel)
    )
    turned = xp.flip(swapped, axis=tuple(range(2, 2 + axes)))
    ones = (1,) * axes
    result = emit(ops.conv, x, turned, stride=ones, low=low, high=high, dilation=dilation, expand=stride, groups=groups)
    return _finished(what, result, bias, groups * per_group, batched)


def _shown(x: Any) -> str:
    """The channels-last `x` as the user gave it."""
    return f"({', '.join(map(str, (x.shape[0], x.shape[-1], *x.shape[1:-1])))}) {x.dtype}"


def _channels_last(x: Any, channels: int) -> str:
    """What to write where the user's last axis looks like the channels."""
    return f"; channels come first here, {_shown(x)}: np.moveaxis(x, -1, 1)" if x.shape[-2] == channels else ""


def _operands(what: str, axes: int, input: Any, weight: Any) -> tuple[Any, Any, bool]:
    """The input with its channels last and a first axis n, the weight, and whether the user gave that axis."""
    x, weight = as_arraylike(input), as_arraylike(weight)
    names = ("length", "height, width", "depth, height, width")[axes - 1]
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(located(f"{what}: input is (n, channels, {names}) or (channels, {names}), got {described(x)}"))
    if weight.ndim != axes + 2 or 0 in weight.shape[2:]:
        raise ShapeError(
            located(f"{what}: weight has {axes + 2} axes, the last {axes} not empty, got {described(weight)}")
        )
    if not is_float(x.dtype) or not is_float(weight.dtype):
        raise TracingError(
            located(
                f"{what}: input and weight are floats, got {described(x)} and {described(weight)}; "
                "write .astype('float32')"
            )
        )
    dtype = np.result_type(x.dtype, weight.dtype)
    batched = x.ndim == axes + 2
    x = xp.astype(x if batched else xp.expand_dims(x, 0), dtype)
    return xp.permute_dims(x, (0, *range(2, axes + 2), 1)), xp.astype(weight, dtype), batched


def _pads(
    what: str, padding: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(
                located(f"{what}: padding 'same' is for stride 1, got stride {tuple(stride)}; give numbers of zeros")
            )
        return same_padding(kernel, dilation)
    if isinstance(padding, str):
        raise ValueError(located(f"{what}: padding is a number, 'same' or 'valid', got {padding!r}"))
    return tuple((n, n) for n in numbers(padding, len(kernel), f"{what}: padding", 0))


def _finished(what: str, y: Any, bias: Any, out: int, batched: bool) -> Any:
    """The result with its bias, its channels where torch has them."""
    if bias is not None:
        bias = as_arraylike(bias)
        if tuple(bias.shape) != (out,):
            raise ShapeError(located(f"{what}: bias is ({out},), one for each channel out, got {described(bias)}"))
        y = y + bias
    y = xp.permute_dims(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))
    return y if batched else xp.squeeze(y, axis=0)
