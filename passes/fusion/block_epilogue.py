"""Epilogue fusion of a product on a GPU: the region that alone reads it runs on each tile, before it is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir.ops import contraction
from ...ir.types import is_float
from ..graph.rewrite import Pass
from ..graph.views import resolve_views
from ..kernels.loop_nest import squeezed
from ..target import DEFAULT_TARGET, Target
from .matmul_epilogue import with_products


@dataclass(frozen=True)
class FuseBlockEpilogue(Pass):
    """`p = dot(x, y); q = region(p, rest...)` -> `q = region(x, rest..., y)`, with the dot as first node of its body.

    Known elsewhere as epilogue fusion. A launch is saved, and the product never lies in memory: bias, activation,
    residual or the update of a weight are computed of the sums that a block holds.

    It is done where the region computes element by element, nothing else reads the product, and our own kernels
    multiply: a library would have to know the region. A factor that the region is written over is left alone: blocks
    still read it, so that the result would have to be copied back.
    """

    of_gpus = True
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        return graph if "cublaslt" in self.target.libraries else with_products(graph, _pairs(graph))


def _pairs(graph: Graph) -> dict[Node, Node]:
    """Regions, each with the dot that becomes part of it."""
    views = resolve_views(graph.inputs, graph.nodes)
    outputs = set(graph.outputs)
    reads = Counter(views[v].base for node in graph.nodes if not node.op.is_view for v in node.inputs)
    readers = Counter(v for node in graph.nodes for v in node.inputs)
    written = {(graph.outputs[i].node, graph.inputs[j]) for i, j in graph.aliases.items()}
    pairs: dict[Node, Node] = {}
    for node in graph.nodes:
        if not node.op.is_region or not _elementwise(node):
            continue
        for value in node.inputs:
            dot = value.node
            if (
                dot is not None
                and dot.op is contraction.dot
                and reads[value] == readers[value] == 1
                and value not in outputs
                and is_float(value.type.dtype)
                and squeezed(value.type.shape) == node.attrs["domain"]
                and value.type.size > 1
                and not any((node, views[factor].base) in written for factor in dot.inputs)
            ):
                pairs[node] = dot
                break
    return pairs


def _elementwise(region: Node) -> bool:
    """Whether all values of a region are full ones or scalars, none of which depends on its place."""
    body: Graph = region.attrs["body"]
    domain: tuple[int, ...] = region.attrs["domain"]
    if region.attrs["rows"] >= 0 or any(squeezed(v.type.shape) not in (domain, ()) for v in body.inputs):
        return False
    return all(
        node.op.fusion in ("elementwise", "reshaping")
        and not node.op.depends_on_place
        and squeezed(node.output.type.shape) in (domain, ())
        for node in body.nodes
    )
