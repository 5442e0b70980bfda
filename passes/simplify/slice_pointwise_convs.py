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
    """`conv(x, w, stride=s)` -> `conv(x[:, ::s], w)`, where the kernel has length 1 and no padding is around the input.

    Known elsewhere as the lowering of pointwise convolutions to GEMM. Such are the shortcuts of residual nets. What is
    left is a matrix product over all positions. The gradients stay convolutions: that of the weight would keep the
    slice for the backward, that of the input would be spread in an array of its own.
    """

    of_cpus = True

    def __call__(self, graph: Graph) -> Graph:
        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node.op is not convolution.conv or not _skips_positions(node):
                return None
            x, weight = inputs
            axes = windows(node.attrs)
            dense = window_attrs([_DENSE] * len(axes), node.attrs["groups"])
            return [convolution.conv(b, _kept(b, x, axes), weight, **dense)]

        return rewrite_nodes(graph, rule)


def _skips_positions(conv: Node) -> bool:
    """Whether a convolution by a kernel of length 1 leaves out positions of its input, and reads no padding."""
    if not all(v.type.size for v in (*conv.inputs, conv.output)) or any(n != 1 for n in conv.inputs[1].type.shape[2:]):
        return False
    axes = windows(conv.attrs)
    skips = any(axis != _DENSE for axis in axes)
    return skips and all(axis.expand == 1 and axis.low <= 0 and axis.high <= 0 for axis in axes)


def _kept(b: Builder, x: Value, axes: Sequence[Window]) -> Value:
    """The positions of an input that a kernel of length 1 meets."""
    n, *lengths, channels = x.type.shape
    steps = [axis.steps(length, 1) for axis, length in zip(axes, lengths)]
    starts = [-axis.low for axis in axes]
    stops = [start + (count - 1) * axis.stride + 1 for start, count, axis in zip(starts, steps, axes)]
    return OPS["slice"](
        b, x, start=(0, *starts, 0), stop=(n, *stops, channels), step=(1, *(axis.stride for axis in axes), 1)
    )
