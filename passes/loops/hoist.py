"""Out of loops, to before them: what is the same in every step, and products for all steps at once."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ..graph.batching import batched, can_batch
from ..graph.dead_code import live_nodes
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.scan import Scan, body_of, invariant_values
from ..graph.views import VIEW_OPS


@dataclass(frozen=True)
class Hoist(Pass):
    """Takes nodes of loops to before them.

        f(w)                       w the same in every step: once
        dot(f(x[t]), w)            w the same in every step: one product of all x

    Creation and views of what is the same stay inside, where they cost nothing, and products that are computed again,
    which would stand for all steps at once.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op.is_scan for node in graph.nodes):
            return graph

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            return _Hoisted(b, Scan(node, inputs)).run() if node.op.is_scan and node.attrs["length"] else None

        return rewrite_nodes(graph, rule)


class _Hoisted:
    """A loop of which parts move out: `outer` has what stands outside for values of the body, with the steps as the
    first axis but for those in `same`.
    """

    def __init__(self, b: Builder, scan: Scan) -> None:
        self.b = b
        self.scan = scan
        self.body = scan.body
        self.outer = dict(zip(scan.body.inputs, scan.inputs))
        self.same = scan.invariants()
        self.by_step = invariant_values((*self.same, *scan.body_xs), scan.body.nodes) - self.same
        """What depends on sequences, and on no carry."""

    def run(self) -> list[Value] | None:
        for node in self.body.nodes:
            if self.same.issuperset(node.outputs):
                if not _is_free(node):
                    self.compute_once(node.outputs[0])
            elif node.origin.role == "recompute":
                continue
            elif node.op.name == "dot" and node.output in self.by_step and not self.same.isdisjoint(node.inputs):
                self.compute_for_all_steps(node.output)
        if len(self.outer) == len(self.scan.inputs):
            return None
        return list(self.smaller_loop().outputs)

    def compute_once(self, value: Value) -> None:
        """A value that is the same in every step, outside."""
        nodes = [n for n in self.body.nodes if self.same.issuperset(n.outputs) and n.outputs[0] not in self.outer]
        for node in live_nodes(nodes, [value]):
            self.outer.update(zip(node.outputs, self.b.copy(node, [self.outer[v] for v in node.inputs]).outputs))

    def compute_for_all_steps(self, value: Value) -> None:
        """A value that depends on no carry, outside for all steps, if all that it is made of can be batched."""
        nodes = [n for n in self.body.nodes if n.outputs[0] in self.by_step and n.outputs[0] not in self.outer]
        needed = live_nodes(nodes, [value])
        stacked = {node: [v not in self.same for v in node.inputs] for node in needed}
        if not all(len(n.outputs) == 1 and can_batch(n, stacked[n]) for n in needed):
            return
        for node in needed:
            for v in node.inputs:
                if v not in self.outer:
                    self.compute_once(v)
            self.b.origin = node.origin
            given = [self.outer[v] for v in node.inputs]
            self.outer[node.output] = batched(self.b, node, given, stacked[node], self.scan.length)

    def smaller_loop(self) -> Node:
        """The loop that reads what was moved out as consts and sequences; what is free is made inside."""
        body = self.body
        moved = {v for v in self.outer if v.node is not None and not _is_free(v.node)}
        inner = live_nodes([n for n in body.nodes if moved.isdisjoint(n.outputs)], body.outputs)
        read = {*body.outputs, *(v for n in inner for v in n.inputs)} - {v for n in inner for v in n.outputs}
        consts = [v for v in self.outer if v in read and v in self.same]
        xs = [v for v in self.outer if v in read and v in self.by_step]
        smaller = body_of([*consts, *self.scan.body_carries, *xs], inner, body.outputs)
        self.b.origin = self.scan.node.origin
        return self.scan.emit(self.b, smaller, [self.outer[v] for v in consts], None, [self.outer[v] for v in xs])


def _is_free(node: Node) -> bool:
    """Whether what is the same in every step may as well be made inside."""
    made = node.op.family == "creation" and node.op.name not in ("constant", "random_bits")
    return made or node.op.name in VIEW_OPS
