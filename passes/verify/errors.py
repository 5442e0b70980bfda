"""The error of the plan verifier. It names the unit or value, and the user's line that it comes from."""

from __future__ import annotations

from ...ir import Graph, Node, Value


class PlanVerificationError(AssertionError):
    """A plan would compute wrong values or use memory that it does not own; the message says where."""


def describe(what: Node | Value) -> str:
    """A unit or a value, the part of the model that it belongs to, and the user's line."""
    node = what if isinstance(what, Node) else what.node
    if node is None:
        return repr(what)
    if isinstance(what, Value) and node.op.body == "once":
        body: Graph = node.attrs["body"]
        node = body.outputs[what.index].node or node
    scope = f" of {node.origin.scope}" if node.origin.scope else ""
    source = f" ({node.origin.source})" if node.origin.source else ""
    return f"{what!r}{scope}{source}"
