"""A typed view of `scan` nodes: the parts of a loop by name, and the ways in which passes write a loop anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ...ir import NOWHERE, OPS, ArrayType, Builder, Graph, Node, Origin, Value

T = TypeVar("T")


class Scan:
    """The parts of a `scan` node:

        (last_carries..., ys...) = scan(consts..., carries..., xs...)                      the node in its graph
        (new_carries..., step_ys...) = body(body_consts..., body_carries..., body_xs...)   one step of it

    `consts` are the same in every step, `carries` are what the first step begins with, of `xs`, sequences, step t reads
    element t, and `ys` are stacks of what the steps make. `inputs` stand for what the node reads: its own inputs, or in
    a rewrite those of the new graph.
    """

    def __init__(self, node: Node, inputs: Sequence[Value] | None = None) -> None:
        assert node.op.is_scan, node
        attrs = node.attrs
        self.node = node
        self.inputs = tuple(node.inputs if inputs is None else inputs)
        self.body: Graph = attrs["body"]
        self.length: int = attrs["length"]
        self.reverse: bool = attrs["reverse"]
        self.first_carry: int = attrs["consts"]
        """The place of the first carry among the inputs, and the number of consts."""
        self.carry_count: int = attrs["carries"]
        """The number of carries, and the place of the first stack among the outputs."""
        self.first_x: int = self.first_carry + self.carry_count
        """The place of the first sequence among the inputs."""
        self.consts, self.carries, self.xs = self.split(self.inputs)
        self.body_consts, self.body_carries, self.body_xs = self.split(self.body.inputs)
        self.last_carries, self.ys = node.outputs[: self.carry_count], node.outputs[self.carry_count :]
        self.new_carries, self.step_ys = self.body.outputs[: self.carry_count], self.body.outputs[self.carry_count :]

    def split(self, row: Sequence[T]) -> tuple[Sequence[T], Sequence[T], Sequence[T]]:
        """Of a row with an entry for each input those of the consts, of the carries and of the sequences."""
        return row[: self.first_carry], row[self.first_carry : self.first_x], row[self.first_x :]

    def invariants(self) -> set[Value]:
        """The values of the body that are the same in every step (loop invariants)."""
        return invariant_values(self.body_consts, self.body.nodes)

    def emit(
        self,
        b: Builder,
        body: Graph | None = None,
        consts: Sequence[Value] | None = None,
        carries: Sequence[Value] | None = None,
        xs: Sequence[Value] | None = None,
        **attrs: Any,
    ) -> Node:
        """Append to `b` this loop with another body, other inputs or attributes; what is not given stays."""
        consts = self.consts if consts is None else consts
        carries = self.carries if carries is None else carries
        xs = self.xs if xs is None else xs
        counts = {"consts": len(consts), "carries": len(carries)}
        changed = {**self.node.attrs, "body": self.body if body is None else body, **counts, **attrs}
        return b.emit_node(self.node.op, *consts, *carries, *xs, **changed)


def emit_scan(
    b: Builder,
    body: Graph,
    consts: Sequence[Value],
    carries: Sequence[Value],
    xs: Sequence[Value],
    length: int,
    reverse: bool = False,
) -> Node:
    """Append a loop to `b`."""
    counts = {"consts": len(consts), "carries": len(carries), "length": length, "reverse": reverse}
    return b.emit_node(OPS["scan"], *consts, *carries, *xs, body=body, **counts)


def emit_only_step(
    b: Builder, body: Graph, consts: Sequence[Value], carries: Sequence[Value], xs: Sequence[Value]
) -> list[Value]:
    """The outputs of a loop of one step, without a loop; where `b` is at what is recomputed, so is all of the body."""
    inputs = [*consts, *carries, *(b.emit(OPS["reshape"], x, shape=x.type.shape[1:]) for x in xs)]
    made = dict(zip(body.inputs, inputs))
    for node in body.nodes:
        origin = node.origin.with_role("recompute") if b.origin.role == "recompute" else node.origin
        made.update(zip(node.outputs, b.copy(node, [made[v] for v in node.inputs], origin).outputs))
    results = [made[v] for v in body.outputs]
    stacks = (b.emit(OPS["reshape"], y, shape=(1, *y.type.shape)) for y in results[len(carries) :])
    return [*results[: len(carries)], *stacks]


def invariant_values(consts: Iterable[Value], nodes: Iterable[Node]) -> set[Value]:
    """`consts`, and what `nodes` make of these alone."""
    found = set(consts)
    for node in nodes:
        if found.issuperset(node.inputs):
            found.update(node.outputs)
    return found


def step_type(sequence: Value) -> ArrayType:
    """The type of one step of a sequence."""
    return ArrayType(sequence.type.shape[1:], sequence.type.dtype)


def body_of(
    inputs: Iterable[Value], nodes: Iterable[Node], outputs: Iterable[Value], origin: Origin = NOWHERE
) -> Graph:
    """The graph of `nodes` that stand in another, with fresh inputs for `inputs`, whoever makes these there."""
    b = Builder(origin)
    mapping = {v: b.input(v.type, v.name) for v in inputs}
    for node in nodes:
        mapping.update(zip(node.outputs, b.copy(node, [mapping[v] for v in node.inputs]).outputs))
    return b.graph([mapping[v] for v in outputs])
