"""Sums of bfloat16 and float16 as sums of float32: what computes more than an element at a time does it in float32."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import collectives
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half
from ..graph.rewrite import Pass, rewrite_nodes


@dataclass(frozen=True)
class WidenBfloat16(Pass):
    """`dot(x, y)` of two bytes -> `cast(dot(cast(x), cast(y)))`, its operands and its sums float32.

    Known elsewhere as legalization, float normalization. It says in the graph what an op of such means: float32
    inside, and one rounding of each result. So tiles and parts of a sum, which later passes make, are float32 too, and
    kernels need to know of them only where they move elements or compute one from others.

    An element-wise op stays as it is: a fused loop rounds each value. An operand is widened once for all its readers.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not any(_computes_bfloat16(node) for node in graph.nodes):
            return graph
        widened: dict[Value, Value] = {}

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if not _computes_bfloat16(node):
                return None
            made = b.emit_node(node.op, *(_widened(b, x, widened) for x in inputs), **node.attrs).outputs
            return [
                x if x.type == wanted.type else ew.cast(b, x, dtype=wanted.type.dtype)
                for x, wanted in zip(made, node.outputs, strict=True)
            ]

        return rewrite_nodes(graph, rule)


_SENT = (collectives.all_gather, collectives.rank_broadcast, collectives.barrier)
"""What ranks send each other as it is."""


def _computes_bfloat16(node: Node) -> bool:
    """Whether a node computes with two bytes, and with more than the elements of one place."""
    if node.op.passes_elements or node.op.is_elementwise or node.op in _SENT:
        return False
    return any(is_half(value.type.dtype) for value in (*node.inputs, *node.outputs))


def _widened(b: Builder, x: Value, widened: dict[Value, Value]) -> Value:
    if not is_half(x.type.dtype):
        return x
    if x not in widened:
        widened[x] = ew.cast(b, x, dtype=FLOAT32)
    return widened[x]
