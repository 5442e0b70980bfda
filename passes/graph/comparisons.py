"""Units that make nothing but booleans of numbers."""

from __future__ import annotations

from ...ir import Node


def compares(node: Node) -> bool:
    """Whether a unit is a region that makes nothing but booleans, of larger elements."""
    if not node.op.is_region or any(v.type.dtype.kind != "b" for v in node.outputs):
        return False
    return any(v.type.dtype.itemsize > 1 for v in node.inputs)
