"""Convolutions that cuDNN runs, in its words: forward, or the gradient of images or of filters, with channels last.

A convolution of an expanded input is the gradient of images of the convolution that it came from. Filters lie with
their channels last there, so they are packed before, or unpacked behind, in scratch of the unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...ir import Node, Value
from ...ir.ops.convolution import Window, windows
from ..graph.views import View
from ..target import Target
from .accumulators import accumulated_input
from .conv_operands import is_convolution
from .library_calls import MOST_WORKSPACE

_MOST_AXES = 3


@dataclass(frozen=True, slots=True)
class LibraryConvolution:
    """A convolution of images (n, lengths..., channels) with filters (channels out, kernel..., channels in / groups)
    that gives results (n, lengths..., channels out), or one of its gradients.

    `filters` is the view of the filters in the memory of the weight, of (groups, channels out / groups, kernel...,
    channels in / groups). Where it is `packed`, they have a place in scratch.
    """

    kind: Literal["forward", "data_gradient", "filter_gradient"]
    images: tuple[int, ...]
    results: tuple[int, ...]
    filters: View
    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    packed: bool
    added: bool

    @property
    def filters_shape(self) -> tuple[int, ...]:
        """(channels out, kernel..., channels in / groups)."""
        groups, outer, *rest = self.filters.shape
        return groups * outer, *rest

    def filter_bytes(self, target: Target) -> int:
        """Bytes of the packed filters in scratch."""
        return target.round_to_line(math.prod(self.filters.shape) * 4) if self.packed else 0

    def workspace_bytes(self, target: Target) -> int:
        """Bytes in which the library works: as many as its operands have, up to what products have."""
        elements = math.prod(self.images) + math.prod(self.results) + math.prod(self.filters.shape)
        return min(target.round_to_line(4 * elements), MOST_WORKSPACE)


def convolution_by_library(node: Node, views: Mapping[Value, View], target: Target) -> LibraryConvolution | None:
    """What cuDNN runs of a unit, None where it does not: float32, one to three axes, padding alike on both sides."""
    if "cudnn" not in target.libraries or node.op.family != "convolution" or node.op.is_conv_region:
        return None
    types = [value.type for value in (*node.inputs[:2], node.output)]
    axes = windows(node.attrs)
    if types[0].dtype != np.float32 or any(0 in type.shape for type in types) or not 1 <= len(axes) <= _MOST_AXES:
        return None
    if not views[node.inputs[0]].contiguous:
        return None
    found = _convolution(node, views, axes) if is_convolution(node) else _filter_gradient(node, views, axes)
    return found if found is not None and _is_padded_alike(found) else None


def _convolution(node: Node, views: Mapping[Value, View], axes: Sequence[Window]) -> LibraryConvolution | None:
    x, w, y = node.inputs[0].type.shape, views[node.inputs[1]], node.output.type.shape
    groups: int = node.attrs["groups"]
    outer = w.shape[0] // groups
    added = accumulated_input(node, 0) is not None
    if all(a.expand == 1 and a.low >= 0 for a in axes):
        shape = (groups, outer, *w.shape[2:], w.shape[1])
        filters = View(w.base, w.offset, shape, (outer * w.strides[0], w.strides[0], *w.strides[2:], w.strides[1]))
        low, stride = tuple(a.low for a in axes), tuple(a.stride for a in axes)
        return _made("forward", x, y, filters, low, stride, axes, added)
    if any(a.stride != 1 for a in axes):
        return None
    # The convolution that this one is the gradient of has the kernel turned, and channels in and out exchanged.
    reach = [(length - 1) * stride for length, stride in zip(w.shape[2:], w.strides[2:])]
    shape = (groups, w.shape[1], *w.shape[2:], outer)
    strides = (outer * w.strides[0], w.strides[1], *(-stride for stride in w.strides[2:]), w.strides[0])
    filters = View(w.base, w.offset + sum(reach), shape, strides)
    padding = tuple((length - 1) * a.dilation - a.low for length, a in zip(w.shape[2:], axes))
    return _made("data_gradient", y, x, filters, padding, tuple(a.expand for a in axes), axes, added)


def _filter_gradient(node: Node, views: Mapping[Value, View], axes: Sequence[Window]) -> LibraryConvolution | None:
    if any(a.expand != 1 for a in axes) or not views[node.inputs[1]].contiguous:
        return None
    w, groups = node.output.type.shape, node.attrs["groups"]
    outer, size = w[0] // groups, math.prod(w[1:])
    taps = math.prod(w[2:])
    steps = [math.prod(w[3 + i :]) for i in range(len(w) - 2)]
    filters = View(node.output, 0, (groups, outer, *w[2:], w[1]), (outer * size, size, *steps, taps))
    low, stride = tuple(a.low for a in axes), tuple(a.stride for a in axes)
    added = accumulated_input(node, 0) is not None
    x, g = (value.type.shape for value in node.inputs[:2])
    return _made("filter_gradient", x, g, filters, low, stride, axes, added)


def _made(
    kind: Literal["forward", "data_gradient", "filter_gradient"],
    images: tuple[int, ...],
    results: tuple[int, ...],
    filters: View,
    padding: tuple[int, ...],
    stride: tuple[int, ...],
    axes: Sequence[Window],
    added: bool,
) -> LibraryConvolution:
    # What is added to filters is added as they are unpacked.
    packed = not filters.contiguous or (added and kind == "filter_gradient")
    dilation = tuple(a.dilation for a in axes)
    return LibraryConvolution(kind, images, results, filters, padding, stride, dilation, packed, added)


def _is_padded_alike(found: LibraryConvolution) -> bool:
    """Whether the same padding on both sides gives results of these lengths."""
    kernel = found.filters.shape[2:-1]
    lengths = zip(found.images[1:-1], found.results[1:-1], kernel, found.padding, found.stride, found.dilation)
    return all(
        low >= 0 and (length + 2 * low - dilation * (taps - 1) - 1) // stride + 1 == result
        for length, result, taps, low, stride, dilation in lengths
    )
