"""Which names of a program must be known while it is traced, and which count along: found from its nodes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .operator import Operator, find_operator
from .program import Body, Function, FunctionKey, OnnxNode, Program, nodes_of
from .schema_functions import plain_schema_function


@dataclass(frozen=True)
class KnownNames:
    """`known` decide shapes, by whatever way; `statistics` are what a batch norm counts along."""

    known: frozenset[str]
    statistics: frozenset[str]


def known_names(program: Program) -> KnownNames:
    """The names of the model's graph, and of the graphs inside, that must be known, or count along.

    A name must be known where an operator says so, or where what must be known is computed of its values.
    """
    return _Search(program.opsets, program.functions).found(program.body.nodes)


class _Search:
    def __init__(self, opsets: Mapping[str, int], functions: Mapping[FunctionKey, Function]) -> None:
        self.opsets = opsets
        self.functions = functions
        self.known: set[str] = set()

    def found(self, nodes: Sequence[OnnxNode]) -> KnownNames:
        every = list(nodes_of(nodes))
        statistics: set[str] = set()
        for node in every:
            operator = self._operator(node)
            if operator is not None:
                self._add(node, operator.known(node))
                statistics.update(node.inputs[i] for i in operator.statistics if i < len(node.inputs))
            else:
                self._add(node, self._places_of_function(node))
        before = -1
        while len(self.known) != before:  # graphs inside are read before what they are part of, and after
            before = len(self.known)
            for node in reversed(every):
                self._pull_back(node)
        self.known.discard("")
        return KnownNames(frozenset(self.known), frozenset(statistics - self.known))

    def _add(self, node: OnnxNode, places: Sequence[int]) -> None:
        self.known.update(node.inputs[i] for i in places if i < len(node.inputs))

    def _pull_back(self, node: OnnxNode) -> None:
        """What must be known of a node whose results must be, or whose graphs need something known."""
        operator = self._operator(node)
        if self.known.intersection(node.outputs) and not (operator is not None and operator.of_shapes):
            self.known.update(node.inputs)
            self.known.update(each.name for body in node.bodies for each in body.outputs)
        for body in node.bodies:
            self._pull_out(node, body)

    def _pull_out(self, node: OnnxNode, body: Body) -> None:
        """Inputs of a node that are inputs of its graph which must be known there: the last ones of both."""
        for outer, inner in zip(reversed(node.inputs), reversed(body.inputs)):
            if inner.name in self.known:
                self.known.add(outer)

    def _operator(self, node: OnnxNode) -> Operator | None:
        return find_operator(node.operator, self.opsets.get("", 1)) if not node.domain else None

    def _places_of_function(self, node: OnnxNode) -> list[int]:
        """The inputs that a function of the model, or of ONNX, must know."""
        function = self.functions.get((node.domain, node.operator, node.overload))
        if function is None:
            function = plain_schema_function(node, self.opsets.get(node.domain, 1))
        if function is None:
            return []
        needed = _Search(function.opsets, self.functions).found(function.nodes).known
        return [i for i, name in enumerate(function.inputs) if name in needed]
