"""Gradients to the weights of convolutions into few channels exchange their operands, so that vectors are filled."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import convolution
from ...ir.ops.convolution import turned_weight, window_attrs, windows
from ..graph.rewrite import Pass, rewrite_nodes
from ..kernels.conv_geometry import has_tiled_kernel
from ..target import DEFAULT_TARGET, Target

# How many times the lanes the other way must save: it moves the weight once more.
_LEAST_GAIN = 2


@dataclass(frozen=True)
class SwapWeightGradients(Pass):
    """`conv_weight_gradient(x, g)` -> `reverse(transpose(conv_weight_gradient(g, x)))`, by the turned windows.

    Kernels have the channels of their second operand in vectors. Where those are few, as before an image of three
    colours, and those of the first fill vectors, each vector has work for all of its lanes the other way around.
    Known elsewhere as operand swapping, or canonicalization of convolutions.
    """

    of_cpus = True

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node.op is not convolution.conv_weight_gradient or not self.gains(node):
                return None
            x, g = inputs
            kernel: tuple[int, ...] = node.attrs["kernel"]
            back = [a.turned(n, k) for a, n, k in zip(windows(node.attrs), x.type.shape[1:-1], kernel)]
            swapped = convolution.conv_weight_gradient(b, g, x, kernel=kernel, **window_attrs(back, 1))
            return [turned_weight(b, swapped, 1)]

        return rewrite_nodes(graph, rule)

    def gains(self, node: Node) -> bool:
        """Whether vectors of the other operand's channels have so much less to do."""
        if node.attrs["groups"] > 1 or not has_tiled_kernel(node):
            return False
        first, second = (v.type.shape[-1] for v in node.inputs)
        lanes = self.target.vector_bytes // node.output.type.dtype.itemsize
        return first * -(-second // lanes) >= _LEAST_GAIN * second * -(-first // lanes)
