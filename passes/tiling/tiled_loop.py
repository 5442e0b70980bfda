"""Tiled loops: nodes of a graph, or the whole graph in phases, as a `scan` over tiles of an axis of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import indexing
from ...ir.ops.movement import slice_along
from ...ir.types import INT64
from ..graph.dead_code import without_dead_code
from ..graph.scan import Scan, emit_scan, step_type
from ..graph.topological_order import topological_order
from .tiled_axis import Axis, LoopBody, in_tiles, joined


@dataclass
class RowLoop:
    """Nodes that become a loop over the `length` rows of their wide values, `tile` rows in each iteration. The rest,
    rows behind the last whole tile, runs outside the loop, as one smaller tile.

    Values of `size` elements or more are wide. Element-wise values from outside that are `recomputable` are recomputed
    tile by tile, and so are the nodes of another loop that are `recomputed`. Sums over the rows that only one addition
    reads begin as its other operand: `added_to` has that addition. The `scans` go over the rows themselves, all in one
    direction, and are strip-mined.
    """

    length: int
    tile: int
    size: int
    axes: dict[Value, Axis]
    recomputable: Callable[[Value], bool]
    nodes: dict[Node, None] = field(default_factory=dict["Node", None])
    recomputed: dict[Node, None] = field(default_factory=dict["Node", None])
    added_to: dict[Node, Node] = field(default_factory=dict["Node", "Node"])
    scans: frozenset[Node] = frozenset()

    @property
    def reverse(self) -> bool:
        """Whether the last rows come first."""
        return any(node.attrs["reverse"] for node in self.scans)

    @property
    def cut(self) -> tuple[int, int]:
        """The length and the tile: loops of which these agree have the same tiles."""
        return self.length, self.tile


def with_loops(graph: Graph, loops: Sequence[RowLoop]) -> Graph:
    """The graph with these loops in the place of their nodes, or as it is where two loops would need each other."""
    units = [_TiledLoop(loop) for loop in loops]
    unit_of: dict[Node, Node | _TiledLoop] = {node: node for node in graph.nodes}
    for unit in units:
        unit_of.update(dict.fromkeys((*unit.loop.nodes, *unit.loop.added_to.values()), unit))
    also: dict[Node | _TiledLoop, list[Value]] = {unit: unit.read() for unit in units}
    try:
        order = topological_order(graph, unit_of, also)
    except ValueError:
        return graph
    made = _NewGraph(graph, units, unit_of)
    b = made.b
    for unit in order:
        if not isinstance(unit, Node):
            unit.emit(made)
        elif not made.whole.isdisjoint(unit.outputs):
            made.new.update(zip(unit.outputs, b.copy(unit, [made.new[v] for v in unit.inputs]).outputs))
    outputs = [made.new[v] for v in graph.outputs]
    return without_dead_code(b.graph(outputs, graph.aliases, graph.output_names))


class _NewGraph:
    """The new graph while it is built: `new` has what stands for a value of the old one, `numbers` the numbers of tiles
    by how many tiles there are.

    `whole` are values that stand in one piece. Values of which only loops with the same tiles read their own tiles are
    `sliced`: where these loops have a rest, `parts` has the rows of the whole tiles and those of the rest, and the two
    are never concatenated.
    """

    def __init__(self, graph: Graph, units: Sequence[_TiledLoop], unit_of: Mapping[Node, Node | _TiledLoop]) -> None:
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


class _TiledLoop:
    """A loop with its body, and the number of whole tiles and of rows of the rest."""

    def __init__(self, loop: RowLoop) -> None:
        self.loop = loop
        inside = {v for node in (*loop.nodes, *loop.recomputed) for v in node.outputs}
        self.axes = {v: place for v, place in loop.axes.items() if v in inside}
        self.tiles, self.rest = divmod(loop.length, loop.tile)
        self.body = self._filled(LoopBody(self.axes, loop.length, loop.tile, loop.recomputable))

    def _filled(self, body: LoopBody) -> LoopBody:
        """The body, with the nodes of the loop in it."""
        loop = self.loop
        forward = all(node.origin.role == "forward" for node in loop.nodes)
        for node in (*loop.recomputed, *loop.nodes):
            if node in loop.scans:
                body.continue_scan(node)
                continue
            if node.outputs[0] not in self.axes:
                body.add(node)
                continue
            body.compute(node)
            made = body.local[node.outputs[0]].node
            # A forward's node in a backward's loop runs a second time: no later pass may take it for the first.
            if node in loop.recomputed and made is not None and not forward:
                made.origin = made.origin.with_role("recompute")
        return body

    def read(self) -> list[Value]:
        """The values that the loop reads."""
        return [*self.read_whole(), *(v for _, v, _ in self.body.slices)]

    def read_whole(self) -> list[Value]:
        """The values that the loop reads whole."""
        starts = [v for s in self.body.sums if (v := self.start(s)) is not None]
        return [*starts, *(v for _, v in self.body.consts)]

    def start(self, value: Value) -> Value | None:
        """What a sum or a carry begins as; None where that is zero."""
        node = value.node
        assert node is not None
        if node in self.loop.scans:
            return Scan(node).carries[value.index]
        if node in self.loop.added_to:
            first, second = self.loop.added_to[node].inputs
            return second if first is value else first
        return node.inputs[0] if node.op is indexing.scatter_add else None

    def emit(self, made: _NewGraph) -> None:
        """Append the `scan` and the rest to the new graph."""
        loop, b, new = self.loop, made.b, made.new
        read = made.whole | made.sliced
        leaving = [v for node in loop.nodes for v in node.outputs if v in self.axes and v in read]
        b.origin = next(iter(loop.scans or loop.nodes)).origin
        sums = [b.full(0, v.type) if (start := self.start(v)) is None else new[start] for v in self.body.sums]
        stacks: list[Value] = []
        left: list[Value] = []
        # A carry goes from the rest to the tiles, or from the tiles to the rest: the rest are the last rows.
        if self.rest and loop.reverse:
            sums, left = self.emit_rest(made, sums, leaving)
        sums, stacks = self.emit_loop(made, sums, leaving)
        if self.rest and not loop.reverse:
            sums, left = self.emit_rest(made, sums, leaving)
        for value, total in zip(self.body.sums, sums):
            assert value.node is not None
            new[loop.added_to[value.node].output if value.node in loop.added_to else value] = total
        for value, *parts in zip(leaving, stacks, *([left] if left else [])):
            if len(parts) == 1:
                new[value] = parts[0]
            elif value in made.whole:
                new[value] = b.emit(OPS["concatenate"], *parts, axis=self.axes[value].axis)
            else:
                made.parts[value] = (parts[0], parts[1])

    def emit_loop(self, made: _NewGraph, sums: list[Value], leaving: list[Value]) -> tuple[list[Value], list[Value]]:
        """The `scan` over the whole tiles: the sums, and the values that are leaving it."""
        body, rows = self.body, self.tiles * self.loop.tile
        slices = [made.rows(v, place, 0, rows) for _, v, place in body.slices]
        consts = [made.new[v] for _, v in body.consts]
        number = made.number(self.tiles) if body.number is not None else None
        return emit_tiles(made.b, body, leaving, consts, sums, slices, number, (self.tiles,), self.loop.reverse)

    def emit_rest(self, made: _NewGraph, sums: list[Value], leaving: list[Value]) -> tuple[list[Value], list[Value]]:
        """The rows of the rest: the sums, and the values that are leaving."""
        loop = self.loop
        first = loop.length - self.rest
        body = self._filled(LoopBody(self.axes, loop.length, self.rest, loop.recomputable, first))
        consts = [made.new[v] for _, v in body.consts]
        slices = [made.rows(v, place, first, loop.length) for _, v, place in body.slices]
        results = made.b.inline(body.graph(leaving), [*consts, *sums, *slices])
        return list(results[: len(sums)]), list(results[len(sums) :])


# ---- loops over tiles of a whole graph


@dataclass
class TilePhase:
    """What runs `whole`, in order, and then what runs in a loop over tiles: `nodes` whose values have the axis, nodes
    of `sums` over it, each with the value of the graph that its sum becomes, a sum of several perhaps. Values that are
    `leaving` are read outside. Without `nodes` and `sums` there is no loop.
    """

    whole: list[Node]
    nodes: set[Node] = field(default_factory=set["Node"])
    sums: dict[Node, Value] = field(default_factory=dict["Node", "Value"])
    leaving: list[Value] = field(default_factory=list["Value"])


def with_phases(
    graph: Graph,
    axes: Mapping[Value, Axis],
    phases: Sequence[TilePhase],
    cut: tuple[int, int],
    recomputable: Callable[[Value], bool] = lambda value: True,
    parallel: int = 1,
) -> Graph:
    """The graph as `phases`, one after the other. `cut` has the entries of the axis and those of a tile. The tiles are
    shared by so many `parallel` iterations, each with sums of its own, which are added at the end, in their order.
    """
    b = Builder()
    new = {v: b.input(v.type, v.name) for v in graph.inputs}
    last = graph.outputs[-1].node
    for phase in phases:
        for node in phase.whole:
            # What adds up sums that a loop adds up has no parts to read.
            if new.keys() >= set(node.inputs):
                new.update(zip(node.outputs, b.copy(node, [new[v] for v in node.inputs]).outputs))
        if not phase.sums and not phase.leaving:
            continue
        body = LoopBody(axes, *cut, recomputable)
        for node in graph.nodes:
            if node in phase.nodes:
                body.compute(node)
            elif node in phase.sums:
                body.add(node, phase.sums[node])
        b.origin = last.origin if last is not None else b.origin
        tiles = cut[0] // cut[1]
        consts, slices = [new[v] for _, v in body.consts], [new[v] for _, v, _ in body.slices]
        number = b.emit(OPS["iota"], shape=(tiles,), axis=0, dtype=INT64) if body.number is not None else None
        counts = (tiles,) if parallel == 1 else (parallel, tiles // parallel)
        sums, left = emit_tiles(b, body, phase.leaving, consts, None, slices, number, counts)
        new.update(zip((*body.sums, *phase.leaving), (*sums, *left)))
        for node, total in phase.sums.items():
            if node.op is indexing.scatter_add:
                # The parts were added to zeros.
                with b.at(node.origin):
                    new[total] = ew.add(b, new[node.inputs[0]], new[total])
    return b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names)


# ---- the scan


def emit_tiles(
    b: Builder,
    body: LoopBody,
    leaving: Sequence[Value],
    consts: Sequence[Value],
    starts: Sequence[Value] | None,
    slices: Sequence[Value],
    number: Value | None,
    counts: tuple[int, ...],
    reverse: bool = False,
) -> tuple[list[Value], list[Value]]:
    """Append the loop of a body over its tiles: `counts` are how many, or (parallel iterations, tiles of each). What
    the body reads is given whole; sums begin as `starts`, or as zeros. Returns the sums, and what is `leaving`, whole.
    """
    step, types = body.graph(leaving), [v.type for v in body.sums]
    xs = [in_tiles(b, x, place, counts) for x, (_, _, place) in zip(slices, body.slices)]
    if number is not None:
        xs.append(number if len(counts) == 1 else b.emit(OPS["reshape"], number, shape=counts))
    if len(counts) == 1:
        starts = [b.full(0, t) for t in types] if starts is None else starts
        results = emit_scan(b, step, consts, starts, xs, counts[0], reverse).outputs
    else:
        outer = Builder(b.origin)
        given, parts = [outer.input(v.type) for v in consts], [outer.input(step_type(v)) for v in xs]
        inner = emit_scan(outer, step, given, [outer.full(0, t) for t in types], parts, counts[1])
        results = emit_scan(b, outer.graph(inner.outputs), consts, [], xs, counts[0]).outputs
    sums = list(results[: len(types)])
    stacks = list(results[len(types) :])
    if len(counts) > 1:
        sums = [_added(b, total, of) for total, of in zip(sums, body.sums)]
        stacks = [b.emit(OPS["reshape"], y, shape=(math.prod(counts), *y.type.shape[2:])) for y in stacks]
    return sums, [joined(b, y, body.axes[v]) for v, y in zip(leaving, stacks)]


def _added(b: Builder, stack: Value, of: Value) -> Value:
    """What parallel iterations have summed up, added one after the other."""
    shape = stack.type.shape
    with b.at(of.node.origin if of.node is not None else b.origin):
        parts = (b.emit(OPS["slice"], stack, **slice_along(shape, 0, i, i + 1)) for i in range(shape[0]))
        return reduce(lambda x, y: ew.add(b, x, y), (b.emit(OPS["reshape"], p, shape=shape[1:]) for p in parts))
