"""Functions of arrays that are written down before a loop, and computed in it as far as they must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import ArrayType, Value
from .tracer import Trace, Tracer, current_trace


def hoisted(fn: Callable[..., Sequence[Any]], *types: ArrayType) -> Callable[..., list[Any]]:
    """`fn` of arrays of these types, to be called in the body of a loop of the current program, or in that itself.

    What `fn` computes and does not depend on its arguments is computed once, here; a call computes the rest. `fn` may
    use passes that know this program alone, such as pullbacks of what was traced before. Known elsewhere as
    loop-invariant code motion.
    """
    trace = current_trace()
    assert trace is not None
    nodes = trace.builder.nodes
    begin = len(nodes)
    arguments = [Value(t) for t in types]
    results = [trace.lift(result) for result in fn(*(Tracer(trace, value) for value in arguments))]
    depending = set(arguments)
    inside, outside = [], []
    for node in nodes[begin:]:
        if depending.isdisjoint(node.inputs):
            outside.append(node)
        else:
            inside.append(node)
            depending.update(node.outputs)
    nodes[begin:] = outside

    def call(*given: Any) -> list[Any]:
        active = current_trace()
        assert active is not None
        mapping = dict(zip(arguments, map(active.lift, given), strict=True))
        for node in inside:
            copied = active.builder.copy(node, [_here(active, trace, mapping, v) for v in node.inputs])
            mapping.update(zip(node.outputs, copied.outputs))
        return [Tracer(active, _here(active, trace, mapping, v)) for v in results]

    return call


def _here(active: Trace, outer: Trace, mapping: dict[Value, Value], value: Value) -> Value:
    return mapping[value] if value in mapping else active.own(Tracer(outer, value)).value
