"""Products of bfloat16 on a CPU that multiplies pairs: those whose factors were bfloat16 say so."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import BFLOAT16, Builder, Graph, Node, Value
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.views import resolve_views
from ..kernels.matmul_tiles import is_by_pairs
from ..target import DEFAULT_TARGET, Target
from .narrow_products import multiplies_widened

_LEAST_ROWS = 24
"""Rows of a product from which on it is worth copying both factors as pairs."""
_LEAST_TERMS = 16


@dataclass(frozen=True)
class PairProducts(Pass):
    """`dot(cast(x), cast(y))` -> `dot(cast(x), cast(y)) {factors=bf16}` for x and y of bfloat16, large enough.

    Known elsewhere as dot products of bfloat16. The factors stay float32 in memory, made where they are made without
    it. Kernels copy their upper halves, and multiply pairs.
    """

    target: Target = DEFAULT_TARGET

    of_cpus = True

    def __call__(self, graph: Graph) -> Graph:
        views = resolve_views(graph.inputs, graph.nodes)

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if not multiplies_widened(node):
                return None
            x, y = (views[v] for v in node.inputs[:2])
            m, k = x.shape[-2:]
            if m < _LEAST_ROWS or k < _LEAST_TERMS or not is_by_pairs(x, y, self.target):
                return None
            return list(b.emit_node(node.op, *inputs, **node.attrs, factors=BFLOAT16).outputs)

        return rewrite_nodes(graph, rule)
