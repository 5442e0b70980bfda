"""Units that compare: their outputs are booleans."""

from __future__ import annotations

from ...ir import Node


def compares(node: Node) -> bool:
    """Whether a unit is a region whose outputs are all booleans, and some input has larger elements."""
    if not node.op.is_region or any(v.type.dtype.kind != "b" for v in node.outputs):
        return False
    return any(v.type.dtype.itemsize > 1 for v in node.inputs)
