"""Slice pushdown: slices of an element-wise result are computed one by one, each where it is read."""

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
    """`slice(f(x, y))` -> `f(slice(x), slice(y))`, f element-wise.

    Known elsewhere as slice pushdown, slice sinking. The gates of a recurrent cell are slices of one sum of products.
    Each gate and its activation become one fused loop, and the sum is never stored.

    It is done where slices are all that reads `f(x, y)`, and they share no element: nothing is computed twice.
    """

    def __call__(self, graph: Graph) -> Graph:
        split = _nodes_to_split(graph)
        if not split:
            return graph
        b = Builder()
        mapping = {v: b.input(v.type, v.name) for v in graph.inputs}
        parts: dict[tuple[Value, _Bounds], Value] = {}

        def part(value: Value, bounds: _Bounds, origin: Origin) -> Value:
            """The elements of `value` within `bounds`. An explicit stack: chains may be long."""
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


def _nodes_to_split(graph: Graph) -> set[Node]:
    """Element-wise nodes whose elements reach the rest of the graph through slices alone, each element at most once.

    The readers of these slices are element-wise, so that they run in one loop with the part. A part that had to be
    stored would gain nothing, and the whole could no longer be written in place.
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
        if found and _are_disjoint(list(found)) and sum(found.values()) <= node.output.type.size:
            read[node] = found
    return set(read)


def _are_disjoint(bounds: list[_Bounds]) -> bool:
    """Whether no two of these bounds share an element."""
    return all(
        any(a[1][i] <= c[0][i] or c[1][i] <= a[0][i] for i in range(len(a[0])))
        for n, a in enumerate(bounds)
        for c in bounds[:n]
    )
