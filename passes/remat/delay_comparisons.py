"""Delayed comparisons: booleans for the backward are computed as late as possible."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Graph, Node, Value
from ..graph.comparisons import compares
from ..graph.rewrite import Pass
from ..graph.views import resolve_views


@dataclass(frozen=True)
class DelayComparisons(Pass):
    """`c = x > 0; y = f(x); g = select(c, ...)` -> `y = f(x); c = x > 0; g = select(c, ...)`.

    Known elsewhere as sinking. A region that makes nothing but booleans moves behind the last other reader of its
    operands, if that stands before the first reader of the booleans. A convolution's operand is kept for the gradient
    to its weight in any case. With the comparison behind that, the operand goes before the gradient to it is made.
    """

    def __call__(self, graph: Graph) -> Graph:
        views = resolve_views(graph.inputs, graph.nodes)
        place = {node: i for i, node in enumerate(graph.nodes)}
        readers: dict[Value, list[int]] = {}
        viewed: dict[Value, int] = {}
        for node in graph.nodes:
            if node.op.is_view:
                viewed.setdefault(views[node.inputs[0]].base, place[node])
            else:
                for base in dict.fromkeys(views[v].base for v in node.inputs):
                    readers.setdefault(base, []).append(place[node])
        kept = set(graph.outputs)
        behind: dict[int, list[Node]] = {}
        for node in graph.nodes:
            if not compares(node) or not kept.isdisjoint(node.outputs):
                continue
            read = min((i for v in node.outputs for i in readers.get(v, ())), default=-1)
            # A view of the booleans reads nothing, and stands behind them all the same.
            read = min([read, *(viewed[v] for v in node.outputs if v in viewed)])
            last = max((i for v in node.inputs for i in readers[views[v].base] if i < read), default=-1)
            if last > place[node]:
                behind.setdefault(last, []).append(node)
        moved = {node for nodes in behind.values() for node in nodes}
        order: list[Node] = []
        for i, node in enumerate(graph.nodes):
            order += [] if node in moved else [node]
            order += behind.get(i, ())
        return Graph(graph.inputs, order, graph.outputs, graph.aliases, graph.output_names)
