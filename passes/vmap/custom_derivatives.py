"""The rule of values with a derivative of the user's: that of all examples at once is a graph again."""

from __future__ import annotations

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from .vectorizer import Outputs, Vectorizer


def vectorized_custom_vjp(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """All values are mapped. The cotangent of an argument that is the same for all examples is the sum of theirs."""
    backward: Graph = node.attrs["backward"]
    values, arguments = node.attrs["values"], node.attrs["arguments"]
    whole = v.all_repeated(inputs[:values], flags[:values])
    rest = list(zip(inputs, flags))[values + arguments :]
    b = Builder(v.b.origin)
    inner = v.inside(b)
    for value, (x, is_mapped) in zip(backward.inputs, [*rest, *((x, True) for x in whole)], strict=True):
        inner.enter(value, b.input(x.type, value.name), is_mapped)
    inner.run(backward.nodes)
    cotangents = [
        inner.whole(value) if is_mapped else _sum(inner, value)
        for value, is_mapped in zip(backward.outputs, flags[values : values + arguments], strict=True)
    ]
    attrs = {**node.attrs, "backward": b.graph(cotangents)}
    made = v.b.emit_node(node.op, *whole, *inputs[values:], **attrs)
    return [(value, True) for value in made.outputs]


def _sum(inner: Vectorizer, value: Value) -> Value:
    """The sum of the cotangents of all examples."""
    b, cotangent = inner.b, inner.made[value]
    if value in inner.mapped:
        return b.emit(OPS["reduce_sum"], cotangent, axes=(0,))
    return ew.mul(b, cotangent, b.full_like(cotangent, inner.count))
