"""Casts for each reader: what is stored has two bytes, and who needs float32 widens it as late as can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ...ir.ops.movement import broadcast
from ...ir.types import FLOAT32, is_half
from ..graph.casts import is_widening, rounds_input
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass, all_nodes


@dataclass(frozen=True)
class OwnCasts(Pass):
    """`w = cast(x); f(w), g(w)` -> `f(cast(x)), g(cast(x))`, for x of two bytes that is cast to float32.

    So is what is computed of such a cast with numbers and repeated values, as x less its mean.

    Known elsewhere as rematerialization of cheap instructions, or cast sinking. A fused loop then reads two bytes. A
    product, which reads float32, has it just before, from a unit of its own, and a convolution widens the rows that it
    copies. The rounding of an input of the graph, such as a parameter, is done for each reader too: it takes memory for
    as long as one product.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not any(is_half(value.type.dtype) for node in all_nodes(graph) for value in node.inputs):
            return graph
        light = {node for node in graph.nodes if _is_light(node)}
        b = Builder()
        mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
        for node in graph.nodes:
            if node in light and node.output not in graph.outputs:
                continue
            own = {v: _copied(b, v, light, mapping) for v in node.inputs if v.node in light}
            copied = b.copy(node, [own[v] if v in own else mapping[v] for v in node.inputs])
            mapping.update(zip(node.outputs, copied.outputs))
        return without_dead_code(b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names))


def _is_light(node: Node) -> bool:
    """Whether it costs less to compute a node of two bytes than to store its float32: a cast, or what combines one with
    numbers, and with what is repeated.
    """
    if is_widening(node):
        return True
    if not node.op.is_elementwise or node.op.is_transcendental or node.op.is_check or node.output.type.dtype != FLOAT32:
        return False
    whole = [v for v in node.inputs if v.node is None or not (v.node.op.is_generated or v.node.op is broadcast)]
    return len(whole) == 1 and whole[0].node is not None and _is_light(whole[0].node)


def _copied(b: Builder, value: Value, light: Collection[Node], mapping: Mapping[Value, Value]) -> Value:
    """A light value, computed for one reader."""
    node = value.node
    assert node is not None
    if not is_widening(node):
        return b.copy(
            node, [_copied(b, v, light, mapping) if v.node in light else mapping[v] for v in node.inputs]
        ).output
    (source,) = node.inputs
    rounding = source.node
    if rounding is None or not rounds_input(rounding):
        return b.copy(node, [mapping[source]]).output
    return b.copy(node, [b.copy(rounding, [mapping[rounding.inputs[0]]]).output]).output
