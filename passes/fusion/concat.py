"""Concat fusion: a region writes the parts of an array where they belong in the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import movement
from ..graph.rewrite import Pass
from ..kernels.loop_nest import is_concatenated, product_of, squeezed


@dataclass(frozen=True)
class FuseConcat(Pass):
    """`a, b = region(x...); y = concatenate(a, b)` -> `y = region(x...)`, whose body ends in the concatenation.

    Known elsewhere as concat elimination, and as horizontal fusion of the parts. Gradients of the gates of a recurrent
    cell are such parts: a product reads them as one array.

    It is done where the parts are full values of the region that nothing else reads, in runs of at least `least_run`
    elements. Shorter runs would be written a few elements at a time. Concatenated outputs are the region's last ones.
    """

    least_run: int = 16

    def __call__(self, graph: Graph) -> Graph:
        makers = self._regions(graph)
        if not makers:
            return graph
        concatenated: dict[Node, list[Node]] = {}
        for whole, region in makers.items():
            concatenated.setdefault(region, []).append(whole)
        b = Builder()
        mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
        for node in graph.nodes:
            if node in makers:
                continue
            b.origin = node.origin
            inputs = [mapping[v] for v in node.inputs]
            if node not in concatenated:
                mapping.update(zip(node.outputs, b.copy(node, inputs).outputs))
                continue
            wholes = concatenated[node]
            parts = {v for whole in wholes for v in whole.inputs}
            left = [v for v in node.outputs if v not in parts]
            attrs = {**node.attrs, "body": _concatenating(node, left, wholes)}
            made = b.emit_node(node.op, *inputs, **attrs).outputs
            mapping.update(zip((*left, *(whole.output for whole in wholes)), made))
        return b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names)

    def _regions(self, graph: Graph) -> dict[Node, Node]:
        """Concatenations, each with the region that computes all its parts."""
        users = graph.users()
        outputs = set(graph.outputs)
        found: dict[Node, Node] = {}
        for node in graph.nodes:
            if node.op is not movement.concatenate:
                continue
            makers = {v.node for v in node.inputs}
            region = makers.pop()
            if makers or region is None or not region.op.is_region or product_of(region) is not None:
                continue
            alone = all(users[v] == [node] and v not in outputs for v in node.inputs)
            once = len(set(node.inputs)) == len(node.inputs)  # a value is written to one place
            if alone and once and all(self._is_part(region, v, node.attrs["axis"]) for v in node.inputs):
                found[node] = region
        return found

    def _is_part(self, region: Node, value: Value, axis: int) -> bool:
        body: Graph = region.attrs["body"]
        inner, shape = body.outputs[value.index], value.type.shape
        if inner.node is None or is_concatenated(inner) or inner.node.op.is_reduction:
            return False
        return squeezed(shape) == region.attrs["domain"] and math.prod(shape[axis:]) >= self.least_run


def _concatenating(region: Node, left: list[Value], wholes: list[Node]) -> Graph:
    """The body with its outputs `left`, and the concatenations of the others."""
    body: Graph = region.attrs["body"]
    b = Builder()
    made = b.inline(body, [b.input(v.type) for v in body.inputs])
    concatenated = [b.copy(whole, [made[v.index] for v in whole.inputs]).output for whole in wholes]
    return b.graph([*(made[v.index] for v in left), *concatenated])
