"""Early accumulation: each term of a long sum is added as soon as it can be computed."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir.ops import elementwise as ew
from ..graph.rewrite import Pass

# Additions by themselves that make a sum a long one; the last one goes with what reads the sum.
_LONG = 3


@dataclass(frozen=True)
class AccumulateEarly(Pass):
    """`a; b; s = dot(a) ; s += dot(b)` -> `a; s = dot(a); b; s += dot(b)`: the products of long sums, and their
    additions, move to right behind what they read.

    Known elsewhere as eager gradient accumulation. `Schedule` mostly delays them: the first term makes room for the
    sum, while all residuals are still there. Within a budget few residuals are there, and the operands of delayed
    terms are the most.
    """

    def __call__(self, graph: Graph) -> Graph:
        moved = _moved(graph)
        slots: dict[Node, int] = {}
        for place, node in enumerate(graph.nodes):
            sources = (slots[v.node] for v in node.inputs if v.node is not None)
            slots[node] = max(sources, default=0) if node in moved else place
        nodes = sorted(graph.nodes, key=lambda node: (slots[node], node in moved))
        return Graph(graph.inputs, nodes, graph.outputs, graph.aliases, graph.output_names)

    def applies(self, graph: Graph) -> bool:
        """Whether it moves anything, in the bodies of loops too."""
        bodies = (body for node in graph.nodes for body in node.bodies)
        return bool(_moved(graph)) or any(map(self.applies, bodies))


def _moved(graph: Graph) -> set[Node]:
    """The additions of long sums, which stand by themselves in a fused graph, and the products that only they read."""
    readers = graph.users()
    sums: dict[Node, list[Node]] = {}  # additions of the sum that an addition belongs to
    for node in graph.nodes:
        body = node.attrs.get("body")
        if node.op.is_region and isinstance(body, Graph) and [n.op for n in body.nodes] == [ew.add]:
            terms = (v.node for v in node.inputs if len(readers[v]) == 1)
            sums[node] = next((sums[term] for term in terms if term is not None and term in sums), list[Node]())
            sums[node].append(node)
    found = {node for node, additions in sums.items() if len(additions) >= _LONG}
    terms = [v.node for node in found for v in node.inputs if len(readers[v]) == 1]
    found.update(term for term in terms if term is not None and term.op.family == "contraction")
    return found
