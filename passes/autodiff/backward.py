"""Reverse-mode differentiation as a graph transformation, so that derivatives of derivatives work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...ir import OPS, Builder, Graph, Node, NoDerivative, Origin, Recompute, Value, is_inexact
from ...ir.ops import elementwise as ew
from ...ir.ops import movement
from ..simplify.simplify_scan import last_carry
from .cond_vjp import cond_vjp
from .scan_vjp import scan_vjp


def add_backward(
    b: Builder, nodes: Sequence[Node], cotangents: Mapping[Value, Value], wrt: Sequence[Value]
) -> list[Value]:
    """Append to `b` the nodes that compute the cotangent of every value of `wrt`, and return those.

    Known elsewhere as backpropagation, or reverse-mode automatic differentiation.

    `nodes` (in order) lead from `wrt` to the keys of `cotangents`, and all are in `b` already. A value that no
    cotangent reaches gets zeros. A node inside `checkpoint` reads no residuals of its own checkpoint region: these
    values are recomputed (role `recompute`) from the inputs of the region, and from values that are saved in it.

    Raises `ValueError` where a `while_loop` stands on the way.
    """
    results = pull_back(b, nodes, cotangents, wrt)
    return [b.full_like(value, 0) if result is None else result for value, result in zip(wrt, results)]


def pull_back(
    b: Builder, nodes: Sequence[Node], cotangents: Mapping[Value, Value], wrt: Sequence[Value]
) -> list[Value | None]:
    """As `add_backward`, with `None` for a value that no cotangent reaches."""
    active: set[Value] = set(wrt)
    for node in nodes:
        if _passes_cotangents(node) and not active.isdisjoint(node.inputs):
            active.update(v for v in node.outputs if is_inexact(v.type.dtype))
    gradient: dict[Value, Value] = {}

    def accumulate(value: Value, part: Value) -> None:
        before = gradient.get(value)
        gradient[value] = part if before is None else ew.add(b, before, part)

    for value, cotangent in cotangents.items():
        if value in active:
            accumulate(value, cotangent)
    rematerialize = _Rematerializer(b)
    before = b.origin
    for node in reversed(nodes):
        if not any(v in gradient for v in node.outputs) or active.isdisjoint(node.inputs):
            continue
        if node.op.is_while:
            raise _no_reverse(node)
        if not _passes_cotangents(node):
            continue
        b.origin = replace(node.origin, role="backward", checkpoint="")
        final = last_carry(node.inputs[0], node.attrs) if node.op is movement.slice_ else None
        if final is not None:
            # The cotangent of the last of the stacked carries is one of the final carry. As a cotangent of the stack it
            # would be zeros for all iterations but one, and the loop would add them.
            accumulate(final, _cotangent_of_last(b, node, gradient[node.output], final))
            continue
        inputs = [rematerialize(v, node.origin.checkpoint) for v in node.inputs]
        if node.op.bodies:
            given = {i: gradient[v] for i, v in enumerate(node.outputs) if v in gradient}
            wanted = {i for i, v in enumerate(node.inputs) if v in active}
            vjp_of_bodies = cond_vjp if node.op.is_cond else scan_vjp
            result = vjp_of_bodies(b, node, inputs, given, wanted, pull_back)
        else:
            outputs = [rematerialize(v, node.origin.checkpoint) for v in node.outputs]
            result = cotangents_of_inputs(b, node, inputs, outputs, gradient)
        for value, part in zip(node.inputs, result):
            if part is not None and value in active:
                accumulate(value, known_derivative(node, part))
    b.origin = before
    return [gradient.get(v) for v in wrt]


def _passes_cotangents(node: Node) -> bool:
    """Whether the inputs of a node may have cotangents of their own from it."""
    return node.op.vjp is not None or bool(node.op.bodies)


def _no_reverse(loop: Node) -> ValueError:
    """The error for a loop whose iterations nothing counts before it runs."""
    where = f", at {loop.origin.source}" if loop.origin.source else ""
    return ValueError(
        "a while_loop has no derivative in reverse mode: its backward would need the values of all iterations, "
        "whose number is known only as it runs; write gl.scan or gl.fori_loop with as many iterations as it may take, "
        "whose function keeps the value once it is done, or gl.stop_gradient(x) of what the loop reads" + where
    )


def known_derivative(node: Node, part: Value | NoDerivative) -> Value:
    """The cotangent of an input of a node. Raises `NotImplementedError` where the op says that none is known."""
    if not isinstance(part, NoDerivative):
        return part
    where = f", at {node.origin.source}" if node.origin.source else ""
    raise NotImplementedError(
        f"{part.reason}; write gl.stop_gradient(x) of what it is taken in, or gl.custom_vjp with a derivative of your "
        f"own{where}"
    )


def cotangents_of_inputs(
    b: Builder, node: Node, inputs: list[Value], outputs: list[Value], gradient: Mapping[Value, Value]
) -> Sequence[Value | NoDerivative | None]:
    """The cotangents of the inputs of a node by the vjp of its op, from those of some of its outputs."""
    assert node.op.vjp is not None
    if len(outputs) == 1:
        result = node.op.vjp(b, gradient[node.outputs[0]], outputs[0], *inputs, **node.attrs)
    else:
        given = [gradient[v] if v in gradient else b.full_like(v, 0) for v in node.outputs]
        result = node.op.vjp(b, given, outputs, *inputs, **node.attrs)
    parts = [None] * len(inputs) if result is None else [result] if isinstance(result, Value) else result
    assert len(parts) == len(inputs), node
    return parts


def _cotangent_of_last(b: Builder, node: Node, cotangent: Value, final: Value) -> Value:
    as_step = b.emit(OPS["reshape"], final, shape=(1, *final.type.shape))
    assert node.op.vjp is not None
    attrs = {key: (first, *node.attrs[key][1:]) for key, first in (("start", 0), ("stop", 1), ("step", 1))}
    part = node.op.vjp(b, cotangent, node.output, as_step, **attrs)
    assert isinstance(part, Value)
    return b.emit(OPS["reshape"], part, shape=final.type.shape)


class _Rematerializer:
    """Recomputed values of checkpoint regions, made on demand, once for each region that reads them."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.copies: dict[str, dict[Value, Value]] = {}

    def __call__(self, value: Value, asking: str) -> Value:
        """The value for the backward of a node in region `asking`: recomputed, if both lie in one region."""
        region = _shared_region(value, asking)
        if not region:
            return value
        made = self.copies.setdefault(region, {})
        # An explicit stack: chains may be longer than Python's recursion limit.
        stack = [value]
        while stack:
            top = stack[-1]
            node = top.node
            if top in made or node is None:
                stack.pop()
                continue
            missing = [v for v in node.inputs if _shared_region(v, region) == region and v not in made]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            inputs = [made[v] if v in made else self(v, region) for v in node.inputs]
            copied = self.b.copy(node, inputs, replace(node.origin, role="recompute", checkpoint=""))
            made.update(zip(node.outputs, copied.outputs))
        return made[value]


def _shared_region(value: Value, asking: str) -> str:
    if value.node is None or not asking or value.node.op.recompute is Recompute.NEVER:
        return ""
    common: list[str] = []
    for a, c in zip(value.node.origin.checkpoint.split("/"), asking.split("/")):
        if a != c:
            break
        common.append(a)
    return "/".join(common)


def vjp_graph(graph: Graph, wrt: Sequence[int]) -> Graph:
    """`(x...) -> (y...)` becomes `(x..., cotangents of y...) -> (y..., cotangents of x[wrt]...)`.

    There is a cotangent input for every output, of its type. Raises `TypeError` where an input of `wrt` is no float.
    """
    for i in wrt:
        value = graph.inputs[i]
        if not is_inexact(value.type.dtype):
            raise TypeError(f"cannot differentiate with respect to input {i} of type {value.type}: it is not a float")
    b = Builder()
    inputs = [b.input(v.type, v.name) for v in graph.inputs]
    outputs = b.inline(graph, inputs)
    nodes = list(b.nodes)
    b.origin = Origin(role="backward")
    seeds: dict[Value, Value] = {}
    for i, value in enumerate(outputs):
        cotangent = b.input(value.type, f"cotangent{i}")
        if is_inexact(value.type.dtype):
            seeds[value] = ew.add(b, seeds[value], cotangent) if value in seeds else cotangent
    gradients = add_backward(b, nodes, seeds, [inputs[i] for i in wrt])
    names = (*graph.output_names, *(f"cotangent of {graph.inputs[i].name or i}" for i in wrt))
    return b.graph((*outputs, *gradients), output_names=names)
