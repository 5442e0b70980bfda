"""Loops with less in them: what is the same in every step leaves the carries, the sequences and the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value

Emit = Callable[[Builder, Node, list[Value]], list[Value]]


def fill_value(value: Value) -> float | int | bool | None:
    """The number that fills the whole array, where it is a `full`."""
    return value.node.attrs["value"] if value.node is not None and value.node.op.name == "full" else None


def last_carry(stack: Value, attrs: Mapping[str, Any]) -> Value | None:
    """The final carry, where a `slice` takes the last step of a `stack` of the carries of all steps."""
    node = stack.node
    if node is None or node.op.name != "scan":
        return None
    body: Graph = node.attrs["body"]
    carries: int = node.attrs["carries"]
    last = 0 if node.attrs["reverse"] else node.attrs["length"] - 1
    taken = range(attrs["start"][0], attrs["stop"][0], attrs["step"][0])
    if stack.index < carries or list(taken[:2]) != [last]:
        return None
    places = [k for k in range(carries) if body.outputs[k] is body.outputs[stack.index]]
    return node.outputs[places[0]] if places else None


def simpler_scan(
    b: Builder, node: Node, inputs: list[Value], simplify: Callable[[Graph], Graph], emit: Emit
) -> list[Value]:
    """The outputs of a loop over a simpler body; `emit` appends the node that is left.

    no steps -> the carries            one step -> the body                  carry that never changes -> const
    x, const or y = full -> full       x = broadcast along the steps -> const    two of the same -> one
    y = x -> the sequence itself       y = const -> broadcast
    """
    body = simplify(node.attrs["body"])
    consts: int = node.attrs["consts"]
    carries: int = node.attrs["carries"]
    length: int = node.attrs["length"]
    if length == 0:
        return [*inputs[consts : consts + carries], *(b.full(0, v.type) for v in node.outputs[carries:])]
    if length == 1:
        return _only_step(b, node, body, inputs)
    loop = _Loop(body, node, inputs)
    changed = loop.graph()
    body = simplify(changed)
    attrs = {**node.attrs, "body": body, "consts": len(loop.consts), "carries": len(loop.carries)}
    outer = [*loop.consts, *(inputs[consts + k] for k in loop.carries), *loop.xs]
    made = emit(b, Node(node.op, outer, attrs, _types(body, loop, length), node.origin), outer)
    carried = dict(zip(loop.carries, made))
    results: list[Value] = []
    for i, value in enumerate(node.outputs):
        if i < carries:
            results.append(carried.get(i, inputs[consts + i]))
        else:
            results.append(_stack(b, loop, body, made, loop.places[i], value.type))
    return results


def _types(body: Graph, loop: _Loop, length: int) -> list[ArrayType]:
    outputs = [v.type for v in body.outputs]
    count = len(loop.carries)
    return [*outputs[:count], *(ArrayType((length, *t.shape), t.dtype) for t in outputs[count:])]


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


def _only_step(b: Builder, node: Node, body: Graph, inputs: list[Value]) -> list[Value]:
    consts: int = node.attrs["consts"]
    carries: int = node.attrs["carries"]
    given = list(inputs[: consts + carries])
    given += (b.emit(OPS["reshape"], x, shape=x.type.shape[1:]) for x in inputs[consts + carries :])
    mapping = dict(zip(body.inputs, given))
    again = node.origin.role == "recompute"
    for inner in body.nodes:
        origin = replace(inner.origin, role="recompute") if again else inner.origin
        mapping.update(zip(inner.outputs, b.copy(inner, [mapping[v] for v in inner.inputs], origin).outputs))
    results = [mapping[v] for v in body.outputs]
    stacks = (b.emit(OPS["reshape"], y, shape=(1, *y.type.shape)) for y in results[carries:])
    return [*results[:carries], *stacks]


class _Loop:
    """The inputs that are left of a loop, outside and in its body: `carries` by their old places."""

    def __init__(self, body: Graph, node: Node, inputs: list[Value]) -> None:
        self.body = body
        self.b = Builder(node.origin)
        self.consts: dict[Value, Value] = {}
        self.carries: dict[int, Value] = {}
        self.xs: list[Value] = []
        self.places: dict[int, int] = {}
        self.mapping: dict[Value, Value] = {}
        consts: int = node.attrs["consts"]
        carries: int = node.attrs["carries"]
        sequences: dict[Value, Value] = {}
        for i, (outer, inner) in enumerate(zip(inputs, body.inputs)):
            filled = fill_value(outer)
            fixed = consts <= i < consts + carries and body.outputs[i - consts] is inner
            if i < consts or fixed:
                self.mapping[inner] = self._const(outer, inner) if filled is None else self.b.full(filled, inner.type)
            elif i < consts + carries:
                self.mapping[inner] = self.carries[i - consts] = Value(inner.type, name=inner.name)
            elif filled is not None:
                self.mapping[inner] = self.b.full(filled, inner.type)
            elif (same := _same_in_every_step(outer)) is not None:
                part = self._const(same.inputs[0], inner)
                axes = tuple(a - 1 for a in same.attrs["axes"])
                self.mapping[inner] = self.b.emit(OPS["broadcast"], part, shape=inner.type.shape, axes=axes)
            else:
                if outer not in sequences:
                    sequences[outer] = Value(inner.type, name=inner.name)
                self.mapping[inner] = sequences[outer]
        self.xs = list(sequences)
        self._inputs = [*self.consts.values(), *self.carries.values(), *sequences.values()]
        self._results = carries

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


def _same_in_every_step(x: Value) -> Node | None:
    """The node that broadcasts along the steps, if that is what makes the sequence."""
    node = x.node
    return node if node is not None and node.op.name == "broadcast" and 0 not in node.attrs["axes"] else None
