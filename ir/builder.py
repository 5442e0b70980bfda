"""Building graphs node by node."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from .graph import NOWHERE, Graph, Node, Origin, Value
from .op import OPS, Op, TypeRuleError
from .types import Array, ArrayType, has_one_value


class Builder:
    """Collects inputs and nodes; `origin` is stamped on every node that is emitted."""

    def __init__(self, origin: Origin = NOWHERE) -> None:
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.origin = origin

    @contextmanager
    def at(self, origin: Origin) -> Generator[None]:
        """Stamp `origin` on the nodes emitted inside the block."""
        before = self.origin
        self.origin = origin
        try:
            yield
        finally:
            self.origin = before

    def input(self, type: ArrayType, name: str = "") -> Value:
        """A new graph input."""
        value = Value(type, name=name)
        self.inputs.append(value)
        return value

    def emit_node(self, op: Op, *inputs: Value, **attrs: Any) -> Node:
        """Append a node. Raises `TypeRuleError` where the inputs do not fit the op."""
        try:
            inferred = op.infer(*(v.type for v in inputs), **attrs)
        except TypeRuleError as error:
            raise TypeRuleError(f"{op.name}: {error}") from None
        node = Node(op, inputs, attrs, (inferred,) if isinstance(inferred, ArrayType) else inferred, self.origin)
        self.nodes.append(node)
        return node

    def emit(self, op: Op, *inputs: Value, **attrs: Any) -> Value:
        """Append a node with one output and return that."""
        return self.emit_node(op, *inputs, **attrs).output

    def copy(self, node: Node, inputs: Sequence[Value], origin: Origin | None = None) -> Node:
        """Append a copy of `node` that reads `inputs`, which have the types of the originals."""
        outputs = node.outputs
        types = (outputs[0].type,) if len(outputs) == 1 else [v.type for v in outputs]
        copied = Node(node.op, inputs, node.attrs, types, origin or node.origin)
        self.nodes.append(copied)
        return copied

    def full(self, value: float | int | bool | complex, type: ArrayType) -> Value:
        """An array of `type` filled with `value`."""
        return self.emit(OPS["full"], value=type.dtype.type(value).item(), shape=type.shape, dtype=type.dtype)

    def full_like(self, like: Value, value: float | int | bool) -> Value:
        """An array of the type of `like` filled with `value`."""
        return self.full(value, like.type)

    def constant(self, array: Array) -> Value:
        """A constant array; one that holds a single value throughout is a `full`."""
        if has_one_value(array):
            return self.full(array.flat[0].item(), ArrayType(tuple(array.shape), array.dtype))
        return self.emit(OPS["constant"], value=array)

    def inline(self, graph: Graph, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Append all nodes of `graph` with its inputs replaced, and return its outputs."""
        mapping: dict[Value, Value] = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            copied = self.copy(node, [mapping[v] for v in node.inputs])
            mapping.update(zip(node.outputs, copied.outputs))
        return tuple(mapping[v] for v in graph.outputs)

    def graph(
        self, outputs: Sequence[Value], aliases: dict[int, int] | None = None, output_names: Sequence[str] | None = None
    ) -> Graph:
        """The finished graph."""
        return Graph(self.inputs, self.nodes, outputs, aliases, output_names)
