"""Casts between float32 and the floats of two bytes, bfloat16 and float16, as passes meet them."""

from __future__ import annotations

from ...ir import Graph, Node
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half
from .views import base_of


def is_widening(node: Node) -> bool:
    """Whether a node casts two bytes to float32, which loses nothing."""
    return node.op is ew.cast and is_half(node.inputs[0].type.dtype) and node.output.type.dtype == FLOAT32


def is_narrowing(node: Node) -> bool:
    """Whether a node rounds float32 to two bytes."""
    return node.op is ew.cast and node.inputs[0].type.dtype == FLOAT32 and is_half(node.output.type.dtype)


def rounds_input(node: Node) -> bool:
    """Whether a node casts an input of the graph, or a view of one, to two bytes."""
    return node.op is ew.cast and is_half(node.output.type.dtype) and base_of(node.inputs[0]).node is None


def only_widens(region: Node) -> bool:
    """Whether a node is a region that casts two bytes to float32, and does nothing else."""
    if not region.op.is_region:
        return False
    body: Graph = region.attrs["body"]
    return len(body.nodes) == 1 and is_widening(body.nodes[0])
