"""A graph of which some lengths follow from the batch: found by tracing a function for several batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....ir import DType, Graph, Node, Op, Origin, Value


@dataclass(frozen=True)
class Length:
    """`times` as many as the batch has entries, and `plus` more."""

    times: int
    plus: int


Dim = int | Length


class DiffersError(ValueError):
    """Graphs are not the same program for batches of several sizes."""


@dataclass(eq=False)
class SymbolicValue:
    """An array of a symbolic graph."""

    shape: tuple[Dim, ...]
    dtype: DType
    name: str = ""
    node: SymbolicNode | None = None

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


@dataclass(eq=False)
class SymbolicNode:
    """One application of an op. Numbers among the attributes may be lengths."""

    op: Op
    inputs: tuple[SymbolicValue, ...]
    attrs: Mapping[str, Any]
    origin: Origin
    outputs: tuple[SymbolicValue, ...] = field(default=())

    @property
    def output(self) -> SymbolicValue:
        """The only output of a node that has one."""
        (value,) = self.outputs
        return value


@dataclass(eq=False)
class SymbolicGraph:
    """Inputs, nodes in order, and outputs."""

    inputs: tuple[SymbolicValue, ...]
    nodes: tuple[SymbolicNode, ...]
    outputs: tuple[SymbolicValue, ...]


def merged(graphs: Sequence[Graph], sizes: Sequence[int]) -> SymbolicGraph:
    """The graph that all are, each for a batch of its size; of one graph all lengths are numbers.

    Raises `DiffersError` where they are not the same program.
    """
    return _Merge(sizes).graph(*graphs)


class _Merge:
    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.others: dict[Value, tuple[Value, ...]] = {}
        """For values of the first graph, those that they are in the others."""
        self.values: dict[Value, SymbolicValue] = {}

    def graph(self, first: Graph, *rest: Graph) -> SymbolicGraph:
        for parts in zip(_parts(first), *map(_parts, rest)):
            _same(*map(len, parts))
        inputs = tuple(self._value(*each) for each in zip(first.inputs, *(graph.inputs for graph in rest)))
        nodes = tuple(self._node(*each) for each in zip(first.nodes, *(graph.nodes for graph in rest)))
        for value, *others in zip(first.outputs, *(graph.outputs for graph in rest)):
            _same(self.others[value], tuple(others))
        return SymbolicGraph(inputs, nodes, tuple(self.values[v] for v in first.outputs))

    def _value(self, first: Value, *rest: Value) -> SymbolicValue:
        _same(*((v.type.dtype, v.type.ndim) for v in (first, *rest)))
        self.others[first] = rest
        shape = tuple(self._number(*lengths) for lengths in zip(first.type.shape, *(v.type.shape for v in rest)))
        self.values[first] = SymbolicValue(shape, first.type.dtype, first.name)
        return self.values[first]

    def _node(self, first: Node, *rest: Node) -> SymbolicNode:
        _same(*((node.op, tuple(node.attrs)) for node in (first, *rest)))
        for i, other in enumerate(rest):
            _same([self.others[v][i] for v in first.inputs], list(other.inputs))
        attrs = {
            name: self._attribute(value, *(other.attrs[name] for other in rest)) for name, value in first.attrs.items()
        }
        node = SymbolicNode(first.op, tuple(self.values[v] for v in first.inputs), attrs, first.origin)
        node.outputs = tuple(self._value(*each) for each in zip(first.outputs, *(other.outputs for other in rest)))
        for value in node.outputs:
            value.node = node
        return node

    def _attribute(self, first: Any, *rest: Any) -> Any:
        if isinstance(first, Graph):
            return _Merge(self.sizes).graph(first, *rest)
        if isinstance(first, np.ndarray):
            _same(*((array.shape, array.dtype, array.tobytes()) for array in (first, *rest) if rest))
            return first
        if isinstance(first, tuple):
            _same(*map(len, (first, *rest)))
            return tuple(self._attribute(*parts) for parts in zip(first, *rest))
        if type(first) is int:
            return self._number(first, *rest)
        _same(*map(repr, (first, *rest)))  # so that NaN is the same as NaN
        return first

    def _number(self, *numbers: int) -> Dim:
        """A number of all graphs: the same, or one that grows with the batch."""
        if len(set(numbers)) == 1:
            return numbers[0]
        times, rest = divmod(numbers[1] - numbers[0], self.sizes[1] - self.sizes[0])
        length = Length(times, numbers[0] - times * self.sizes[0])
        if rest or times < 1 or any(times * size + length.plus != n for n, size in zip(numbers, self.sizes)):
            raise DiffersError(f"{numbers} for batches of {self.sizes}")
        return length


def _parts(graph: Graph) -> tuple[Sequence[Any], ...]:
    return graph.inputs, graph.nodes, graph.outputs


def _same(first: Any = None, *rest: Any) -> None:
    """Raise `DiffersError` where one differs from the first."""
    for other in rest:
        if other != first:
            raise DiffersError(f"{first} and {other}")
