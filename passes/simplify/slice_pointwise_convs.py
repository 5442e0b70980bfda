"""Convolutions by kernels of length 1 that skip positions: what they skip is left out before, and they are products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import convolution
from ...ir.ops.convolution import Window, window_attrs, windows
from ..graph.rewrite import Pass, rewrite_nodes

_DENSE = Window(1, 0, 0, 1, 1)


@dataclass(frozen=True)
class SlicePointwiseConvs(Pass):
    """`conv(x, w, stride=s)` -> `conv(x[:, ::s], w)`, and so for its gradients, where the kernel has length 1:

        conv(x, w, stride=s)               -> conv(x[:, ::s], w)
        conv_weight_gradient(x, g, stride=s) -> conv_weight_gradient(x[:, ::s], g)
        conv(g, w, expand=s)               -> pad(conv(g, w), interior=s - 1)

    Such are the shortcuts of residual nets. What is left is a matrix product over all positions. It is done without
    padding around the input.
    """

    of_cpus = True

    def __call__(self, graph: Graph) -> Graph:
        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node.op not in (convolution.conv, convolution.conv_weight_gradient):
                return None
            if not all(v.type.size for v in (*node.inputs, node.output)):
                return None
            axes = windows(node.attrs)
            weight = node.inputs[1] if node.op is convolution.conv else node.output
            if any(n != 1 for n in weight.type.shape[2:]) or all(axis == _DENSE for axis in axes):
                return None
            dense = window_attrs([_DENSE] * len(axes), node.attrs["groups"])
            x, other = inputs
            if all(axis.expand == 1 and axis.low <= 0 and axis.high <= 0 for axis in axes):
                kept = _kept(b, x, axes)
                if node.op is convolution.conv:
                    return [convolution.conv(b, kept, other, **dense)]
                kernel = node.attrs["kernel"]
                return [convolution.conv_weight_gradient(b, kept, other, kernel=kernel, **dense)]
            if node.op is convolution.conv and all(axis.stride == 1 and min(axis.low, axis.high) >= 0 for axis in axes):
                return [_spread(b, convolution.conv(b, x, other, **dense), axes)]
            return None

        return rewrite_nodes(graph, rule)


def _kept(b: Builder, x: Value, axes: Sequence[Window]) -> Value:
    """The positions of an input that a kernel of length 1 meets."""
    n, *lengths, channels = x.type.shape
    steps = [axis.steps(length, 1) for axis, length in zip(axes, lengths)]
    starts = [-axis.low for axis in axes]
    stops = [start + (count - 1) * axis.stride + 1 for start, count, axis in zip(starts, steps, axes)]
    return OPS["slice"](
        b, x, start=(0, *starts, 0), stop=(n, *stops, channels), step=(1, *(axis.stride for axis in axes), 1)
    )


def _spread(b: Builder, y: Value, axes: Sequence[Window]) -> Value:
    """Outputs with zeros where a kernel of length 1 meets none of the input."""
    low, high, interior = (
        (0, *numbers, 0) for numbers in zip(*((axis.low, axis.high, axis.expand - 1) for axis in axes))
    )
    return OPS["pad"](b, y, low=low, high=high, interior=interior, value=0.0)
