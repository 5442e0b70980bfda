"""Convolutions over any number of spatial axes, and their gradient to the weight.

Arrays hold their channels last, (n, spatial..., channels); weights are (channels out, channels in / groups, kernel...).
Along each spatial axis, with `stride`, `low` and `high` padding (negative: cropped), `dilation` of the kernel and
`expand`, the distance at which zeros move the elements of the input apart:

    y[o] = sum over k of x'[o * stride + k * dilation - low] * w[k],    x'[i * expand] = x[i], 0 elsewhere

The gradient to the input is a convolution again, by the turned kernel, with stride and expand exchanged; that to the
weight is an op of its own. Both are linear in each input, and the derivatives of both are the two again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare
from ..types import Array, ArrayType, is_float
from .added import declare_added

Lengths = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel meets the input along one axis."""

    stride: int
    low: int
    high: int
    dilation: int
    expand: int

    def expanded(self, length: int) -> int:
        """The length of the input with zeros between its elements."""
        return length + max(length - 1, 0) * (self.expand - 1)

    def steps(self, length: int, kernel: int) -> int:
        """The length of the output."""
        room = self.expanded(length) + self.low + self.high - (kernel - 1) * self.dilation - 1
        return max(room // self.stride + 1, 0)

    def turned(self, length: int, kernel: int) -> Window:
        """The window of the gradient to an input of `length`, which reads the output."""
        low = (kernel - 1) * self.dilation - self.low
        back = Window(self.expand, low, 0, self.dilation, self.stride)
        given = back.expanded(self.steps(length, kernel)) + low
        needed = (length - 1) * self.expand + (kernel - 1) * self.dilation + 1
        return Window(self.expand, low, needed - given, self.dilation, self.stride)


_WINDOW = ("stride", "low", "high", "dilation", "expand")


def windows(attrs: Attrs) -> list[Window]:
    """The windows of a convolution along its spatial axes."""
    return [Window(*numbers) for numbers in zip(*(attrs[name] for name in _WINDOW), strict=True)]


def window_attrs(axes: Sequence[Window], groups: int) -> dict[str, Any]:
    """The attributes of a convolution with these windows."""
    return {**{name: tuple(getattr(w, name) for w in axes) for name in _WINDOW}, "groups": groups}


def _check_windows(x: ArrayType, attrs: Attrs) -> None:
    spatial = x.ndim - 2
    if spatial < 0:
        raise TypeRuleError(f"{x} is not (n, spatial..., channels)")
    for name in _WINDOW:
        if len(attrs[name]) != spatial:
            raise TypeRuleError(f"{name} {attrs[name]} is not for the {spatial} spatial axes of {x}")
    if any(n < 1 for name in ("stride", "dilation", "expand") for n in attrs[name]) or attrs["groups"] < 1:
        raise TypeRuleError("stride, dilation, expand and groups are 1 or more")


def _conv_type(
    x: ArrayType,
    w: ArrayType,
    stride: Lengths,
    low: Lengths,
    high: Lengths,
    dilation: Lengths,
    expand: Lengths,
    groups: int,
) -> ArrayType:
    if x.dtype != w.dtype or not is_float(x.dtype):
        raise TypeRuleError(f"takes two arrays of one float dtype, got {x} and {w}")
    attrs = {"stride": stride, "low": low, "high": high, "dilation": dilation, "expand": expand, "groups": groups}
    _check_windows(x, attrs)
    if w.ndim != x.ndim or any(n < 1 for n in w.shape[2:]):
        raise TypeRuleError(f"{w} is no weight (channels out, channels in / groups, kernel...) for {x}")
    if w.shape[1] * groups != x.shape[-1] or w.shape[0] % groups:
        raise TypeRuleError(f"{w} does not fit the channels of {x} in {groups} groups")
    steps = (a.steps(n, k) for a, n, k in zip(windows(attrs), x.shape[1:-1], w.shape[2:]))
    return ArrayType((x.shape[0], *steps, w.shape[0]), x.dtype)


def _padded(x: Array, axes: Sequence[Window]) -> Array:
    """`x` with zeros between and around its elements, or cropped where padding is negative."""
    lengths = [a.expanded(n) for a, n in zip(axes, x.shape[1:-1])]
    wide = np.zeros((x.shape[0], *lengths, x.shape[-1]), x.dtype)
    wide[(slice(None), *(slice(None, None, a.expand) for a in axes))] = x
    pads = [(max(a.low, 0), max(a.high, 0)) for a in axes]
    wide = np.pad(wide, [(0, 0), *pads, (0, 0)])
    crops = (slice(max(-a.low, 0), max(n - max(-a.high, 0), 0)) for a, n in zip(axes, wide.shape[1:-1]))
    return wide[(slice(None), *crops)]


def _taps(x: Array, axes: Sequence[Window], kernel: Lengths, steps: Lengths) -> list[tuple[Lengths, Array]]:
    """For each place of the kernel, the elements of the padded `x` that it meets."""
    found: list[tuple[Lengths, Array]] = []
    for place in product(*map(range, kernel)):
        starts = [k * a.dilation for k, a in zip(place, axes)]
        part = x[(slice(None), *(slice(i, i + n * a.stride, a.stride) for i, n, a in zip(starts, steps, axes)))]
        found.append((place, part[(slice(None), *(slice(n) for n in steps))]))
    return found


def _by_group(x: Array, groups: int) -> Array:
    """(..., channels) as (groups, positions, channels of a group)."""
    return x.reshape(math.prod(x.shape[:-1]), groups, x.shape[-1] // groups).transpose(1, 0, 2)


def _conv(x: Array, w: Array, **attrs: Any) -> Array:
    type = _conv_type(ArrayType(x.shape, x.dtype), ArrayType(w.shape, w.dtype), **attrs)
    axes, groups = windows(attrs), attrs["groups"]
    weights = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    positions = math.prod(type.shape[:-1])
    total = np.zeros((groups, positions, w.shape[0] // groups), x.dtype)
    if type.size:
        for place, part in _taps(_padded(x, axes), axes, w.shape[2:], type.shape[1:-1]):
            total += _by_group(part, groups) @ weights[(..., *place)].transpose(0, 2, 1)
    return np.ascontiguousarray(total.transpose(1, 0, 2)).reshape(type.shape)


def turned_weight(b: Builder, w: Value, groups: int) -> Value:
    """The weight of the gradient to the input: (channels in, channels out / groups, kernel turned around)."""
    out, inner, *kernel = w.type.shape
    per_group = out // groups
    split = OPS["reshape"](b, w, shape=(groups, per_group, inner, *kernel))
    perm = (0, 2, 1, *range(3, 3 + len(kernel)))
    swapped = OPS["transpose"](b, split, perm=perm)
    joined = OPS["reshape"](b, swapped, shape=(groups * inner, per_group, *kernel))
    return OPS["reverse"](b, joined, axes=tuple(range(2, 2 + len(kernel)))) if kernel else joined


def input_gradient(b: Builder, g: Value, w: Value, lengths: Lengths, attrs: Attrs) -> Value:
    """What the cotangent `g` of a convolution by `w` is to its input, of spatial `lengths`."""
    back = [a.turned(n, k) for a, n, k in zip(windows(attrs), lengths, w.type.shape[2:])]
    return conv(b, g, turned_weight(b, w, attrs["groups"]), **window_attrs(back, attrs["groups"]))


def _conv_vjp(b: Builder, g: Value, o: Value, x: Value, w: Value, **attrs: Any) -> tuple[Value, Value]:
    to_input = input_gradient(b, g, w, x.type.shape[1:-1], attrs)
    return to_input, conv_weight_gradient(b, x, g, kernel=w.type.shape[2:], **attrs)


def _multiply_adds(positions: int, weights: int, attrs: Attrs) -> int:
    return -(-positions * weights // math.prod(attrs["expand"]))


def _conv_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 2 * _multiply_adds(math.prod(outputs[0].shape[:-1]), inputs[1].size, attrs) * (inputs[0].size > 0)


def _conv_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    spatial: list[int | None] = [None] * (output.ndim - 2)
    return [[0, *spatial, None], [None, *spatial, 0 if attrs["groups"] == 1 else None]]


conv = declare(
    Op(
        "conv",
        "convolution",
        _conv_type,
        _conv,
        _conv_flops,
        _conv_axes,
        _conv_vjp,
        "cross-correlation of x (n, spatial..., in) with w (out, in / groups, kernel...): (n, spatial..., out)",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)


conv_add = declare_added(
    conv, "convolution", "z + conv(x, w): the second of two ways to one sum, written over the first"
)


def _weight_gradient_type(x: ArrayType, g: ArrayType, kernel: Lengths, **attrs: Any) -> ArrayType:
    _check_windows(x, attrs)
    groups: int = attrs["groups"]
    if g.ndim != x.ndim or x.shape[-1] % groups or len(kernel) != x.ndim - 2:
        raise TypeRuleError(f"{x}, {g} and kernel {kernel} in {groups} groups do not fit together")
    weight = ArrayType((g.shape[-1], x.shape[-1] // groups, *kernel), x.dtype)
    made = _conv_type(x, weight, **attrs)
    if made != g:
        raise TypeRuleError(f"the cotangent is {g}, the convolution of {x} by {weight} gives {made}")
    return weight


def _weight_gradient(x: Array, g: Array, kernel: Lengths, **attrs: Any) -> Array:
    type = _weight_gradient_type(ArrayType(x.shape, x.dtype), ArrayType(g.shape, g.dtype), kernel, **attrs)
    axes, groups = windows(attrs), attrs["groups"]
    result = np.zeros((groups, type.shape[0] // groups, *type.shape[1:]), x.dtype)
    if g.size and type.size:
        cotangent = _by_group(g, groups).transpose(0, 2, 1)
        for place, part in _taps(_padded(x, axes), axes, kernel, g.shape[1:-1]):
            result[(..., *place)] = cotangent @ _by_group(part, groups)
    return result.reshape(type.shape)


def _weight_gradient_vjp(
    b: Builder, u: Value, o: Value, x: Value, g: Value, kernel: Lengths, **attrs: Any
) -> tuple[Value, Value]:
    return input_gradient(b, g, u, x.type.shape[1:-1], attrs), conv(b, x, u, **attrs)


def _weight_gradient_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return 2 * _multiply_adds(math.prod(inputs[1].shape[:-1]), outputs[0].size, attrs) * (inputs[0].size > 0)


def _weight_gradient_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    spatial: list[int | None] = [None] * (output.ndim - 2)
    channels = output.ndim - 1 if attrs["groups"] == 1 else None
    return [[None, channels, *spatial], [channels, None, *spatial]]


conv_weight_gradient = declare(
    Op(
        "conv_weight_gradient",
        "convolution",
        _weight_gradient_type,
        _weight_gradient,
        _weight_gradient_flops,
        _weight_gradient_axes,
        _weight_gradient_vjp,
        "the cotangent of the weight of a `conv` with the same attributes, of x and the cotangent of its output",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)


conv_weight_gradient_add = declare_added(
    conv_weight_gradient,
    "gradient",
    "z + conv_weight_gradient(x, g): what a loop adds up over its iterations, written over the old sum",
)
