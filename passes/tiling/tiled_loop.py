"""Nodes of a graph as a loop over the rows of their values: the graph with a `scan` in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import indexing
from ...ir.ops.movement import slice_along
from ...ir.types import INT64
from ..graph.dead_code import without_dead_code
from ..graph.scan import Scan, emit_scan
from ..graph.topological_order import topological_order
from .tiled_axis import Axis, LoopBody, in_tiles, joined


@dataclass
class RowLoop:
    """Nodes that become a loop over the `length` rows of their wide values, of which `tile` at a time; rows that are
    left over behind the last whole tile run beside the loop.

    Values of `size` elements or more are wide. Element-wise values from outside that are `remade` are computed in the
    loop, tile by tile. `anew` are nodes of another loop that are computed again. `continued` are sums over the rows
    that are only added to something: by which node. Loops of `over` go through the rows themselves, all in one
    direction.
    """

    length: int
    tile: int
    size: int
    axes: dict[Value, Axis]
    remade: Callable[[Value], bool]
    nodes: dict[Node, None] = field(default_factory=dict["Node", None])
    anew: dict[Node, None] = field(default_factory=dict["Node", None])
    continued: dict[Node, Node] = field(default_factory=dict["Node", "Node"])
    over: frozenset[Node] = frozenset()

    @property
    def reverse(self) -> bool:
        """Whether the last rows come first."""
        return any(node.attrs["reverse"] for node in self.over)

    @property
    def cut(self) -> tuple[int, int]:
        """Loops that are cut alike have the same tiles."""
        return self.length, self.tile


def with_loops(graph: Graph, loops: Sequence[RowLoop]) -> Graph:
    """The graph with these loops, or as it is where they would wait for each other."""
    units = [_Unit(loop) for loop in loops]
    unit_of: dict[Node, Node | _Unit] = {node: node for node in graph.nodes}
    for unit in units:
        unit_of.update(dict.fromkeys((*unit.loop.nodes, *unit.loop.continued.values()), unit))
    also: dict[Node | _Unit, list[Value]] = {unit: unit.read() for unit in units}
    try:
        order = topological_order(graph, unit_of, also)
    except ValueError:
        return graph
    made = _Made(graph, units, unit_of)
    b = made.b
    for unit in order:
        if not isinstance(unit, Node):
            unit.emit(made)
        elif not made.whole.isdisjoint(unit.outputs):
            made.new.update(zip(unit.outputs, b.copy(unit, [made.new[v] for v in unit.inputs]).outputs))
    outputs = [made.new[v] for v in graph.outputs]
    return without_dead_code(b.graph(outputs, graph.aliases, graph.output_names))


class _Made:
    """The new graph while it is made: `new` has what stands for a value of the old one, `numbers` those of the tiles of
    loops by how many there are.

    Of a value that only loops read which are cut alike `parts` has the rows of the whole tiles, and those that are left
    over; what is read `whole`, by others too, they take their rows from.
    """

    def __init__(self, graph: Graph, units: Sequence[_Unit], unit_of: Mapping[Node, Node | _Unit]) -> None:
        self.b = Builder()
        self.new = {v: self.b.input(v.type, v.name) for v in graph.inputs}
        self.parts: dict[Value, tuple[Value, Value]] = {}
        self.numbers: dict[int, Value] = {}
        makers = {v: unit for unit in units for node in unit.loop.nodes for v in node.outputs}
        self.whole = set(graph.outputs)
        self.sliced: set[Value] = set()
        for unit in units:
            self.whole.update(unit.read_whole())
            for _, value, place in unit.body.slices:
                maker = makers.get(value)
                alike = maker is not None and (maker.loop.cut, maker.axes.get(value)) == (unit.loop.cut, place)
                (self.sliced if alike else self.whole).add(value)
        for node in reversed(graph.nodes):
            if unit_of[node] is node and not self.whole.isdisjoint(node.outputs):
                self.whole.update(node.inputs)

    def rows(self, value: Value, place: Axis, first: int, last: int) -> Value:
        """Entries of the axis of an old value."""
        if value in self.parts:
            return self.parts[value][first > 0]
        whole = self.new[value]
        attrs = slice_along(whole.type.shape, place.axis, first * place.inner, last * place.inner)
        return whole if attrs["stop"] == whole.type.shape and not first else self.b.emit(OPS["slice"], whole, **attrs)

    def number(self, tiles: int) -> Value:
        """The numbers of so many tiles."""
        if tiles not in self.numbers:
            self.numbers[tiles] = self.b.emit(OPS["iota"], shape=(tiles,), axis=0, dtype=INT64)
        return self.numbers[tiles]


class _Unit:
    """A loop with its body, and the body for what is left over."""

    def __init__(self, loop: RowLoop) -> None:
        self.loop = loop
        inside = {v for node in (*loop.nodes, *loop.anew) for v in node.outputs}
        self.axes = {v: place for v, place in loop.axes.items() if v in inside}
        self.tiles, self.left = divmod(loop.length, loop.tile)
        self.body = self._filled(LoopBody(self.axes, loop.length, loop.tile, loop.remade))

    def _filled(self, body: LoopBody) -> LoopBody:
        """The body with the nodes of the loop."""
        loop = self.loop
        forward = all(node.origin.role == "forward" for node in loop.nodes)
        for node in (*loop.anew, *loop.nodes):
            if node in loop.over:
                body.go_on(node)
                continue
            if node.outputs[0] not in self.axes:
                body.add(node)
                continue
            body.compute(node)
            made = body.local[node.outputs[0]].node
            if node in loop.anew and made is not None and not forward:
                made.origin = made.origin.with_role("recompute")
        return body

    def read(self) -> list[Value]:
        """What comes in."""
        return [*self.read_whole(), *(v for _, v, _ in self.body.slices)]

    def read_whole(self) -> list[Value]:
        """What comes in as it is."""
        starts = [v for s in self.body.sums if (v := self.start(s)) is not None]
        return [*starts, *(v for _, v in self.body.consts)]

    def start(self, value: Value) -> Value | None:
        """What a sum is added to, or a carry begins with; None where that is nothing."""
        node = value.node
        assert node is not None
        if node in self.loop.over:
            return Scan(node).carries[value.index]
        if node in self.loop.continued:
            first, second = self.loop.continued[node].inputs
            return second if first is value else first
        return node.inputs[0] if node.op is indexing.scatter_add else None

    def emit(self, made: _Made) -> None:
        """The `scan`, and what is left over; what is read outside is entered in `made`."""
        loop, b, new = self.loop, made.b, made.new
        read = made.whole | made.sliced
        leaving = [v for node in loop.nodes for v in node.outputs if v in self.axes and v in read]
        b.origin = next(iter(loop.over or loop.nodes)).origin
        sums = [b.full(0, v.type) if (start := self.start(v)) is None else new[start] for v in self.body.sums]
        stacks: list[Value] = []
        left: list[Value] = []
        if self.left and loop.reverse:
            sums, left = self.emit_left(made, sums, leaving)
        sums, stacks = self.emit_loop(made, sums, leaving)
        if self.left and not loop.reverse:
            sums, left = self.emit_left(made, sums, leaving)
        for value, total in zip(self.body.sums, sums):
            assert value.node is not None
            new[loop.continued[value.node].output if value.node in loop.continued else value] = total
        for value, *parts in zip(leaving, stacks, *([left] if left else [])):
            if len(parts) == 1:
                new[value] = parts[0]
            elif value in made.whole:
                new[value] = b.emit(OPS["concatenate"], *parts, axis=self.axes[value].axis)
            else:
                made.parts[value] = (parts[0], parts[1])

    def emit_loop(self, made: _Made, sums: list[Value], leaving: list[Value]) -> tuple[list[Value], list[Value]]:
        """The `scan` over the whole tiles: the sums, and what is leaving."""
        b, body, rows = made.b, self.body, self.tiles * self.loop.tile
        slices = ((made.rows(v, place, 0, rows), place) for _, v, place in body.slices)
        sequences = [in_tiles(b, x, place, (self.tiles,)) for x, place in slices]
        if body.number is not None:
            sequences.append(made.number(self.tiles))
        consts = [made.new[v] for _, v in body.consts]
        loop = emit_scan(b, body.graph(leaving), consts, sums, sequences, self.tiles, self.loop.reverse)
        results = loop.outputs
        stacks = zip(leaving, results[len(sums) :])
        return list(results[: len(sums)]), [joined(b, stacked, self.axes[v]) for v, stacked in stacks]

    def emit_left(self, made: _Made, sums: list[Value], leaving: list[Value]) -> tuple[list[Value], list[Value]]:
        """The rows that are left over: the sums, and what is leaving."""
        loop = self.loop
        first = loop.length - self.left
        body = self._filled(LoopBody(self.axes, loop.length, self.left, loop.remade, first))
        consts = [made.new[v] for _, v in body.consts]
        slices = [made.rows(v, place, first, loop.length) for _, v, place in body.slices]
        results = made.b.inline(body.graph(leaving), [*consts, *sums, *slices])
        return list(results[: len(sums)]), list(results[len(sums) :])
