"""The rule of `scan`: one loop whose iterations do what those of all examples do."""

from __future__ import annotations

from ...ir import Builder, Node, Value
from ..graph.scan import Scan
from .vectorizer import Outputs, Vectorizer, mapped_type


def vectorized_scan(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """A carry is mapped where it begins so, or where an iteration makes it so."""
    loop = Scan(node, inputs)
    of_consts, of_carries, of_xs = map(list, loop.split(flags))
    while True:
        b = Builder(v.b.origin)
        inner = v.inside(b)
        for value, is_mapped in zip(loop.body.inputs, [*of_consts, *of_carries, *of_xs], strict=True):
            inner.enter(value, b.input(mapped_type(value, v.count, is_mapped), value.name), is_mapped)
        inner.run(loop.body.nodes)
        after = [value in inner.mapped for value in loop.new_carries]
        if all(before or not now for before, now in zip(of_carries, after)):
            break
        of_carries = [before or now for before, now in zip(of_carries, after)]
    of_ys = [value in inner.mapped for value in loop.step_ys]
    results = inner.results(loop.body.outputs, [*of_carries, *of_ys])
    starts = [
        v.repeated(x) if is_mapped and not was else x
        for x, is_mapped, was in zip(loop.carries, of_carries, loop.split(flags)[1])
    ]
    xs = [v.moved(x, 0, 1) if is_mapped else x for x, is_mapped in zip(loop.xs, of_xs)]
    made = loop.emit(v.b, b.graph(results), carries=starts, xs=xs)
    stacks = made.outputs[loop.carry_count :]
    return [
        *zip(made.outputs, of_carries),
        *((v.moved(y, 1, 0) if is_mapped else y, is_mapped) for y, is_mapped in zip(stacks, of_ys)),
    ]
