"""Rules of loops and branches: a loop over a padded sequence keeps its carries where the sequence has ended."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.rewrite import all_nodes
from ..graph.scan import Scan
from .alignment import aligned
from .axes import Axes, Axis, Size, plain, varies
from .masker import Masker, Outputs


def masked_custom_vjp(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """The values as they are: derivatives have been taken."""
    return [(m.made[v], m.axes[v]) for v in node.inputs[: node.attrs["values"]]]


def masked_cond(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Both branches read the slots of either."""
    axes = [m.axes[v] for v in node.inputs[1:]]
    inner = [_body(m, node, twins, name, axes) for name in node.op.bodies]
    layouts = [_joined(m, node, *pair) for pair in zip(*(results for _, _, results in inner), strict=True)]
    for one, _, _ in inner:
        for other, _, _ in inner:
            for key, slot in other.slots.items():
                one.slot(key, slot.type, slot.values)
    order = list(inner[0][0].slots)
    graphs: list[Graph] = []
    for one, body, _ in inner:
        own = one.b.inputs[: len(body.inputs)]
        one.b.inputs = [*own, *(one.slot(key, one.slots[key].type, one.slots[key].values) for key in order)]
        graphs.append(one.b.graph([one.made[v] for v in body.outputs]))
    first = inner[0][0]
    given = [m.slot(key, first.slots[key].type, first.slots[key].values) for key in order]
    operands = [m.made[v] for v in node.inputs]
    made = m.b.emit_node(node.op, *operands, *given, **dict(zip(node.op.bodies, graphs, strict=True)))
    return list(zip(made.outputs, layouts, strict=True))


def masked_while_loop(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """What decides whether the loop goes on is real."""
    m.same(node, twins, "body")
    consts: int = node.attrs["consts"]
    axes = [m.axes[v] for v in node.inputs]
    while True:
        inner, body, results = _body(m, node, twins, "body", axes)
        after = [_joined(m, node, a, c) for a, c in zip(axes[consts:], results, strict=True)]
        if after == axes[consts:]:
            break
        axes = [*axes[:consts], *after]
    given, own = m.enter_slots(inner)
    inputs = inner.b.inputs[: len(body.inputs)]
    inner.b.inputs = [*inputs[:consts], *own, *inputs[consts:]]
    read = [m.made[v] for v in node.inputs]
    attrs = {"body": inner.b.graph([inner.made[v] for v in body.outputs]), "consts": consts + len(own)}
    made = m.b.emit_node(node.op, *read[:consts], *given, *read[consts:], **attrs)
    return list(zip(made.outputs, after, strict=True))


def masked_scan(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Beyond the real end of a sequence the carries stay as they are, whichever way the loop runs."""
    m.same(node, twins, "body", "length")
    loop = Scan(node)
    length: Size = tuple(m.attr(node, twins, "length"))
    axes = [m.axes[v] for v in node.inputs]
    for row in axes[loop.first_x :]:
        m.simple(node, row[0])
    of_consts, of_carries = axes[: loop.first_carry], axes[loop.first_carry : loop.first_x]
    of_xs: list[Axes] = [row[1:] for row in axes[loop.first_x :]]
    while True:
        inner, body, results = _body(m, node, twins, "body", [*of_consts, *of_carries, *of_xs])
        after = [_joined(m, node, a, c) for a, c in zip(of_carries, results[: loop.carry_count], strict=True)]
        if after == of_carries:
            break
        of_carries = after
    outputs = [inner.made[v] for v in body.outputs]
    xs = [m.made[v] for v in loop.xs]
    if varies(length):
        if any(inside.op.is_while for inside in all_nodes(loop.body)):
            return m.crosses(node, "a while_loop in a loop")
        xs = [
            m.masked(x, row, 0, (0,)) if node.can_trap else x for x, row in zip(xs, axes[loop.first_x :], strict=True)
        ]
        carries = [inner.made[v] for v in loop.split(body.inputs)[1]]
        outputs = [*_kept(inner, length, outputs, carries), *outputs[loop.carry_count :]]
        xs.append(m.b.emit(OPS["iota"], shape=(length[0],), axis=0, dtype=INT64))
    given, own = m.enter_slots(inner)
    slots = set(own)
    inputs = [v for v in inner.b.inputs if v not in slots]
    inner.b.inputs = [*inputs[: loop.first_carry], *own, *inputs[loop.first_carry :]]
    parts = [[m.made[v] for v in part] for part in (loop.consts, loop.carries)]
    made = loop.emit(m.b, inner.b.graph(outputs), [*parts[0], *given], parts[1], xs)
    of_ys: list[Axes] = [(plain(length), *row) for row in results[loop.carry_count :]]
    return list(zip(made.outputs, [*of_carries, *of_ys], strict=True))


def _kept(inner: Masker, length: Size, new: Sequence[Value], old: Sequence[Value]) -> list[Value]:
    """The new carries in iterations that are real, the old ones in the others; the place is one more input."""
    b = inner.b
    place = b.input(ArrayType((), INT64), "place")
    is_real = ew.lt(b, place, inner.number(length))
    return [ew.select(b, inner.spread(is_real, x.type.shape), y, x) for x, y in zip(old, new)]


def _body(
    m: Masker, node: Node, twins: Sequence[Node], name: str, axes: Sequence[Axes]
) -> tuple[Masker, Graph, list[Axes]]:
    """A graph inside a node whose inputs have these layouts, its nodes, and the layouts of its outputs."""
    body, *others = aligned(m.attr(node, twins, name))
    inner = m.inside(Builder(m.b.origin))
    for i, (value, row) in enumerate(zip(body.inputs, axes, strict=True)):
        inner.enter(value, inner.b.input(value.type, value.name), row, (other.inputs[i] for other in others))
    inner.run(body, others)
    return inner, body, [inner.axes[v] for v in body.outputs]


def _joined(m: Masker, node: Node, one: Axes, other: Axes) -> Axes:
    """The layout of what is one array or the other."""
    pairs = zip(one, other, strict=True)
    return tuple(Axis(m.unify(node, [a, c]).factors, a.is_uniform and c.is_uniform) for a, c in pairs)
