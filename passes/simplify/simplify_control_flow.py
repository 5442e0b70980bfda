"""Simpler `while_loop` and `cond`: what is known before the program runs is decided."""

from __future__ import annotations

from collections.abc import Callable

from ...ir import Builder, Graph, Node, Value
from .simplify_scan import Emit, fill_value


def simpler_control_flow(
    b: Builder, node: Node, inputs: list[Value], simplify: Callable[[Graph], Graph], emit: Emit
) -> list[Value]:
    """The outputs of a loop, or of branches, with simpler bodies; `emit` appends the node that is left.

    a flag that is known -> the branch       a loop that does not begin -> the carries
    """
    known = fill_value(inputs[node.attrs["consts"] if node.op.is_while else 0])
    if node.op.is_cond and known is not None:
        return list(b.inline(node.attrs["true" if known else "false"], inputs[1:]))
    if node.op.is_while and known is not None and not known:
        return inputs[node.attrs["consts"] :]
    bodies = dict(zip(node.op.bodies, map(simplify, node.bodies)))
    changed = Builder(node.origin).emit_node(node.op, *inputs, **{**node.attrs, **bodies})
    return emit(b, changed, inputs)
