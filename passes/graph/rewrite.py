"""The frame of a rewriting pass: copy a graph node by node, replacing what a rule replaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value


@dataclass(frozen=True)
class Pass:
    """A pass: a frozen dataclass whose fields are its options. It never changes the graph it is given."""

    @property
    def name(self) -> str:
        """The name by which it is printed and asked for: the class's, in lower case with hyphens (`tile-batch`)."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def __call__(self, graph: Graph) -> Graph:
        """The new graph."""
        raise NotImplementedError


def rewrite_nodes(graph: Graph, rule: Callable[[Builder, Node, list[Value]], list[Value] | None]) -> Graph:
    """Copy `graph`, giving each node with its new inputs to `rule`: it returns the values to use instead, or None."""
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    for node in graph.nodes:
        inputs = [mapping[v] for v in node.inputs]
        b.origin = node.origin
        replacement = rule(b, node, inputs)
        outputs = b.copy(node, inputs).outputs if replacement is None else replacement
        mapping.update(zip(node.outputs, outputs, strict=True))
    return b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names)


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, each followed by those of its body."""
    for node in graph.nodes:
        yield node
        if isinstance(body := node.attrs.get("body"), Graph):
            yield from all_nodes(body)

