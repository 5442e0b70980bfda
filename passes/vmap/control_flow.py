"""Rules of `cond` and `while_loop`: where a flag differs between examples, both branches run, or more iterations."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.control_flow import cond
from ...ir.types import INT32
from .vectorizer import Outputs, Vectorizer, mapped_type


def vectorized_cond(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """One of two branches for all examples, or both and a choice for each example."""
    flag, operands, of_operands = inputs[0], inputs[1:], flags[1:]
    if flags[0]:
        other = ew.invert(v.b, flag)
        branches = zip(node.bodies, (flag, other), strict=True)
        true, false = (_inlined(v, body, operands, of_operands, running) for body, running in branches)
        return [(v.select(flag, x, y), True) for x, y in zip(true, false, strict=True)]
    pairs: list[tuple[Vectorizer, Graph]] = []
    for body in node.bodies:
        inner = v.inside(Builder(v.b.origin))
        for value, x, is_mapped in zip(body.inputs, operands, of_operands, strict=True):
            inner.enter(value, inner.b.input(x.type, value.name), is_mapped)
        inner.run(body.nodes)
        pairs.append((inner, body))
    count = len(node.outputs)
    of_outputs = [any(body.outputs[o] in inner.mapped for inner, body in pairs) for o in range(count)]
    graphs = [inner.b.graph(inner.results(body.outputs, of_outputs)) for inner, body in pairs]
    made = v.b.emit_node(cond, flag, *operands, **dict(zip(cond.bodies, graphs, strict=True)))
    return list(zip(made.outputs, of_outputs, strict=True))


def _inlined(
    v: Vectorizer, body: Graph, operands: Sequence[Value], flags: Sequence[bool], running: Value
) -> list[Value]:
    """What a branch makes, for the examples that run it."""
    both = running if v.running is None else ew.and_(v.b, running, v.running)
    inner = v.inside(v.b, both)
    for value, x, is_mapped in zip(body.inputs, operands, flags, strict=True):
        inner.enter(value, x, is_mapped)
    inner.run(body.nodes)
    return [inner.whole(value) for value in body.outputs]


def vectorized_while_loop(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """A loop that goes on while any example does; the carries of those that have ended stay as they are."""
    consts: int = node.attrs["consts"]
    (body,) = node.bodies
    of_consts, of_carries = flags[:consts], flags[consts:]
    while True:
        inner = v.inside(Builder(v.b.origin))
        for value, is_mapped in zip(body.inputs, [*of_consts, *of_carries], strict=True):
            inner.enter(value, inner.b.input(mapped_type(value, v.count, is_mapped), value.name), is_mapped)
        inner.run(body.nodes)
        after = [before or value in inner.mapped for before, value in zip(of_carries, body.outputs, strict=True)]
        if after[0]:
            return _while_any(v, node, inputs, flags)
        if after == of_carries:
            break
        of_carries = after
    starts = [
        v.repeated(x) if is_mapped and not was else x
        for x, is_mapped, was in zip(inputs[consts:], of_carries, flags[consts:], strict=True)
    ]
    graph = inner.b.graph(inner.results(body.outputs, of_carries))
    made = v.b.emit_node(node.op, *inputs[:consts], *starts, body=graph, consts=consts)
    return list(zip(made.outputs, of_carries, strict=True))


def _while_any(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    consts: int = node.attrs["consts"]
    (body,) = node.bodies
    starts = v.all_repeated(inputs[consts:], flags[consts:])
    if v.running is not None:
        starts[0] = ew.and_(v.b, starts[0], v.running)
    b = Builder(v.b.origin)
    given = [b.input(x.type, value.name) for x, value in zip(inputs[:consts], body.inputs)]
    b.input(node.outputs[0].type)
    before = [b.input(x.type, value.name) for x, value in zip(starts, body.inputs[consts:])]
    inner = v.inside(b, before[0])
    for value, x, is_mapped in zip(body.inputs, [*given, *before], [*flags[:consts], *(True for _ in before)]):
        inner.enter(value, x, is_mapped)
    inner.run(body.nodes)
    made = [inner.whole(value) for value in body.outputs]
    after = [ew.and_(b, before[0], made[0])]
    after += [inner.select(before[0], new, old) for new, old in zip(made[1:], before[1:], strict=True)]
    graph = b.graph([_any(b, after[0]), *after])
    begins = _any(v.b, starts[0])
    loop = v.b.emit_node(node.op, *inputs[:consts], begins, *starts, body=graph, consts=consts)
    return [(value, True) for value in loop.outputs[1:]]


def _any(b: Builder, flags: Value) -> Value:
    """Whether the flag of any example is true, also where there are none."""
    count = b.emit(OPS["reduce_sum"], ew.cast(b, flags, dtype=INT32), axes=(0,))
    return ew.ne(b, count, b.full_like(count, 0))
