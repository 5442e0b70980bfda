"""Forward-mode differentiation: the tangents of what nodes compute, from tangents of what they read."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Builder, Graph, Node, Value, is_inexact
from ...ir.ops import elementwise as ew
from ..graph.scan import Scan, emit_scan
from .backward import cotangents_of_inputs, known_derivative, pull_back

Tangents = dict[Value, Value]
"""The tangent of each value that has one which is not known to be zero."""


def push_forward(b: Builder, nodes: Sequence[Node], tangents: Tangents) -> None:
    """Append to `b` the nodes that compute the tangents of what `nodes` make, and enter these in `tangents`.

    All `nodes` are in `b` already. Of an op it is the transpose of its vjp, which is linear in the cotangent: the
    pullback of its pullback (Townsend 2017, "A new trick for calculating Jacobian vector products"). What the first of
    the two computes of the cotangent is dead code. A loop carries tangents beside its carries, so nothing is stacked.
    """
    before = b.origin
    for node in nodes:
        if tangents.keys().isdisjoint(node.inputs):
            continue
        b.origin = node.origin.with_role("backward")
        if node.op.is_scan:
            _of_scan(b, node, tangents)
        elif node.op.is_loop:
            _of_while_loop(b, node, tangents)
        elif node.op.is_cond:
            _of_branches(b, node, tangents)
        elif node.op.vjp is not None:
            _of_op(b, node, tangents)
    b.origin = before


def _of_op(b: Builder, node: Node, tangents: Tangents) -> None:
    floats = [v for v in node.outputs if is_inexact(v.type.dtype)]
    begin = len(b.nodes)
    # Their values are read by nothing that is kept.
    cotangents = {v: b.emit(ew.copy, b.full_like(v, 0)) for v in floats}
    if not cotangents:
        return
    parts = cotangents_of_inputs(b, node, list(node.inputs), list(node.outputs), cotangents)
    along: dict[Value, Value] = {}
    for value, part in zip(node.inputs, parts):
        if part is not None and value in tangents:
            part = known_derivative(node, part)
            along[part] = ew.add(b, along[part], tangents[value]) if part in along else tangents[value]
    found = pull_back(b, list(b.nodes[begin:]), along, list(cotangents.values()))
    for made in b.nodes[begin:]:
        made.origin = b.origin  # a tangent belongs to the checkpoint region of its value
    tangents.update((v, tangent) for v, tangent in zip(floats, found) if tangent is not None)


class _Inside:
    """A graph with the tangents of its outputs behind it; `flags` say which inputs have one."""

    def __init__(self, outer: Builder, graph: Graph, flags: Sequence[bool]) -> None:
        self.b = Builder(outer.origin)
        self.inputs = [self.b.input(v.type, v.name) for v in graph.inputs]
        self.outputs = self.b.inline(graph, self.inputs)
        self.tangents = {x: Value(x.type) for x, has_one in zip(self.inputs, flags) if has_one}
        self.given = dict(self.tangents)
        push_forward(self.b, list(self.b.nodes), self.tangents)

    def has(self, o: int) -> bool:
        """Whether an output has a tangent."""
        return self.outputs[o] in self.tangents

    def tangent(self, o: int) -> Value:
        """The tangent of an output, zeros where it has none."""
        value = self.outputs[o]
        return self.tangents[value] if value in self.tangents else self.b.full_like(value, 0)

    def both(self, places: Sequence[int]) -> list[Value]:
        """The inputs at these places, then their tangents."""
        inputs = [self.inputs[i] for i in places]
        return [*inputs, *(self.given[x] for x in inputs if x in self.given)]


def _settled(b: Builder, graph: Graph, flags: list[bool], carries: Sequence[tuple[int, int]]) -> _Inside:
    """The body of a loop with tangents for all carries, (input, output), that get one in some iteration."""
    while True:
        inside = _Inside(b, graph, flags)
        more = [i for i, o in carries if inside.has(o) and not flags[i]]
        if not more:
            return inside
        for i in more:
            flags[i] = True


def _with_tangents(b: Builder, values: Sequence[Value], flags: Sequence[bool], tangents: Tangents) -> list[Value]:
    """Values, then the tangents of those that a flag says."""
    chosen = [value for value, has_one in zip(values, flags) if has_one]
    return [*values, *(tangents[v] if v in tangents else b.full_like(v, 0) for v in chosen)]


def _of_scan(b: Builder, node: Node, tangents: Tangents) -> None:
    loop = Scan(node)
    flags = [value in tangents for value in node.inputs]
    first, count, first_x = loop.first_carry, loop.carry_count, loop.first_x
    inside = _settled(b, loop.body, flags, [(first + k, k) for k in range(count)])
    carried = [k for k in range(count) if flags[first + k]]
    stacked = [o for o in range(count, len(node.outputs)) if inside.has(o)]
    places = range(len(node.inputs))
    inside.b.inputs = [
        v for part in (places[:first], places[first:first_x], places[first_x:]) for v in inside.both(part)
    ]
    results = [*inside.outputs[:count], *map(inside.tangent, carried), *map(inside.tangent, stacked)]
    consts, starts, xs = (
        _with_tangents(b, *part, tangents) for part in zip(loop.split(node.inputs), loop.split(flags), strict=True)
    )
    made = emit_scan(b, inside.b.graph(results), consts, starts, xs, loop.length, loop.reverse)
    tangents.update((node.outputs[o], v) for o, v in zip((*carried, *stacked), made.outputs[count:], strict=True))


def _of_while_loop(b: Builder, node: Node, tangents: Tangents) -> None:
    consts: int = node.attrs["consts"]
    (body,) = node.bodies
    flags = [value in tangents for value in node.inputs]
    count = len(node.outputs)
    inside = _settled(b, body, flags, [(consts + k, k) for k in range(count)])
    carried = [k for k in range(count) if flags[consts + k]]
    places = range(len(node.inputs))
    inside.b.inputs = [v for part in (places[:consts], places[consts:]) for v in inside.both(part)]
    graph = inside.b.graph([*inside.outputs, *map(inside.tangent, carried)])
    around = _with_tangents(b, node.inputs[:consts], flags[:consts], tangents)
    starts = _with_tangents(b, node.inputs[consts:], flags[consts:], tangents)
    made = b.emit_node(node.op, *around, *starts, body=graph, consts=len(around))
    tangents.update((node.outputs[o], v) for o, v in zip(carried, made.outputs[count:], strict=True))


def _of_branches(b: Builder, node: Node, tangents: Tangents) -> None:
    flag, *operands = node.inputs
    flags = [value in tangents for value in operands]
    branches = [_Inside(b, body, flags) for body in node.bodies]
    found = [o for o in range(len(node.outputs)) if any(branch.has(o) for branch in branches)]
    graphs: list[Graph] = []
    for branch in branches:
        branch.b.inputs = branch.both(range(len(operands)))
        graphs.append(branch.b.graph([branch.tangent(o) for o in found]))
    given = _with_tangents(b, operands, flags, tangents)
    made = b.emit_node(node.op, flag, *given, **dict(zip(node.op.bodies, graphs, strict=True)))
    tangents.update((node.outputs[o], v) for o, v in zip(found, made.outputs, strict=True))
