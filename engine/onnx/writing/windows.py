"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.ops import window as wd
from .emitter import Emitter, Name, emits
from .symbolic_graph import SymbolicNode, SymbolicValue


@emits(wd.window_max)
def window_max(e: Emitter, node: SymbolicNode) -> str:
    def largest(x: str) -> str:
        x, attributes = _pooled(e, node, x, -math.inf)
        return e.node("MaxPool", x, **attributes)

    return _over_images(e, node, largest)


@emits(wd.window_sum)
def window_sum(e: Emitter, node: SymbolicNode) -> str:
    attributes = _pooling(e, node)
    lengths = attributes["kernel_shape"]
    if max(attributes["dilations"]) > 1:  # which an average has only from opset 19 on
        return _gapped_sum(e, node, attributes)

    def summed(x: str) -> str:
        x, given = _pooled(e, node, x, 0)
        mean = e.node("AveragePool", x, count_include_pad=1, **{**given, "dilations": []})
        return e.node("Mul", mean, e.constant(math.prod(lengths), node.output.dtype))

    return _over_images(e, node, summed)


def _gapped_sum(e: Emitter, node: SymbolicNode, attributes: dict[str, Any]) -> str:
    """A convolution by ones, of each channel alone."""
    (x,) = node.inputs
    axes = node.attrs["axes"]
    ones = e.constant(np.ones((1, 1, *attributes["kernel_shape"])), x.dtype)
    lengths = e.whole([x.shape[a] for a in axes], "a length under windows")
    rest = [n for i, n in enumerate(x.shape) if i not in axes]

    def summed(name: str) -> str:
        single = e.node("Reshape", name, e.numbers(-1, 1, *lengths))
        result = e.node("Conv", single, ones, **attributes)
        return e.reshaped(result, [*rest, *(node.output.shape[a] for a in axes)])

    return _last(e, x, axes, summed)


@emits(wd.window_pick)
def window_pick(e: Emitter, node: SymbolicNode) -> Name:
    """The largest of each window, found again at its place, is the largest of each window."""
    x, places = node.inputs
    found = places.node
    if found is not None and found.op is wd.window_find and found.inputs[0] is x:
        return e.name(found.inputs[1])
    raise e.refusal("ONNX has no operator for the elements at places of windows")


@emits(wd.window_spread)
def window_spread(e: Emitter, node: SymbolicNode) -> str:
    """Each window adds its element to all that lie in it: a transposed convolution by ones, of each channel alone."""
    (x,) = node.inputs
    axes = node.attrs["axes"]
    names = ("size", "stride", "low", "dilation")
    size, stride, low, dilation = (e.whole(node.attrs[name], name) for name in names)
    lengths = e.whole(node.attrs["lengths"], "the lengths")
    counts = e.whole([x.shape[a] for a in axes], "the windows")
    reach = [(n - 1) * s + d * (k - 1) + 1 - a for n, s, d, k, a in zip(counts, stride, dilation, size, low)]
    over = [r - n for r, n in zip(reach, lengths)]
    ones = e.constant(np.ones((1, 1, *size)), x.dtype)

    def spread(name: str) -> str:
        single = e.node("Reshape", name, e.numbers(-1, 1, *counts))
        pads = [*low, *(max(n, 0) for n in over)]
        extra = [max(-n, 0) for n in over]
        result = e.node(
            "ConvTranspose", single, ones, strides=stride, dilations=dilation, pads=pads, output_padding=extra
        )
        rest = [n for i, n in enumerate(node.output.shape) if i not in axes]
        return e.reshaped(result, [*rest, *lengths])

    return _last(e, x, axes, spread)


def _pooling(e: Emitter, node: SymbolicNode) -> dict[str, Any]:
    names = ("size", "stride", "low", "high", "dilation")
    size, stride, low, high, dilation = (e.whole(node.attrs[name], name) for name in names)
    return {"kernel_shape": size, "strides": stride, "pads": [*low, *high], "dilations": dilation}


def _pooled(e: Emitter, node: SymbolicNode, x: str, value: float) -> tuple[str, dict[str, Any]]:
    """An array and the attributes of its pooling. Padding of a window or more, which not all runtimes take, is written
    out.
    """
    attributes = _pooling(e, node)
    pads, size = attributes["pads"], attributes["kernel_shape"]
    if all(n < k for n, k in zip(pads, (*size, *size))):
        return x, attributes
    axes = e.numbers(*range(2, 2 + len(size)))
    padded = e.node("Pad", x, e.numbers(*pads), e.constant(value, node.output.dtype), axes)
    return padded, {**attributes, "pads": [0] * len(pads)}


def _over_images(e: Emitter, node: SymbolicNode, pool: Callable[[str], str]) -> str:
    """What pools (n, channels, lengths) for an array whose windows run over any neighbouring axes."""
    (x,) = node.inputs
    axes = node.attrs["axes"]

    def pooled(name: str) -> str:
        rest = [n for i, n in enumerate(x.shape) if i not in axes]
        if len(rest) == 2:
            return pool(name)
        lengths = [x.shape[a] for a in axes]
        single = e.reshaped(name, (rest[0], -1, *lengths)) if rest else e.reshaped(name, (1, 1, *lengths))
        return e.reshaped(pool(single), [*rest, *(node.output.shape[a] for a in axes)])

    return _last(e, x, axes, pooled)


def _last(e: Emitter, x: SymbolicValue, axes: tuple[int, ...], run: Callable[[str], str]) -> str:
    """`run` with the axes of the windows last, and back."""
    order = [*(i for i in range(x.ndim) if i not in axes), *axes]
    return e.transposed(run(e.transposed(e.name(x), order)), [int(i) for i in np.argsort(order)])
