"""Checks that were made before a loop or a branch are not made in it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir import Builder, Graph, Node, Value
from ..graph.rewrite import with_bodies

Known = Callable[[Node, Sequence[Value]], "Sequence[Value] | None"]
"""What a node makes of values around a body, where that is computed there already."""


def without_known_checks(node: Node, inputs: Sequence[Value], known: Known) -> list[Graph]:
    """The bodies of a node, without the checks of values that are the same around it, where they were checked.

        y = check(x); loop(x) {check(x)}    ->    y = check(x); loop(x) {x}

    A step whose optimizer evaluates the loss again checks labels and indices once. A loop that cannot trap may write
    over what the step keeps.
    """
    first = 1 if node.op.is_cond else 0
    count = len(inputs) - first if node.op.is_cond else node.attrs["consts"]
    return [_without(body, dict(zip(body.inputs[:count], inputs[first:])), known) for body in node.bodies]


def _without(body: Graph, around: Mapping[Value, Value], known: Known) -> Graph:
    """`around` has what stands around the body for values of it."""
    b = Builder()
    new = {v: b.input(v.type, v.name) for v in body.inputs}
    around = dict(around)
    for node in body.nodes:
        b.origin = node.origin
        outer = [around[v] for v in node.inputs if v in around]
        found = known(node, outer) if len(outer) == len(node.inputs) else None
        inputs = [new[v] for v in node.inputs]
        if found is not None:
            around.update(zip(node.outputs, found))
        if found is not None and node.op.is_check:
            new[node.output] = inputs[0]
            continue
        if node.op.is_decided_at_run_time:
            # Of a value that is only known inside, the value itself stands for it: nothing was computed of that.
            stands = [around.get(v, v) for v in node.inputs]
            made = with_bodies(b, node, inputs, without_known_checks(node, stands, known))
        else:
            made = b.copy(node, inputs)
        new.update(zip(node.outputs, made.outputs))
    return Graph(b.inputs, b.nodes, [new[v] for v in body.outputs], body.aliases, body.output_names)
