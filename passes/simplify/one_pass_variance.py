"""Mean and variance over rows from one pass over memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Op, Value
from ...ir.ops import creation, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.reduction import moment
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.views import resolve_views
from ..kernels.loop_nest import squeezed


@dataclass(frozen=True)
class OnePassVariance(Pass):
    """`s = reduce_sum(x); q = reduce_sum((x - s / n)²)` -> `m = moments(x); s, q = m[0], m[1]`.

    Known elsewhere as Welford's algorithm, or fused batch norm statistics. The second sum waits for the first one, and
    reads all of x a second time. Here each tile has its own mean, and both sums of the tile are taken while it is in
    the cache. Tiles are combined as Chan, Golub and LeVeque 1979 do ("Updating formulae and a pairwise algorithm for
    computing sample variances"), so that a large mean costs no digits.

    It is done over the first axes of a contiguous array of at least `least_bytes`.
    """

    of_cpus = True

    least_bytes: int = 1 << 15

    def __call__(self, graph: Graph) -> Graph:
        found = {node: total for node in graph.nodes if (total := _sum_before(node)) is not None}
        if not found:
            return graph
        views = resolve_views(graph.inputs, graph.nodes)
        wanted = {
            squares: total
            for squares, total in found.items()
            if total.inputs[0].type.nbytes >= self.least_bytes and views[total.inputs[0]].contiguous
        }
        sums = set(wanted.values())
        made: dict[Node, Value] = {}

        def part(b: Builder, node: Node, of: Value, i: int) -> list[Value]:
            value = moment(b, of, i)
            # A moment is a view, and no output may be one.
            return [OPS["copy"](b, value) if node.output in graph.outputs else value]

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if node in sums:
                made[node] = b.emit(OPS["moments"], inputs[0], rows=_rows(node))
                return part(b, node, made[node], 0)
            return part(b, node, made[wanted[node]], 1) if node in wanted else None

        return without_dead_code(rewrite_nodes(graph, rule))


def _rows(node: Node) -> int | None:
    """The number of axes that a sum reduces, if they are the first ones."""
    axes: tuple[int, ...] = node.attrs.get("axes", ())
    first = axes and axes == tuple(range(len(axes)))
    return len(axes) if node.op is reduction.reduce_sum and first else None


def _sum_before(node: Node) -> Node | None:
    """The sum of x that belongs to a sum of (x - mean(x))², over the same axes and of the same role."""
    rows, square = _rows(node), node.inputs[0].node if node.inputs else None
    if rows is None or square is None or square.op is not ew.mul or square.inputs[0] is not square.inputs[1]:
        return None
    off = square.inputs[0].node
    if off is None or off.op is not ew.sub or node.output.type.size < 2:
        return None
    x, repeated = off.inputs
    mean = _made_by(repeated, movement.broadcast)
    if mean is None or mean.attrs["axes"] != tuple(range(rows, x.type.ndim)):
        return None
    scaled = _made_by(mean.inputs[0], ew.mul)
    if scaled is None:
        return None
    share = x.type.dtype.type(1 / max(math.prod(x.type.shape[:rows]), 1))
    for value, factor in (scaled.inputs, scaled.inputs[::-1]):
        total, number = _made_by(value, reduction.reduce_sum), _made_by(factor, creation.full)
        if total is None or number is None or x.type.dtype.type(number.attrs["value"]) != share:
            continue
        if total.inputs[0] is x and _rows(total) == rows and total.origin.role == node.origin.role:
            return total
    return None


def _made_by(value: Value, op: Op) -> Node | None:
    """The node of `op` that makes a value, up to axes of length 1; None if another op makes it."""
    node = value.node
    while node is not None and node.op is movement.reshape and op is not movement.reshape:
        if squeezed(node.inputs[0].type.shape) != squeezed(node.output.type.shape):
            return None
        node = node.inputs[0].node
    return node if node is not None and node.op is op else None
