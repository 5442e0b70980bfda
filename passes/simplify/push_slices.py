"""Slices of what is computed element by element: the parts are computed apart, each where it is read."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Origin, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import movement
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass

_Bounds = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""start, stop and step of a slice."""


@dataclass(frozen=True)
class PushSlices(Pass):
    """`slice(f(x, y))` -> `f(slice(x), slice(y))`, where slices are all that reads `f(x, y)` and share no element.

    The gates of a recurrent cell are parts of one sum; so each part, and what follows, are one loop, and the sum is
    never stored.
    """

    def __call__(self, graph: Graph) -> Graph:
        split = _split_nodes(graph)
        if not split:
            return graph
        b = Builder()
        mapping = {v: b.input(v.type, v.name) for v in graph.inputs}
        parts: dict[tuple[Value, _Bounds], Value] = {}

        def part(value: Value, bounds: _Bounds, origin: Origin) -> Value:
            """The elements of `value` within `bounds`; a stack, because chains may be long."""
            stack = [value]
            while stack:
                top = stack[-1]
                node = top.node
                if (top, bounds) in parts:
                    stack.pop()
                elif node is None or node not in split:
                    b.origin, (start, stop, step) = origin, bounds
                    parts[top, bounds] = b.emit(OPS["slice"], mapping[top], start=start, stop=stop, step=step)
                    stack.pop()
                elif missing := [v for v in node.inputs if (v, bounds) not in parts]:
                    stack.extend(missing)
                else:
                    b.origin = node.origin
                    parts[top, bounds] = b.emit(node.op, *(parts[v, bounds] for v in node.inputs), **node.attrs)
                    stack.pop()
            return parts[value, bounds]

        for node in graph.nodes:
            if node in split:
                continue
            if node.op is movement.slice_ and node.inputs[0].node in split:
                mapping[node.output] = part(node.inputs[0], _bounds(node), node.origin)
            else:
                copied = b.copy(node, [mapping[v] for v in node.inputs])
                mapping.update(zip(node.outputs, copied.outputs))
        results = [mapping[v] for v in graph.outputs]
        return without_dead_code(b.graph(results, graph.aliases, graph.output_names))


def _bounds(node: Node) -> _Bounds:
    return node.attrs["start"], node.attrs["stop"], node.attrs["step"]


def _split_nodes(graph: Graph) -> set[Node]:
    """Element-wise nodes of which nothing but slices is read, however far down, each element at most once, and by what
    runs in one loop with it: parts that are stored would only keep the whole from being written in place.
    """
    users = graph.users()
    outputs = set(graph.outputs)
    read: dict[Node, dict[_Bounds, int]] = {}
    for node in reversed(graph.nodes):
        if not node.op.is_elementwise or node.op.is_check or node.op is ew.copy:
            continue
        readers = users[node.output]
        if not readers or node.output in outputs:
            continue
        found: dict[_Bounds, int] = {}
        for reader in readers:
            if reader.op is movement.slice_ and all(r.op.is_elementwise for r in users[reader.output]):
                found[_bounds(reader)] = reader.output.type.size
            elif reader in read:
                found.update(read[reader])
            else:
                found.clear()
                break
        if found and _apart(list(found)) and sum(found.values()) <= node.output.type.size:
            read[node] = found
    return set(read)


def _apart(bounds: list[_Bounds]) -> bool:
    """Whether no two of these boxes share an element."""
    return all(
        any(a[1][i] <= c[0][i] or c[1][i] <= a[0][i] for i in range(len(a[0])))
        for n, a in enumerate(bounds)
        for c in bounds[:n]
    )
