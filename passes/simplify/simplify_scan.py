"""Simpler loops: invariants leave the carries, the xs and the ys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import creation, movement
from ..graph.scan import Scan, emit_only_step

Emit = Callable[[Builder, Node, list[Value]], list[Value]]


def fill_value(value: Value) -> float | int | bool | None:
    """The number that fills the whole array, where it is a `full`."""
    return value.node.attrs["value"] if value.node is not None and value.node.op is creation.full else None


def last_carry(stack: Value, attrs: Mapping[str, Any]) -> Value | None:
    """The final carry, where a `slice` takes the last iteration of a `stack` of carries."""
    if stack.node is None or not stack.node.op.is_scan:
        return None
    scan = Scan(stack.node)
    last = 0 if scan.reverse else scan.length - 1
    taken = range(attrs["start"][0], attrs["stop"][0], attrs["step"][0])
    if stack in scan.last_carries or list(taken[:2]) != [last]:
        return None
    made = scan.body.outputs[stack.index]
    return next((end for end, carry in zip(scan.last_carries, scan.new_carries) if carry is made), None)


def simpler_scan(
    b: Builder, node: Node, inputs: list[Value], simplify: Callable[[Graph], Graph], emit: Emit
) -> list[Value]:
    """The outputs of a loop over a simpler body; `emit` appends the node that is left.

    no iterations -> the carries       one iteration -> the body             carry that never changes -> const
    x, const or y = full -> full       x = broadcast over iterations -> const    two equal xs or ys -> one
    y = x -> the xs themselves         y = const -> broadcast
    """
    body = simplify(node.attrs["body"])
    scan = Scan(node, inputs)
    if scan.length == 0:
        return [*scan.carries, *(b.full(0, v.type) for v in scan.ys)]
    if scan.length == 1:
        return emit_only_step(b, body, scan.consts, scan.carries, scan.xs)
    loop = _Loop(body, scan)
    body = simplify(loop.graph())
    changed = scan.emit(Builder(node.origin), body, list(loop.consts), loop.starts, loop.xs)
    made = emit(b, changed, list(changed.inputs))
    carried = dict(zip(loop.carries, made))
    ends = [carried.get(k, start) for k, start in enumerate(scan.carries)]
    return [*ends, *(_stack(b, loop, body, made, loop.places[v.index], v.type) for v in scan.ys)]


def _stack(b: Builder, loop: _Loop, body: Graph, made: list[Value], place: int, type: ArrayType) -> Value:
    """Result `place` of the loop, without it where it is known outside."""
    value = body.outputs[place]
    filled = fill_value(value)
    if filled is not None:
        return b.full(filled, type)
    if value in body.inputs:
        i = body.inputs.index(value)
        first_x = len(loop.consts) + len(loop.carries)
        if i >= first_x:
            return loop.xs[i - first_x]
        if i < len(loop.consts):
            return b.emit(OPS["broadcast"], list(loop.consts)[i], shape=type.shape, axes=tuple(range(1, type.ndim)))
    return made[place]


class _Loop:
    """The inputs that are left of a loop, outside and in its body: `carries` by their old places."""

    def __init__(self, body: Graph, scan: Scan) -> None:
        self.body = body
        self.b = Builder(scan.node.origin)
        self.consts: dict[Value, Value] = {}
        self.carries: dict[int, Value] = {}
        self.xs: list[Value] = []
        self.places: dict[int, int] = {}
        self.mapping: dict[Value, Value] = {}
        consts, carries, xs = scan.split(body.inputs)
        for outer, inner in zip(scan.consts, consts):
            self.mapping[inner] = self._same(outer, inner)
        for k, (start, inner) in enumerate(zip(scan.carries, carries)):
            if body.outputs[k] is inner:
                self.mapping[inner] = self._same(start, inner)
            else:
                self.mapping[inner] = self.carries[k] = Value(inner.type, name=inner.name)
        self.starts = [scan.carries[k] for k in self.carries]
        sequences: dict[Value, Value] = {}
        for outer, inner in zip(scan.xs, xs):
            filled = fill_value(outer)
            if filled is not None:
                self.mapping[inner] = self.b.full(filled, inner.type)
            elif (same := _broadcast_over_steps(outer)) is not None:
                part = self._const(same.inputs[0], inner)
                axes = tuple(a - 1 for a in same.attrs["axes"])
                self.mapping[inner] = self.b.emit(OPS["broadcast"], part, shape=inner.type.shape, axes=axes)
            else:
                if outer not in sequences:
                    sequences[outer] = Value(inner.type, name=inner.name)
                self.mapping[inner] = sequences[outer]
        self.xs = list(sequences)
        self._inputs = [*self.consts.values(), *self.carries.values(), *sequences.values()]
        self._results = scan.carry_count

    def _same(self, outer: Value, inner: Value) -> Value:
        filled = fill_value(outer)
        return self._const(outer, inner) if filled is None else self.b.full(filled, inner.type)

    def _const(self, outer: Value, inner: Value) -> Value:
        if outer not in self.consts:
            self.consts[outer] = Value(outer.type, name=inner.name)
        return self.consts[outer]

    def graph(self) -> Graph:
        """The body; two results that are the same are one."""
        mapping = self.mapping
        for node in self.body.nodes:
            mapping.update(zip(node.outputs, self.b.copy(node, [mapping[v] for v in node.inputs]).outputs))
        outputs = [mapping[self.body.outputs[k]] for k in self.carries]
        count = len(outputs)
        for i in range(self._results, len(self.body.outputs)):
            value = mapping[self.body.outputs[i]]
            if value not in outputs[count:]:
                outputs.append(value)
            self.places[i] = outputs.index(value, count)
        return Graph(self._inputs, self.b.nodes, outputs)


def _broadcast_over_steps(x: Value) -> Node | None:
    """The node that broadcasts along the steps, if that is what makes the sequence."""
    node = x.node
    return node if node is not None and node.op is movement.broadcast and 0 not in node.attrs["axes"] else None
