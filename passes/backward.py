"""Reverse-mode differentiation as a graph transformation, so that derivatives of derivatives work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir import Builder, Graph, Node, Origin, Value, is_float
from ..ir.ops import elementwise as ew


def add_backward(
    b: Builder, nodes: Sequence[Node], cotangents: Mapping[Value, Value], wrt: Sequence[Value]
) -> list[Value]:
    """Append to `b` the nodes that compute the cotangent of every value of `wrt`, and return those.

    `nodes` (in order) lead from `wrt` to the keys of `cotangents`, and all are in `b` already. A value that no
    cotangent reaches gets zeros. What a node inside `checkpoint` needs of its own region is computed again from the
    region's inputs (role `recompute`) instead of being kept.
    """
    active: set[Value] = set(wrt)
    for node in nodes:
        if not active.isdisjoint(node.inputs):
            active.update(v for v in node.outputs if is_float(v.type.dtype))
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
        if node.op.vjp is None or not any(v in gradient for v in node.outputs):
            continue
        if active.isdisjoint(node.inputs):
            continue
        inputs = [rematerialize(v, node.origin.checkpoint) for v in node.inputs]
        outputs = [rematerialize(v, node.origin.checkpoint) for v in node.outputs]
        b.origin = replace(node.origin, role="backward", checkpoint="")
        if len(outputs) == 1:
            result = node.op.vjp(b, gradient[node.outputs[0]], outputs[0], *inputs, **node.attrs)
        else:
            given = [gradient[v] if v in gradient else b.full_like(v, 0) for v in node.outputs]
            result = node.op.vjp(b, given, outputs, *inputs, **node.attrs)
        if result is None:
            continue
        for value, part in zip(node.inputs, [result] if isinstance(result, Value) else result, strict=True):
            if part is not None and value in active:
                accumulate(value, part)
    b.origin = before
    return [gradient[v] if v in gradient else b.full_like(v, 0) for v in wrt]


class _Rematerializer:
    """Copies of values inside checkpoint regions, made on demand and once for each region that asks."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.copies: dict[str, dict[Value, Value]] = {}

    def __call__(self, value: Value, asking: str) -> Value:
        """The value to read in the backward of a node in region `asking`: a copy, if both lie in one region."""
        region = _shared_region(value, asking)
        if not region:
            return value
        made = self.copies.setdefault(region, {})
        # An explicit stack: a region may be deeper than Python's recursion limit.
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
    if value.node is None or not asking:
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
        if not is_float(value.type.dtype):
            raise TypeError(f"cannot differentiate with respect to input {i} of type {value.type}: it is not a float")
    b = Builder()
    inputs = [b.input(v.type, v.name) for v in graph.inputs]
    outputs = b.inline(graph, inputs)
    nodes = list(b.nodes)
    b.origin = Origin(role="backward")
    seeds: dict[Value, Value] = {}
    for i, value in enumerate(outputs):
        cotangent = b.input(value.type, f"cotangent{i}")
        if is_float(value.type.dtype):
            seeds[value] = ew.add(b, seeds[value], cotangent) if value in seeds else cotangent
    gradients = add_backward(b, nodes, seeds, [inputs[i] for i in wrt])
    names = (*graph.output_names, *(f"cotangent of {graph.inputs[i].name or i}" for i in wrt))
    return b.graph((*outputs, *gradients), output_names=names)
