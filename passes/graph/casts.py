"""Casts between bfloat16 and float32, as passes meet them."""

from __future__ import annotations

from ...ir import BFLOAT16, Graph, Node
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32
from .views import base_of


def is_widening(node: Node) -> bool:
    """Whether a node casts bfloat16 to float32, which loses nothing."""
    return node.op is ew.cast and (node.inputs[0].type.dtype, node.output.type.dtype) == (BFLOAT16, FLOAT32)


def is_narrowing(node: Node) -> bool:
    """Whether a node rounds float32 to bfloat16."""
    return node.op is ew.cast and (node.inputs[0].type.dtype, node.output.type.dtype) == (FLOAT32, BFLOAT16)


def rounds_input(node: Node) -> bool:
    """Whether a node casts an input of the graph, or a view of one, to bfloat16."""
    return node.op is ew.cast and node.output.type.dtype == BFLOAT16 and base_of(node.inputs[0]).node is None


def only_widens(region: Node) -> bool:
    """Whether a node is a region that casts bfloat16 to float32, and does nothing else."""
    if not region.op.is_region:
        return False
    body: Graph = region.attrs["body"]
    return len(body.nodes) == 1 and is_widening(body.nodes[0])
