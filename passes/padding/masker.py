"""Nodes of a padded program, with what stands in padding kept away from what is real."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import OPS, Array, ArrayType, Builder, DType, Graph, Node, Op, Value, is_float
from ...ir.ops import elementwise as ew
from ...ir.types import BOOL, INT64
from ..graph.structural_key import attr_key
from .axes import Axes, Axis, Size, plain, unified, varies

Outputs = Sequence["tuple[Value, Axes]"]
"""The outputs of a node, each with the layout of its axes."""
Rule = Callable[["Masker", Node, "list[Node]"], Outputs]
"""What a node becomes, from the padded graph's own and those that stand for it in the other graphs."""


class PaddingError(Exception):
    """Padding cannot be told from what is real: `why`, at the user's line `source`."""

    def __init__(self, why: str, source: str = "") -> None:
        super().__init__(f"{why}, at {source}" if source else why)
        self.why = why
        self.source = source


@dataclass(frozen=True)
class Slot:
    """An input of the padded program that depends on the lengths: what it is in each graph, that of the padded one
    first.
    """

    type: ArrayType
    values: tuple[Array, ...]


class Masker:
    """Appends to `b` the nodes of a padded graph so that what is real of each value is what the same program computes
    without padding, in each of the other graphs. The law is kept node by node: a rule of a node may rely on it for
    what the node reads, and must keep it for what it makes. What stands in padding may be anything.

    `rules` are those of ops that look across elements; an op without a rule may only read along axes without padding,
    or those that its output is aligned with.
    """

    def __init__(self, b: Builder, rules: Mapping[Op, Rule]) -> None:
        self.b = b
        self.rules = rules
        self.made: dict[Value, Value] = {}
        self.axes: dict[Value, Axes] = {}
        self.twins: dict[Value, tuple[Value, ...]] = {}
        """What stands for each value of the padded graph in the others."""
        self.slots: dict[Hashable, Slot] = {}
        self.zeros: set[Value] = set()
        """Values of `b` whose padding is all zeros."""
        self.renumbered: set[Value] = set()
        """Values of the padded graph that number places of windows with padding in them: only windows may read them."""
        self._scalars: dict[Hashable, Value] = {}
        self._masks: dict[Hashable, Value] = {}

    # ---- graphs

    def enter(self, value: Value, counterpart: Value, axes: Iterable[Axis], twins: Iterable[Value]) -> None:
        """Let `counterpart` stand for a value of the padded graph. Raises `PaddingError` where it is too short."""
        self.made[value], self.axes[value], self.twins[value] = counterpart, tuple(axes), tuple(twins)
        if any(n > size[0] for axis in self.axes[value] for size in axis.factors for n in size):
            raise PaddingError("an array is longer where the batch is shorter", _source(value.node))

    def run(self, graph: Graph, others: Sequence[Graph]) -> None:
        """Append the counterparts of the nodes of a graph, of which the others have as many, see `aligned`."""
        for node, *twins in zip(graph.nodes, *(other.nodes for other in others), strict=True):
            self._add(node, twins)
        for value, *twins in zip(graph.outputs, *(other.outputs for other in others), strict=True):
            if self.twins[value] != tuple(twins) or value in self.renumbered:
                raise PaddingError("the program gives something else for one length than for another")

    def _add(self, node: Node, twins: list[Node]) -> None:
        for k, twin in enumerate(twins):
            if twin.inputs != tuple(self.twins[v][k] for v in node.inputs):
                self.fail(node, "the program reads something else for one length than for another")
            if [_kind(node, v) for v in twin.outputs] != [_kind(node, v) for v in node.outputs]:
                self.fail(node, "an array has other axes, or another dtype, for one length than for another")
        if node.op.family != "window" and not self.renumbered.isdisjoint(node.inputs):
            self.crosses(node, "a place in a window")
        with self.b.at(node.origin):
            if self._is_plain(node, twins):
                copied = self.b.copy(node, [self.made[v] for v in node.inputs])
                outputs = [(v, tuple(plain((n,) * (len(twins) + 1)) for n in v.type.shape)) for v in copied.outputs]
            else:
                default = elementwise if node.op.is_elementwise else aligned
                outputs = self.rules.get(node.op, default)(self, node, twins)
        for i, (value, (counterpart, axes)) in enumerate(zip(node.outputs, outputs, strict=True)):
            assert counterpart.type == value.type, node
            self.enter(value, counterpart, axes, (twin.outputs[i] for twin in twins))

    def _is_plain(self, node: Node, twins: Sequence[Node]) -> bool:
        """Whether a node computes the same for all lengths."""
        if any(axis.is_padded for v in node.inputs for axis in self.axes[v]):
            return False
        if any(v.type != t.type for twin in twins for v, t in zip(node.outputs, twin.outputs)):
            return False
        key = attr_key(node.attrs)
        return all(attr_key(twin.attrs) == key for twin in twins)

    def inside(self, b: Builder) -> Masker:
        """One for a graph inside a node, which is appended to `b`. Its slots are inputs, behind all others."""
        return Masker(b, self.rules)

    def enter_slots(self, inner: Masker) -> tuple[list[Value], list[Value]]:
        """The slots that a graph inside a node reads: what it is given for them, and its inputs."""
        return [self.slot(key, s.type, s.values) for key, s in inner.slots.items()], [*inner._scalars.values()]

    # ---- what rules ask

    def fail(self, node: Node, why: str) -> Any:
        """Raise `PaddingError` for a node."""
        raise PaddingError(why, _source(node))

    def crosses(self, node: Node, what: str = "") -> Any:
        """Raise `PaddingError` for a node that needs what stands in padding."""
        self.fail(node, f"{what or node.op.name} along an axis of another length has no exact form with padding")

    def same(self, node: Node, twins: Sequence[Node], *besides: str) -> None:
        """Raise `PaddingError` unless all attributes are the same in all graphs, `besides` some."""
        wanted = attr_key({k: v for k, v in node.attrs.items() if k not in besides})
        for twin in twins:
            if attr_key({k: v for k, v in twin.attrs.items() if k not in besides}) != wanted:
                self.fail(node, f"{node.op.name} is asked for something else where lengths are others")

    def sizes(self, node: Node, twins: Sequence[Node], output: int = 0) -> list[Size]:
        """The lengths of the axes of an output in all graphs."""
        shapes = [n.outputs[output].type.shape for n in (node, *twins)]
        return [*zip(*shapes, strict=True)]

    def attr(self, node: Node, twins: Sequence[Node], name: str) -> list[Any]:
        """An attribute in all graphs."""
        return [n.attrs[name] for n in (node, *twins)]

    def unify(self, node: Node, axes: Sequence[Axis]) -> Axis:
        """The layout of what is computed place by place. Raises `PaddingError` where padding lies elsewhere."""
        result = unified(axes)
        return (
            result if result is not None else self.fail(node, f"{node.op.name} of arrays that are padded differently")
        )

    def simple(self, node: Node, axis: Axis) -> Axis:
        """The axis itself. Raises `PaddingError` where padding lies between its elements."""
        return plain(axis.size, True) if axis.is_uniform else axis if axis.is_simple else self.crosses(node)

    # ---- what rules emit

    def slot(self, key: Hashable, type: ArrayType, values: Sequence[Array]) -> Value:
        """An input with a value for each graph."""
        if key not in self._scalars:
            self._scalars[key] = self.b.input(type, f"padding.{len(self.slots)}")
            self.slots[key] = Slot(type, tuple(values))
        return self._scalars[key]

    def number(self, size: Size) -> Value:
        """An int64 scalar that is a length, or a place, of each graph."""
        type = ArrayType((), INT64)
        if not varies(size):
            return self.b.full(size[0], type)
        return self.slot(size, type, [np.array(n, np.int64) for n in size])

    def numbers(self, size: Size, shape: tuple[int, ...]) -> Value:
        """The same, in every element of an array."""
        return self.spread(self.number(size), shape)

    def spread(self, scalar: Value, shape: tuple[int, ...]) -> Value:
        """A scalar in every element of an array."""
        return self.b.emit(OPS["broadcast"], scalar, shape=shape, axes=()) if shape else scalar

    def masked(self, x: Value, axes: Sequence[Axis], fill: float | str, among: Iterable[int] | None = None) -> Value:
        """`x` with `fill` in place of padding along all axes, or those `among` them; as for `filling`."""
        places = [i for i in (range(len(axes)) if among is None else among) if axes[i].is_padded]
        if not places or (fill == 0 and x in self.zeros):
            return x
        mask = self.mask(x.type.shape, [(i, axes[i]) for i in places])
        result = ew.select(self.b, mask, x, self.b.full_like(x, filling(x.type.dtype, fill)))
        if fill == 0 and all(i in places or not axis.is_padded for i, axis in enumerate(axes)):
            self.zeros.add(result)
        return result

    def mask(self, shape: tuple[int, ...], padded: Sequence[tuple[int, Axis]]) -> Value:
        """Where all of the axes at some places are real, for an array of `shape`."""
        key = (shape, tuple((i, axis.factors) for i, axis in padded))
        if key not in self._masks:
            parts = [
                self.b.emit(OPS["broadcast"], self._real(axis), shape=shape, axes=(i,))
                if len(shape) > 1
                else self._real(axis)
                for i, axis in padded
            ]
            result = parts[0]
            for part in parts[1:]:
                result = ew.and_(self.b, result, part)
            self._masks[key] = result
        return self._masks[key]

    def _real(self, axis: Axis) -> Value:
        """Which elements along an axis are real."""
        if axis.factors not in self._masks:
            shape = tuple(f[0] for f in axis.factors)
            result: Value | None = None
            for i, factor in enumerate(axis.factors):
                if varies(factor):
                    places = self.b.emit(OPS["iota"], shape=shape, axis=i, dtype=INT64)
                    part = ew.lt(self.b, places, self.numbers(factor, shape))
                    result = part if result is None else ew.and_(self.b, result, part)
            assert result is not None
            if len(shape) > 1:
                result = self.b.emit(OPS["reshape"], result, shape=(axis.size[0],))
            self._masks[axis.factors] = result
        return self._masks[axis.factors]


def filling(dtype: DType, fill: float | str) -> float | int | bool:
    """A number, or the `lowest` or `highest` of a dtype, or `last`: what no element comes behind when it is sorted."""
    if not isinstance(fill, str):
        return fill
    if is_float(dtype):
        return {"lowest": -np.inf, "highest": np.inf, "last": np.nan}[fill]
    if dtype == BOOL:
        return fill != "lowest"
    limits = np.iinfo(dtype)
    return int(limits.min if fill == "lowest" else limits.max)


def aligned(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """What reads along no padded axis but those that its outputs have in the same places. A kernel of a user's, which
    may look up what it reads, finds zeros in padding.
    """
    if node.can_trap:
        return m.crosses(node)
    every = [aligned_axes(m, node, twins, number) for number in range(len(node.outputs))]
    inputs = [m.made[v] if node.op.kernel is None else m.masked(m.made[v], m.axes[v], 0) for v in node.inputs]
    return list(zip(m.b.emit_node(node.op, *inputs, **node.attrs).outputs, every, strict=True))


def aligned_axes(m: Masker, node: Node, twins: list[Node], output: int = 0) -> Axes:
    """The layout of an output. Raises `PaddingError` for what reads along other padded axes."""
    m.same(node, twins)
    if node.graphs:
        return m.crosses(node)
    rows = node.op.axes([v.type for v in node.inputs], node.outputs[output].type, node.attrs)
    given = [m.axes[v] for v in node.inputs]
    for axes, row in zip(given, rows, strict=True):
        if any(axis.is_padded and i not in row for i, axis in enumerate(axes)):
            return m.crosses(node)
    result: list[Axis] = []
    for o, size in enumerate(m.sizes(node, twins, output)):
        places = [(axes, row[o]) for axes, row in zip(given, rows, strict=True)]
        found = [axes[i] for axes, i in places if i is not None]
        axis = m.unify(node, found) if found else plain(size)
        if axis.size != size or (not found and varies(size)):
            return m.crosses(node)
        result.append(axis if len(found) == len(given) else Axis(axis.factors))
    return tuple(result)


def elementwise(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Element by element; what may stop the run reads zeros in padding."""
    m.same(node, twins)
    given = [m.axes[v] for v in node.inputs]
    axes = tuple(m.unify(node, row) for row in zip(*given, strict=True))
    inputs = [m.made[v] for v in node.inputs]
    if node.can_trap:
        inputs = [m.masked(x, a, 0) for x, a in zip(inputs, given, strict=True)]
    return [(m.b.emit(node.op, *inputs, **node.attrs), axes)]


def _kind(node: Node, value: Value) -> tuple[int, DType | None]:
    """What is alike of an output in all graphs; a place in a window is of the smallest dtype that holds it."""
    return value.type.ndim, None if node.op.family == "window" else value.type.dtype


def _source(node: Node | None) -> str:
    return "" if node is None else node.origin.source
