"""Convolutions over three and more spatial axes become ones over two, which have tiled kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import convolution
from ...ir.ops.convolution import Window, window_attrs, windows
from ...ir.ops.movement import slice_along
from ..graph.rewrite import Pass, rewrite_nodes


@dataclass(frozen=True)
class FoldSpatialAxes(Pass):
    """`conv(x: [n,depth,height,width,c], w)` -> `conv(concatenate(x at each tap): [n*depth,height,width,c*taps], w')`

    Known elsewhere as im2col, here of the first spatial axis alone: slices that a kernel meets along it stand side by
    side as channels, and all depths are images. The sum over the kernel's depth becomes a part of that over channels.
    With groups each tap is a convolution of its own, and they are added up. The gradient of the weight folds in the
    same way. Where zeros move the input apart, outputs of each phase meet taps of their own.
    """

    of_cpus = True

    def __call__(self, graph: Graph) -> Graph:
        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node.op not in (convolution.conv, convolution.conv_weight_gradient) or not _is_deep(node):
                return None
            x, other = inputs
            axes, groups = windows(node.attrs), node.attrs["groups"]
            if node.op is convolution.conv:
                return [_conv(b, x, other, axes, groups)]
            return [_weight_gradient(b, x, other, node.attrs["kernel"], axes, groups)]

        return rewrite_nodes(graph, rule)


def _is_deep(node: Node) -> bool:
    """Whether there are more than two spatial axes, and anything to sum up."""
    return node.output.type.ndim > 4 and all(v.type.size for v in (*node.inputs, node.output))


class _Phase(NamedTuple):
    """The outputs `first, first + step, ...` along the first spatial axis, `length` of them. Output q of the phase
    meets element `q * stride + start` of the input for each (tap, start) of `met`.
    """

    first: int
    step: int
    length: int
    stride: int
    met: tuple[tuple[int, int], ...]


def _phases(window: Window, length: int, kernel: int) -> list[_Phase]:
    """All outputs by the taps that they meet."""
    steps = window.steps(length, kernel)
    apart = window.expand // math.gcd(window.stride, window.expand)
    found: list[_Phase] = []
    for first in range(min(apart, steps)):
        offsets = [(tap, first * window.stride + tap * window.dilation - window.low) for tap in range(kernel)]
        met = tuple((tap, at // window.expand) for tap, at in offsets if at % window.expand == 0)
        stride = apart * window.stride // window.expand
        found.append(_Phase(first, apart, -(-(steps - first) // apart), stride, met))
    return found


def _conv(b: Builder, x: Value, w: Value, axes: Sequence[Window], groups: int) -> Value:
    if x.type.ndim <= 4:
        return convolution.conv(b, x, w, **window_attrs(axes, groups))
    window, *others = axes
    phases = _phases(window, x.type.shape[1], w.type.shape[2])
    return _interleaved(b, [_of_phase(b, x, w, phase, others, groups) for phase in phases], phases)


def _of_phase(b: Builder, x: Value, w: Value, phase: _Phase, axes: Sequence[Window], groups: int) -> Value:
    """The outputs of a phase: (n, length, ...)."""
    images = x.type.shape[0]
    taps = [tap for tap, _ in phase.met]
    slices = _slices(b, x, phase)
    if groups == 1 and taps:
        # Channels of one tap after those of another, of the input and of the weight.
        inner = _joined(b, slices, x.type.ndim - 1)
        weight = _joined(b, [_tap(b, w, tap) for tap in taps], 1)
        return _split(b, _conv(b, _merged(b, inner), weight, axes, groups), images)
    made = [_conv(b, _merged(b, one), _tap(b, w, tap), axes, groups) for one, tap in zip(slices, taps)]
    if not made:
        lengths = (a.steps(n, k) for a, n, k in zip(axes, x.type.shape[2:-1], w.type.shape[3:]))
        empty = ArrayType((images, phase.length, *lengths, w.type.shape[0]), x.type.dtype)
        return b.full(0.0, empty)
    total, *rest = made
    for one in rest:
        total = OPS["add"](b, total, one)
    return _split(b, total, images)


def _weight_gradient(
    b: Builder, x: Value, g: Value, kernel: Sequence[int], axes: Sequence[Window], groups: int
) -> Value:
    if x.type.ndim <= 4:
        return convolution.conv_weight_gradient(b, x, g, kernel=tuple(kernel), **window_attrs(axes, groups))
    (window, *others), (depth, *rest) = axes, kernel
    by_tap: list[Value | None] = [None] * depth
    for phase in _phases(window, x.type.shape[1], depth):
        cotangent = _merged(b, _every(b, g, phase))
        slices = _slices(b, x, phase)
        if groups == 1 and slices:
            inner = _merged(b, _joined(b, slices, x.type.ndim - 1))
            whole = _weight_gradient(b, inner, cotangent, rest, others, groups)
            bounds = pairwise(range(0, whole.type.shape[1] + 1, x.type.shape[-1]))
            made = [_slice(b, whole, 1, *bound) for bound in bounds]
        else:
            made = [_weight_gradient(b, _merged(b, one), cotangent, rest, others, groups) for one in slices]
        for (tap, _), part in zip(phase.met, made):
            known = by_tap[tap]
            by_tap[tap] = part if known is None else OPS["add"](b, known, part)
    shape = (g.type.shape[-1], x.type.shape[-1] // groups, 1, *rest)
    nothing = ArrayType(shape, x.type.dtype)
    # A tap that no output meets has a gradient of zeros.
    made = [b.full(0.0, nothing) if part is None else OPS["reshape"](b, part, shape=shape) for part in by_tap]
    return _joined(b, made, 2)


def _slices(b: Builder, x: Value, phase: _Phase) -> list[Value]:
    """What each tap meets of the input: (n, length, ...) for each."""
    length = x.type.shape[1]
    ends = [start + (phase.length - 1) * phase.stride + 1 for _, start in phase.met]
    low = max((-start for _, start in phase.met), default=0)
    low, high = max(low, 0), max(max(ends, default=0) - length, 0)
    if low or high:
        nothing = (0,) * x.type.ndim
        around = {"low": (0, low, *nothing[2:]), "high": (0, high, *nothing[2:])}
        x = OPS["pad"](b, x, **around, interior=nothing, value=0.0)
    return [
        _slice(b, x, 1, low + start, low + end, phase.stride) for (_, start), end in zip(phase.met, ends, strict=True)
    ]


def _every(b: Builder, g: Value, phase: _Phase) -> Value:
    """The outputs of a phase among all."""
    return _slice(b, g, 1, phase.first, g.type.shape[1], phase.step)


def _interleaved(b: Builder, parts: Sequence[Value], phases: Sequence[_Phase]) -> Value:
    """The outputs of all phases in their order."""
    if len(parts) == 1:
        return parts[0]
    most = phases[0].length
    shape = parts[0].type.shape
    filled: list[Value] = []
    for part in parts:
        nothing = (0,) * len(shape)
        missing = (0, most - part.type.shape[1], *nothing[2:])
        if any(missing):
            part = OPS["pad"](b, part, low=nothing, high=missing, interior=nothing, value=0.0)
        filled.append(OPS["reshape"](b, part, shape=(shape[0], most, 1, *shape[2:])))
    joined = OPS["concatenate"](b, *filled, axis=2)
    joined = OPS["reshape"](b, joined, shape=(shape[0], most * len(parts), *shape[2:]))
    return _slice(b, joined, 1, 0, sum(phase.length for phase in phases))


def _tap(b: Builder, w: Value, tap: int) -> Value:
    """The weight at one place of the kernel's first axis."""
    taken = _slice(b, w, 2, tap, tap + 1)
    return OPS["reshape"](b, taken, shape=(*w.type.shape[:2], *w.type.shape[3:]))


def _merged(b: Builder, x: Value) -> Value:
    """(n, depth, ...) as images (n * depth, ...)."""
    n, depth, *rest = x.type.shape
    return OPS["reshape"](b, x, shape=(n * depth, *rest))


def _split(b: Builder, x: Value, images: int) -> Value:
    """Images (n * depth, ...) as (n, depth, ...)."""
    both, *rest = x.type.shape
    return OPS["reshape"](b, x, shape=(images, both // images, *rest))


def _joined(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    return OPS["concatenate"](b, *parts, axis=axis) if len(parts) > 1 else parts[0]


def _slice(b: Builder, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    taken = slice_along(x.type.shape, axis, start, stop)
    taken["step"] = tuple(step if i == axis else 1 for i in range(x.type.ndim))
    whole = (start, stop, step) == (0, x.type.shape[axis], 1)
    return x if whole else OPS["slice"](b, x, **taken)
