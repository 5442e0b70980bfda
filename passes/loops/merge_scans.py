"""Loops over the same carries as one loop: a loop and its copy that stacks residuals for the backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir import Builder, Graph, Node, Value
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.scan import Scan
from ..graph.structural_key import node_key


@dataclass(frozen=True)
class MergeScans(Pass):
    """c, ys = scan(inputs) {f}; c', zs = scan(inputs) {f, g} -> c, ys, zs = scan(inputs) {f, g}

    Loops with equal inputs whose bodies make equal carries become one, in the place of the first, with the stacks of
    all. A loop that is recomputed on purpose stays separate. The derivative of a loop repeats it to stack residuals:
    without this pass every recurrent layer runs twice.

    Known elsewhere as common subexpression elimination of loops, or as loop fusion.
    """

    def __call__(self, graph: Graph) -> Graph:
        groups: dict[Any, list[_Group]] = {}
        member: dict[Node, _Group] = {}
        for node in graph.nodes:
            if node.op.is_scan:
                found = groups.setdefault(_key(node), [])
                member[node] = next((group for group in found if group.accepts(node)), None) or _new(found, node)
        if all(len(group.nodes) == 1 for found in groups.values() for group in found):
            return graph
        made: dict[Value, Value] = {}

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            group = member.get(node)
            if group is None or len(group.nodes) == 1:
                return None
            if group.nodes[0] is node:
                merged = Scan(node, inputs).emit(b, group.body())
                made.update((v, merged.outputs[i]) for v, i in group.places.items())
            return [made[v] for v in node.outputs]

        return rewrite_nodes(graph, rule)


def _key(node: Node) -> Any:
    rest = tuple((key, value) for key, value in sorted(node.attrs.items()) if key != "body")
    return tuple(map(id, node.inputs)), rest, node.origin.role == "recompute"


def _new(found: list[_Group], node: Node) -> _Group:
    group = _Group(Builder(), [], {}, [], {})
    group.accepts(node)
    found.append(group)
    return group


@dataclass
class _Group:
    """Loops that become one: their nodes once each, and the place of every output among those of the one loop."""

    b: Builder
    nodes: list[Node]
    seen: dict[Any, tuple[Value, ...]]
    outputs: list[Value]
    places: dict[Value, int]

    def accepts(self, node: Node) -> bool:
        """Take `node` in, unless it makes other carries."""
        body, carries = Scan(node).body, Scan(node).carry_count
        first = not self.nodes
        inputs = [self.b.input(v.type, v.name) for v in body.inputs] if first else self.b.inputs
        before = len(self.b.nodes)
        results = self._inlined(body, inputs)
        if first:
            self.outputs = list(results[:carries])
        elif list(results[:carries]) != self.outputs[:carries]:
            refused = {v for n in self.b.nodes[before:] for v in n.outputs}
            self.seen = {key: made for key, made in self.seen.items() if refused.isdisjoint(made)}
            del self.b.nodes[before:]
            return False
        self.nodes.append(node)
        for i, value in enumerate(results):
            if i < carries:
                place = i
            elif value in self.outputs[carries:]:
                place = self.outputs.index(value, carries)
            else:
                place = len(self.outputs)
                self.outputs.append(value)
            self.places[node.outputs[i]] = place
        return True

    def _inlined(self, body: Graph, inputs: Sequence[Value]) -> list[Value]:
        mapping = dict(zip(body.inputs, inputs))
        for node in body.nodes:
            given = [mapping[v] for v in node.inputs]
            key = node_key(node, tuple(map(id, given)), node.origin.role == "recompute")
            if key not in self.seen:
                self.seen[key] = self.b.copy(node, given).outputs
            mapping.update(zip(node.outputs, self.seen[key]))
        return [mapping[v] for v in body.outputs]

    def body(self) -> Graph:
        return Graph(self.b.inputs, self.b.nodes, self.outputs)
