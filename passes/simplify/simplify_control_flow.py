"""Simpler `while_loop` and `cond`: what is known before the program runs is decided."""

from __future__ import annotations

from collections.abc import Callable

from ...ir import Builder, Graph, Node, Value
from .known_checks import Known, without_known_checks
from .simplify_scan import Emit, fill_value


def simpler_control_flow(
    b: Builder, node: Node, inputs: list[Value], simplify: Callable[[Graph], Graph], emit: Emit, known: Known
) -> list[Value]:
    """The outputs of a loop, or of branches, with simpler bodies; `emit` appends the node that is left, `known` gives
    what is computed already.

    a flag that is known -> the branch       a loop that does not begin -> the carries       see also `known_checks`
    """
    flag = fill_value(inputs[node.attrs["consts"] if node.op.is_while else 0])
    if node.op.is_cond and flag is not None:
        return list(b.inline(node.attrs["true" if flag else "false"], inputs[1:]))
    if node.op.is_while and flag is not None and not flag:
        return inputs[node.attrs["consts"] :]
    simpler = without_known_checks(node, inputs, known)
    bodies = dict(zip(node.op.bodies, map(simplify, simpler)))
    changed = Builder(node.origin).emit_node(node.op, *inputs, **{**node.attrs, **bodies})
    return emit(b, changed, inputs)
