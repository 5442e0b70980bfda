"""The same program, traced for several lengths, node by node: what is left out where it changes nothing is put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...ir import ArrayType, Builder, Graph, Node, Op, Value
from ...ir.ops import movement
from ..graph.dead_code import live_nodes
from .masker import PaddingError


def _whole_slice(x: ArrayType, like: Mapping[str, Any]) -> dict[str, Any]:
    return {"start": (0,) * x.ndim, "stop": x.shape, "step": (1,) * x.ndim}


def _no_pad(x: ArrayType, like: Mapping[str, Any]) -> dict[str, Any]:
    none = (0,) * x.ndim
    return {"low": none, "high": none, "interior": none, "value": like["value"]}


def _same_shape(x: ArrayType, like: Mapping[str, Any]) -> dict[str, Any]:
    return {"shape": x.shape}


IDENTITIES: Mapping[Op, Callable[[ArrayType, Mapping[str, Any]], dict[str, Any]]] = {
    movement.slice_: _whole_slice,
    movement.pad: _no_pad,
    movement.reshape: _same_shape,
}
"""The attributes with which an op leaves an array as it is: no node is traced then. `table[:n]` of n rows is such."""


def aligned(graphs: Sequence[Graph]) -> list[Graph]:
    """The graphs without dead nodes, and with such identities among the others that all have the same ops in the same
    order. Raises `PaddingError`, with the user's line, where nothing makes them so.
    """
    lists = [live_nodes(graph.nodes, graph.outputs) for graph in graphs]
    if all([node.op for node in nodes] == [node.op for node in lists[0]] for nodes in lists):
        rows = zip(graphs, lists, strict=True)
        return [Graph(g.inputs, nodes, g.outputs, g.aliases, g.output_names) for g, nodes in rows]
    rows = [_Row(graph, nodes) for graph, nodes in zip(graphs, lists, strict=True)]
    while any(row.nodes for row in rows):
        _advance(rows)
    columns = [_common(rows, values) for values in zip(*(graph.outputs for graph in graphs), strict=True)]
    if None in columns:
        raise PaddingError("the program gives something else for one length than for another")
    return [row.graph(graph, [c for c in columns if c is not None]) for row, graph in zip(rows, graphs, strict=True)]


class _Row:
    """One of the graphs, as it is written anew. Values that stand for each other in all graphs have one number; one
    that is the same after identities has several.
    """

    def __init__(self, graph: Graph, nodes: Iterable[Node]) -> None:
        self.b = Builder()
        self.nodes = list(reversed(list(nodes)))
        """Those that are left, the next one last."""
        self.values = [self.b.input(v.type, v.name) for v in graph.inputs]
        """By their numbers."""
        self.numbers = {v: [i] for i, v in enumerate(graph.inputs)}

    @property
    def next(self) -> Node | None:
        return self.nodes[-1] if self.nodes else None

    def take(self, inputs: Sequence[int]) -> None:
        """Append the next node."""
        node = self.nodes.pop()
        copied = self.b.copy(node, [self.values[i] for i in inputs])
        for value, its in zip(node.outputs, copied.outputs, strict=True):
            self.numbers[value] = [len(self.values)]
            self.values.append(its)

    def leave(self, number: int, like: Node) -> None:
        """Append an identity."""
        x = self.values[number]
        with self.b.at(like.origin):
            result = self.b.emit(like.op, x, **IDENTITIES[like.op](x.type, like.attrs))
        for numbers in self.numbers.values():
            if number in numbers:
                numbers.append(len(self.values))
        self.values.append(result)

    def graph(self, graph: Graph, outputs: Sequence[int]) -> Graph:
        return self.b.graph([self.values[i] for i in outputs], graph.aliases, graph.output_names)


def _advance(rows: Sequence[_Row]) -> None:
    """One more node in every graph: the next of each, or an identity where others have an op of its kind."""
    inputs = _inputs(rows)
    if inputs is not None:
        for row in rows:
            row.take(inputs)
        return
    for row in rows:
        head = row.next
        if head is None or head.op not in IDENTITIES:
            continue
        others = [other for other in rows if _inputs([row, other]) is not None]
        inputs = _inputs(others)
        if inputs is not None:
            for other in rows:
                if other in others:
                    other.take(inputs)
                else:
                    other.leave(inputs[0], head)
            return
    source = next(row.next.origin.source for row in rows if row.next is not None)
    if any(row.next is None for row in rows):
        raise PaddingError("the program has more operations for one length than for another", source)
    raise PaddingError("the program is another one for one length than for another", source)


def _inputs(rows: Sequence[_Row]) -> list[int] | None:
    """The numbers of what the next node of each graph reads; `None` where they are no nodes of one op that read the
    same.
    """
    nodes = [row.next for row in rows if row.next is not None]
    if len(nodes) < len(rows) or len({(node.op, len(node.inputs)) for node in nodes}) > 1:
        return None
    found = [_common(rows, values) for values in zip(*(node.inputs for node in nodes), strict=True)]
    return None if None in found else [number for number in found if number is not None]


def _common(rows: Sequence[_Row], values: Sequence[Value]) -> int | None:
    """The last number that values of the graphs have in common."""
    found: set[int] | None = None
    for row, value in zip(rows, values, strict=True):
        found = set(row.numbers[value]) if found is None else found.intersection(row.numbers[value])
    return max(found) if found else None
