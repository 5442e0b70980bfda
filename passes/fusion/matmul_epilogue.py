"""Epilogue fusion of a product: the region that alone reads it runs on each of its tiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value, is_float
from ...ir.ops import contraction
from ..graph.rewrite import Pass
from ..graph.views import resolve_views
from ..kernels.loop_nest import squeezed, tile_rows
from ..kernels.matmul_tiles import is_long

_LEAST_BYTES = 1 << 13
"""A smaller product takes little memory, and is faster by itself than tile by tile."""


@dataclass(frozen=True)
class FuseMatmulEpilogue(Pass):
    """`p = dot(x, y); q = region(p, rest...)` -> `q = region(x, rest..., y)`, with the dot as first node of its body.

    Known elsewhere as epilogue fusion. The optimizer uses a tile of a weight's gradient while it is in the cache, and
    the whole gradient never lies in memory.

    It is done where the region updates its inputs element by element, and nothing else reads the product. Products with
    long sums are left alone, since they need scratch. The rows of a tile follow from the product's shape.
    """

    of_cpus = True

    def __call__(self, graph: Graph) -> Graph:
        return with_products(graph, _pairs(graph))


def _pairs(graph: Graph) -> dict[Node, Node]:
    """Regions that write over an input of the graph, each with the dot that becomes part of it."""
    updates = {graph.outputs[i].node for i in graph.aliases}
    views = resolve_views(graph.inputs, graph.nodes)
    outputs = set(graph.outputs)
    reads = Counter(views[v].base for node in graph.nodes if not node.op.is_view for v in node.inputs)
    pairs: dict[Node, Node] = {}
    for node in graph.nodes:
        if not node.op.is_region or node not in updates or not _elementwise(node):
            continue
        for value in node.inputs:
            dot = value.node
            if (
                dot is not None
                and dot.op is contraction.dot
                and value not in outputs
                and reads[value] == 1
                and value.type.ndim == 2
                and value.type.nbytes >= _LEAST_BYTES
                and is_float(value.type.dtype)
                and squeezed(value.type.shape) == node.attrs["domain"]
                and tile_rows(value.type.shape[0], value.type.shape[1])
                and not is_long(value.type.shape[0], value.type.shape[1], _terms(dot))
            ):
                pairs[node] = dot
                break
    return pairs


def _terms(dot: Node) -> int:
    """Terms of the sums of a product."""
    summed: tuple[int, ...] = dot.attrs["contract"][0]
    return math.prod(dot.inputs[0].type.shape[axis] for axis in summed)


def _elementwise(region: Node) -> bool:
    """Whether all values of a region are full ones or scalars, none of which depends on its place."""
    body: Graph = region.attrs["body"]
    domain: tuple[int, ...] = region.attrs["domain"]
    if region.attrs["rows"] >= 0:
        return False
    for node in body.nodes:
        if node.op.fusion != "elementwise" or node.op.depends_on_place:
            return False
        if squeezed(node.output.type.shape) not in (domain, ()):
            return False
    return True


def with_products(graph: Graph, pairs: Mapping[Node, Node]) -> Graph:
    """The graph whose regions begin with the products that `pairs` has for them, which nothing else reads."""
    if not pairs:
        return graph
    inside = set(pairs.values())
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    for node in graph.nodes:
        if node in inside:
            continue
        if node not in pairs:
            mapping.update(zip(node.outputs, b.copy(node, [mapping[v] for v in node.inputs]).outputs))
            continue
        dot = pairs[node]
        x, y = dot.inputs
        inputs = [mapping[v] for v in (x, *(v for v in node.inputs if v is not dot.output), y)]
        attrs = {**node.attrs, "body": _joined(node, dot)}
        b.origin = node.origin
        mapping.update(zip(node.outputs, b.emit_node(node.op, *inputs, **attrs).outputs))
    return b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names)


def _joined(region: Node, dot: Node) -> Graph:
    """The body of a region (x, rest..., y) that makes the product of x and y which this region reads."""
    b = Builder()
    x = b.input(dot.inputs[0].type)
    rest = [None if v is dot.output else b.input(v.type) for v in region.inputs]
    product = b.copy(dot, [x, b.input(dot.inputs[1].type)]).output
    return b.graph(b.inline(region.attrs["body"], [v or product for v in rest]))
