"""A plan computes what the step computed before it was planned: equal computations have equal value numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ...ir import Array, Graph, Node, Value
from ...ir.op import TypeRuleError
from .errors import PlanVerificationError, describe

_OF_THE_PLAN = ("in_turn", "tag")
"""Attributes that say how something is computed: a message that is sent again has another tag."""


class Numbering:
    """Gives every value a number: two have the same one if they are made by ops of one name and attributes from values
    of the same numbers.

    Units are looked into. A loop is what the outputs of its body are as terms of the body's inputs, so that a body that
    computes something twice, or in another order, is the same as one that does not.
    """

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.checked: set[int] = set()
        """Numbers of the checks that are made."""
        self.known: int | None = None
        """Once an original is numbered, how many numbers it has: what has a larger one is wrong."""
        self._results: dict[Graph, tuple[int, ...]] = {}

    def number(self, key: Any) -> int:
        """The number of a term."""
        return self.numbers.setdefault(key, len(self.numbers))

    def results(self, graph: Graph) -> tuple[int, ...]:
        """The outputs of a graph as terms of its inputs."""
        if graph not in self._results:
            of = {v: self.number(("input", i, str(v.type))) for i, v in enumerate(graph.inputs)}
            self.walk(graph, of)
            self._results[graph] = tuple(of[v] for v in graph.outputs)
        return self._results[graph]

    def walk(self, graph: Graph, of: dict[Value, int]) -> None:
        """Enters the numbers of all that the nodes of a graph make in `of`, which has those of its inputs."""
        for node in graph.nodes:
            if any(v not in of for v in node.inputs):
                raise PlanVerificationError(f"{describe(node)} reads what no node before it makes")
            inputs = [of[v] for v in node.inputs]
            if node.op.body == "once":
                body: Graph = node.attrs["body"]
                inner = dict(zip(body.inputs, inputs, strict=True))
                self.walk(body, inner)
                of.update(zip(node.outputs, (inner[v] for v in body.outputs), strict=True))
            elif node.op.is_identity:
                of[node.output] = inputs[0]
                if node.op.is_check:
                    self.checked.add(self.number((node.op.name, _attrs(node), inputs[0])))
            elif node.op.bodies:
                _check_types(node)
                of.update(zip(node.outputs, self.loop(node, inputs), strict=True))
            else:
                of.update(zip(node.outputs, self.made(node, inputs), strict=True))

    def made(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        """The numbers of what a node makes of values of these numbers."""
        bodies = tuple(map(self.results, node.graphs))
        return self.outputs(node, self.number((node.op.name, bodies, _attrs(node), *inputs)))

    def loop(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        """The numbers of what a loop or a branch makes of values of these numbers."""
        bodies = tuple(map(self.results, node.bodies))
        return self.outputs(node, self.number((node.op.name, bodies, _attrs(node), *inputs)))

    def outputs(self, node: Node, number: int) -> Sequence[int]:
        """The numbers of what a node makes that has this number itself."""
        if self.known is not None and number >= self.known:
            again = " again" if node.origin.role == "recompute" else ""
            raise PlanVerificationError(f"{describe(node)} computes{again} what the step does not")
        return [self.number((number, v.index)) for v in node.outputs]


def check_values(graph: Graph, original: Graph) -> None:
    """Raise `PlanVerificationError` unless `graph` computes what `original` does.

    Every node, recomputed ones included, computes something that a node of the original computes, and each output is
    that of the original. The index checks of the original are all there. It takes time in proportion to the nodes of
    both, or to the iterations of all their loops where these were strip-mined.
    """
    from .unrolled import Unrolled

    try:
        _compare(Numbering(), graph, original)
    except PlanVerificationError:
        if all(not node.op.is_scan for node in original.nodes):
            raise
        _compare(Unrolled(), graph, original)


def _compare(numbering: Numbering, graph: Graph, original: Graph) -> None:
    wanted, checks = numbering.results(original), numbering.checked
    numbering.known, numbering.checked = len(numbering.numbers), set()
    given = numbering.results(graph)
    if graph.aliases != original.aliases or len(given) != len(wanted):
        raise PlanVerificationError("the outputs are not those of the step, or overwrite other inputs")
    for i, (value, number) in enumerate(zip(graph.outputs, given)):
        if number != wanted[i]:
            raise PlanVerificationError(f"output {i}, {describe(value)}, is not what the step makes")
    if not checks <= numbering.checked:
        raise PlanVerificationError("an index is not looked at that may be out of range")


def _check_types(loop: Node) -> None:
    """Checks that a loop's numbers of inputs and steps are those of its body and of what it reads."""
    try:
        made = loop.op.infer(*(v.type for v in loop.inputs), **loop.attrs)
    except TypeRuleError as error:
        raise PlanVerificationError(f"{describe(loop)}: {error}") from None
    if made != tuple(v.type for v in loop.outputs):
        raise PlanVerificationError(f"{describe(loop)} makes values of other types")


def _attrs(node: Node) -> Any:
    """The attributes that say what a node computes, but for its graphs."""
    found = ((name, value) for name, value in sorted(node.attrs.items()) if name not in _OF_THE_PLAN)
    return tuple((name, attr_term(value)) for name, value in found if not isinstance(value, Graph))


def attr_term(value: Any) -> Any:
    """An attribute as something that is equal where it is."""
    if isinstance(value, tuple):
        return tuple(map(attr_term, cast("tuple[Any, ...]", value)))
    if isinstance(value, np.ndarray):
        array = cast(Array, value)
        return array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, (np.generic, bool)):
        return str(np.asarray(value).dtype), np.asarray(value).tobytes()
    if isinstance(value, float):
        return value.hex()
    return value
