"""Weight prepacking: weights that a loop multiplies by are laid out once, before it, as its products read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import contraction
from ...ir.ops import elementwise as ew
from ..graph.dead_code import live_nodes
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.scan import Scan, body_of
from ..graph.views import View, own, through
from ..kernels.cost import work
from ..target import DEFAULT_TARGET, Target

_MOST_ROWS = 64
"""Rows of a product up to which packing its right operand takes a good part of its time."""
_LEAST_ITERATIONS = 4
"""For each cache of bytes of the weight: what comes from memory in every iteration gains less."""
_WORTH = 0.02
"""Prepacking must save this part of the time of an iteration, at least: copies take memory."""


@dataclass(frozen=True)
class PrepackWeights(Pass):
    """scan {dot(x, transpose(w))}, w invariant, x of few rows -> w' = copy(transpose(w)); scan {dot(x, w')}

    A product packs its right operand: it copies the weight, row by row, into the panels that it multiplies by. Where
    the elements of a row are not neighbours, that takes as long as 12 more rows of x: little beside many rows, much for
    one iteration of a recurrent network. A copy before the loop is packed by reading it in order.

    Known elsewhere as weight prepacking.
    """

    of_cpus = True

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        if self.target.matmul != "registers" or not any(node.op.is_scan for node in graph.nodes):
            return graph
        return rewrite_nodes(graph, self._rule)

    def _rule(self, b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if not node.op.is_scan:
            return None
        scan = Scan(node, inputs)
        body = self(scan.body)  # inner loops first: their copies may leave this one too
        if scan.length >= _LEAST_ITERATIONS:
            body = _with_copies(body, scan.split(body.inputs)[0], scan.length, self.target)
        return _copied_before(b, scan, body)


def _with_copies(body: Graph, consts: Sequence[Value], length: int, target: Target) -> Graph:
    """The body of a loop of so many steps with copies of what its products read of consts."""
    given = set(consts)
    views = {v: own(v) for v in body.inputs}
    for node in body.nodes:
        source = views.get(node.inputs[0]) if node.op.is_view else None
        if source is not None and source.base in given and (view := through(node, source)) is not None:
            views[node.output] = view

    packed = [
        n for n in body.nodes if n.op is contraction.dot and _gains(n, views.get(n.inputs[1]), given, length, target)
    ]
    saved = sum(2 * target.packed_rows * n.inputs[1].type.size / target.matmul_flops_per_ns for n in packed)
    if saved < _WORTH * work(body.nodes, target):
        return body

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node not in packed:
            return None
        (cx, cy), batch = node.attrs["contract"], node.attrs["batch"]
        perm = (*cy, *(a for a in range(inputs[1].type.ndim) if a not in cy))
        rows = b.emit(OPS["copy"], b.emit(OPS["transpose"], inputs[1], perm=perm))
        return [b.emit(node.op, inputs[0], rows, contract=(cx, tuple(range(len(cy)))), batch=batch)]

    return rewrite_nodes(body, rule)


def _gains(dot: Node, y: View | None, given: set[Value], length: int, target: Target) -> bool:
    """Whether `dot` has few rows, and the elements of a row of its right operand, a const, are not neighbours; and the
    loop has enough steps.
    """
    if y is None or y.base not in given or dot.attrs["batch"][1]:
        return False
    if length < _LEAST_ITERATIONS * -(-dot.inputs[1].type.nbytes // target.l3_bytes):
        return False
    (cx, cy), x = dot.attrs["contract"], dot.inputs[0].type
    free = [a for a in range(len(y.shape)) if a not in cy and y.shape[a] > 1]
    rows = math.prod(n for a, n in enumerate(x.shape) if a not in cx)
    return bool(free) and y.strides[free[-1]] != 1 and 1 < rows <= _MOST_ROWS


def _copied_before(b: Builder, scan: Scan, body: Graph) -> list[Value]:
    """The loop with `body`, from which copies of views of consts have moved to before it."""
    consts, carries, xs = scan.split(body.inputs)
    outer = dict(zip(consts, scan.consts))
    moved: list[Node] = []
    for inner in body.nodes:
        if not inner.op.is_view and inner.op is not ew.copy:
            continue
        if inner.inputs[0] in outer and inner.inputs[0] not in (n.output for n in moved):
            b.origin = inner.origin
            outer[inner.output] = b.copy(inner, [outer[inner.inputs[0]]]).output
            if inner.op is ew.copy:
                moved.append(inner)
    b.origin = scan.node.origin
    if not moved:
        return list(scan.emit(b, body).outputs)
    read = [*consts, *(n.output for n in moved)]
    left = live_nodes([n for n in body.nodes if n not in moved], body.outputs)
    smaller = body_of([*read, *carries, *xs], left, body.outputs)
    return list(scan.emit(b, smaller, [outer[v] for v in read]).outputs)
