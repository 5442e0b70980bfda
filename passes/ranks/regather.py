"""Parameters of which each rank has a shard are there as a whole only while a layer computes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import collectives
from ...ir.ops import elementwise as ew
from ..graph.rewrite import Pass

_BACKWARD = ("backward", "recompute")


@dataclass(frozen=True)
class RegatherParameters(Pass):
    """all_gather(shard), read by forward and backward -> one all_gather before the first reader of each

    So what is gathered for the forward is dropped after its last reader there, and gathered again; a cast of it goes
    with it. Where a rank has several parts of the batch, a gather stands before the loop over them, and serves both.

    Known elsewhere as fully sharded data parallel (Zhao et al., 2023).
    """

    in_bodies: ClassVar[bool] = False
    again: bool = True

    def __call__(self, graph: Graph) -> Graph:
        inputs = set(graph.inputs)
        made = {node for node in graph.nodes if node.op is collectives.all_gather and node.inputs[0] in inputs}
        if not made:
            return graph
        for node in graph.nodes:
            if (node.op.is_view or node.op is ew.cast) and node.inputs[0].node in made:
                made.add(node)
        return _Gathers(graph, made, self.again).emit()


class _Gathers:
    def __init__(self, graph: Graph, made: set[Node], again: bool) -> None:
        self.graph, self.made, self.again = graph, made, again
        self.b = Builder()
        self.new: dict[Value, Value] = {v: self.b.input(v.type, v.name) for v in graph.inputs}
        self.backward: dict[Value, Value] = {}

    def emit(self) -> Graph:
        b, graph = self.b, self.graph
        for node in graph.nodes:
            if node not in self.made:
                inputs = [self._read(v, node.origin.role) for v in node.inputs]
                self.new.update(zip(node.outputs, b.copy(node, inputs).outputs))
        outputs = [self._read(v, "forward") for v in graph.outputs]
        return b.graph(outputs, graph.aliases, graph.output_names)

    def _read(self, value: Value, role: str) -> Value:
        """What stands for a value of the old graph where a node of this role reads it."""
        node = value.node
        if node is None or node not in self.made:
            return self.new[value]
        again = self.again and role in _BACKWARD
        there = self.backward if again else self.new
        if value not in there:
            inputs = [self._read(v, role) for v in node.inputs]
            origin = node.origin.with_role("recompute") if again else node.origin
            there[value] = self.b.copy(node, inputs, origin).output
        return there[value]
