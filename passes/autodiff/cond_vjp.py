"""The derivative of a branch: a branch on the same flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir import Builder, Graph, Node, Value, is_inexact
from ...ir.ops import elementwise as ew
from .pull_back import PullBack


def cond_vjp(
    b: Builder,
    node: Node,
    inputs: Sequence[Value],
    given: Mapping[int, Value],
    wanted: set[int],
    pull_back: PullBack,
) -> list[Value | None]:
    """The cotangents of the inputs `wanted` of a `cond`, from those that are `given` for some of its outputs.

        y = cond(flag, x) {f, g}    ->    dx = cond(flag, x, dy) {vjp of f, vjp of g}

    Each branch computes its forward again, so that nothing is kept of the branch that did not run.
    """
    numbers = sorted(given)
    wrt = sorted(i for i in wanted if is_inexact(node.inputs[i].type.dtype))
    branches = [_differentiated(node, body, numbers, wrt, pull_back) for body in node.bodies]
    found = [k for k in range(len(wrt)) if any(gradients[k] is not None for _, gradients in branches)]
    result: list[Value | None] = [None] * len(inputs)
    if not found:
        return result
    graphs: list[Graph] = []
    for inner, gradients in branches:
        zeros = (inner.full_like(node.inputs[i], 0) for i in wrt)
        outputs = [made if made is not None else zero for made, zero in zip(gradients, zeros)]
        graphs.append(inner.graph([outputs[k] for k in found]))
    made = b.emit_node(node.op, *inputs, *(given[o] for o in numbers), **dict(zip(node.op.bodies, graphs)))
    for k, value in zip(found, made.outputs):
        result[wrt[k]] = value
    return result


def _differentiated(
    node: Node, body: Graph, numbers: Sequence[int], wrt: Sequence[int], pull_back: PullBack
) -> tuple[Builder, list[Value | None]]:
    """A branch with its derivative behind it, and the cotangents of the inputs `wrt` of the node.

    Its inputs are those of the branch, and the cotangents of its outputs `numbers`.
    """
    b = Builder(node.origin.with_role("backward"))
    of = {v: b.input(v.type, v.name) for v in body.inputs}
    cotangents = [b.input(body.outputs[o].type) for o in numbers]
    for inner in body.nodes:
        copied = b.copy(inner, [of[v] for v in inner.inputs], inner.origin.with_role("recompute"))
        of.update(zip(inner.outputs, copied.outputs))
    forward = list(b.nodes)
    seeds: dict[Value, Value] = {}
    for o, cotangent in zip(numbers, cotangents):
        value = of[body.outputs[o]]
        seeds[value] = ew.add(b, seeds[value], cotangent) if value in seeds else cotangent
    return b, pull_back(b, forward, seeds, [of[body.inputs[i - 1]] for i in wrt])
