"""The whole step as a loop over tiles of the batch: forward and backward of one tile end before the next begins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir import OPS, ArrayType, Builder, Graph, Node, Value, node_flops
from ..ir.ops import elementwise as ew
from ..ir.types import INT64
from .rewrite import Pass
from .tiling import Axis, LoopBody, Untileable, follow
from .views import VIEW_OPS

_ROWS = 128
"""Rows that the matmuls of a tile should have: with fewer, packing the weights costs more than a tenth."""
_GAIN = 0.75
"""The loop must hold less than this part of what the step holds without it."""


@dataclass(frozen=True)
class TileBatch(Pass):
    """Runs what is aligned with the batch in a `scan` over tiles of the batch, where that holds fewer bytes.

    Every value of the step is *free* of the batch, *aligned* with it along one axis, a sum *crossing* it (a weight's
    gradient, the loss), or comes *after* such a sum. What is aligned goes into the body; sums are carries. Nothing
    aligned may need a sum over the whole batch, as batch norm does; but sums that cost little (how many labels count)
    are taken before the loop. The tiles are shared by a few *lanes*, each with sums of its own, which are added at the
    end. Tiles and lanes follow from the graph alone, never from a budget or the number of threads: they fix the order
    of sums.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not graph.aliases:
            return graph
        length = _batch_length(graph)
        if length < 2:
            return graph
        try:
            parts = _classify(graph, length)
            tile, lanes = _tile_and_lanes(parts)
            return graph if tile == 0 else _Emitter(parts, tile, lanes).run()
        except Untileable:
            return graph


def _batch_length(graph: Graph) -> int:
    """The most frequent leading length of the inputs that no output overwrites; 0 if there are none."""
    written = set(graph.aliases.values())
    lengths = Counter(v.type.shape[0] for i, v in enumerate(graph.inputs) if i not in written and v.type.ndim)
    return max(lengths, key=lambda n: (lengths[n], n), default=0)


@dataclass
class _Parts:
    """How the nodes of a graph relate to the batch."""

    graph: Graph
    length: int
    axes: dict[Value, Axis] = field(default_factory=dict[Value, Axis])
    looped: set[Node] = field(default_factory=set[Node])
    crossing: set[Node] = field(default_factory=set[Node])
    after: set[Node] = field(default_factory=set[Node])
    before: set[Node] = field(default_factory=set[Node])


def _classify(graph: Graph, length: int) -> _Parts:
    before: set[Node] = set()
    while True:
        parts = _Parts(graph, length, before=before)
        wanted = _sort_nodes(parts)
        if not wanted:
            return parts
        before = before | wanted


def _sort_nodes(parts: _Parts) -> set[Node]:
    """Fill in `parts`; returns nodes that must run before the loop, upon which all begins anew."""
    graph, axes = parts.graph, parts.axes
    written = set(graph.aliases.values())
    for i, value in enumerate(graph.inputs):
        if i not in written and value.type.shape[:1] == (parts.length,):
            axes[value] = Axis(0, 1)
    late: set[Value] = set()
    for node in graph.nodes:
        aligned = [v for v in node.inputs if v in axes]
        if not aligned:
            if not late.isdisjoint(node.inputs):
                parts.after.add(node)
                late.update(node.outputs)
            continue
        needed = [v for v in node.inputs if v in late]
        if needed:
            return _cheap_ancestors(parts, needed)
        place = follow(node, axes, parts.length)
        if place is not None:
            axes.update((v, place) for v in node.outputs)
        if node in parts.before:
            continue
        if place is None:
            parts.crossing.add(node)
            late.update(node.outputs)
        else:
            parts.looped.add(node)
    return set()


_CHEAP = ("elementwise", "creation", "movement", "reduction")


def _cheap_ancestors(parts: _Parts, values: Sequence[Value]) -> set[Node]:
    """What aligned and crossing nodes the values are made of. Raises where computing those for the whole batch first
    would cost much.
    """
    found: set[Node] = set()
    stack = [v.node for v in values if v.node is not None]
    while stack:
        node = stack.pop()
        if node in found or not (node in parts.looped or node in parts.crossing or node in parts.after):
            continue
        if node.op.family not in _CHEAP:
            raise Untileable
        found.add(node)
        stack += [v.node for v in node.inputs if v.node is not None]
    if len(found) > 64:
        raise Untileable
    return found


# ---- how large a tile


def _tile_and_lanes(parts: _Parts) -> tuple[int, int]:
    """Batch entries of a tile and number of lanes, or 0 where the loop would not pay."""
    rows = _rows_of_an_entry(parts)
    if rows == 0:
        return 0, 0
    length = parts.length
    least = -(-_ROWS // rows)
    tile = next((t for t in range(least, min(4 * least, length) + 1) if length % t == 0), 0)
    if tile == 0:
        return 0, 0
    tiles = length // tile
    sums = sum(v.type.nbytes for node in parts.crossing for v in node.outputs)
    kept = _kept_bytes(parts)
    for lanes in (2, 3, 1):
        if tiles % lanes == 0 and tiles >= 2 and lanes * (sums + kept / tiles) < _GAIN * kept:
            return tile, lanes
    return 0, 0


def _rows_of_an_entry(parts: _Parts) -> int:
    """Rows that one entry of the batch brings to the costliest matmul with a weight; 0 if there is none."""
    best = (0, 0)
    for node in parts.looped:
        if node.op.name == "dot" and len([v for v in node.inputs if v in parts.axes]) == 1:
            side = 0 if node.inputs[0] in parts.axes else 1
            value = node.inputs[side]
            contract, batch = node.attrs["contract"][side], node.attrs["batch"][side]
            rows = math.prod(n for a, n in enumerate(value.type.shape) if a not in contract and a not in batch)
            best = max(best, (node_flops(node), rows // parts.length))
    return best[1]


def _kept_bytes(parts: _Parts) -> int:
    """Bytes of the forward's values that contractions of the backward read: about what the step holds."""
    kept: dict[Value, int] = {}
    for node in (*parts.looped, *parts.crossing):
        if node.op.family != "contraction" or node.origin.role == "forward":
            continue
        for value in node.inputs:
            base = value
            while base.node is not None and base.node.op.name in VIEW_OPS:
                base = base.node.inputs[0]
            if base in parts.axes and base.node is not None and base.node.origin.role == "forward":
                kept[base] = base.type.nbytes
    return sum(kept.values())


# ---- the new graph


class _Emitter:
    """Writes the step anew: what is free, the loop, what comes after."""

    def __init__(self, parts: _Parts, tile: int, lanes: int) -> None:
        self.parts = parts
        self.tile = tile
        self.lanes = lanes
        self.tiles = parts.length // tile
        self.b = Builder()
        self.new: dict[Value, Value] = {}
        self.loop = LoopBody(parts.axes, parts.length, tile, lambda value: True)

    def run(self) -> Graph:
        graph, parts, b = self.parts.graph, self.parts, self.b
        self.new = {v: b.input(v.type, v.name) for v in graph.inputs}
        inside = parts.looped | parts.crossing
        for node in graph.nodes:
            if node not in inside and node not in parts.after:
                self.keep(node)
        ends: list[Value] = []
        for node in graph.nodes:
            if node in parts.looped:
                self.loop.compute(node)
            elif node in parts.crossing:
                ends.append(self.loop.add(node))
        self.emit_loop(ends, self.leaving(inside))
        for node in graph.nodes:
            if node in parts.after:
                self.keep(node)
        return b.graph([self.new[v] for v in graph.outputs], graph.aliases, graph.output_names)

    def keep(self, node: Node) -> None:
        copied = self.b.copy(node, [self.new[v] for v in node.inputs])
        self.new.update(zip(node.outputs, copied.outputs))

    def leaving(self, inside: set[Node]) -> list[Value]:
        """Aligned values that are read outside of the loop."""
        read = {v for node in self.parts.graph.nodes if node not in inside for v in node.inputs}
        read.update(self.parts.graph.outputs)
        return [v for n in self.parts.graph.nodes if n in self.parts.looped for v in n.outputs if v in read]

    def emit_loop(self, ends: list[Value], leaving: list[Value]) -> None:
        b, lanes, loop = self.b, self.lanes, self.loop
        turns = self.tiles // lanes
        sums = list(loop.sums)
        body = loop.graph(ends, leaving)
        b.origin = self.parts.graph.outputs[-1].node.origin if self.parts.graph.outputs[-1].node else b.origin
        if any(place.axis for *_, place in loop.slices):
            raise Untileable
        sequences = [self.in_tiles(self.new[v]) for _, v, _ in loop.slices]
        if loop.number is not None:
            iota = b.emit(OPS["iota"], shape=(self.tiles,), axis=0, dtype=INT64)
            sequences.append(b.emit(OPS["reshape"], iota, shape=(lanes, turns)))
        lane = Builder(b.origin)
        given = [lane.input(self.new[v].type) for _, v in loop.consts]
        parts = [lane.input(ArrayType(v.type.shape[1:], v.type.dtype)) for v in sequences]
        zeros = [lane.full(0, v.type) for v in sums]
        inner = lane.emit_node(
            OPS["scan"], *given, *zeros, *parts,
            body=body, consts=len(given), carries=len(zeros), length=turns, reverse=False,
        )  # fmt: skip
        stacks = b.emit_node(
            OPS["scan"], *(self.new[v] for _, v in loop.consts), *sequences,
            body=lane.graph(inner.outputs), consts=len(given), carries=0, length=lanes, reverse=False,
        )  # fmt: skip
        for value, stacked in zip(sums, stacks.outputs):
            b.origin = value.node.origin if value.node is not None else b.origin
            self.new[value] = self.total(value, stacked)
        for value, stacked in zip(leaving, stacks.outputs[len(sums) :]):
            self.new[value] = self.joined(stacked, value)

    def in_tiles(self, value: Value) -> Value:
        """(batch, ...) as (lanes, turns, tile, ...)."""
        shape = value.type.shape
        rest = (shape[0] // self.tiles, *shape[1:])
        return self.b.emit(OPS["reshape"], value, shape=(self.lanes, self.tiles // self.lanes, *rest))

    def total(self, value: Value, stacked: Value) -> Value:
        """The sum of what the lanes have, one after the other."""
        b, shape = self.b, value.type.shape
        result: Value | None = None
        for i in range(self.lanes):
            start, stop = (i, *(0 for _ in shape)), (i + 1, *shape)
            one = b.emit(OPS["slice"], stacked, start=start, stop=stop, step=(1,) * len(start))
            one = b.emit(OPS["reshape"], one, shape=shape)
            result = one if result is None else ew.add(b, result, one)
        assert result is not None
        assert value.node is not None
        if value.node.op.name == "scatter_add":
            result = ew.add(b, self.new[value.node.inputs[0]], result)
        return result

    def joined(self, stacked: Value, value: Value) -> Value:
        """(lanes, turns, ...) with a tile at the batch axis, as the whole value."""
        b, place = self.b, self.parts.axes[value]
        shape = self.loop.shape(value.type.shape, place)
        flat = b.emit(OPS["reshape"], stacked, shape=(self.tiles, *shape))
        axes = list(range(1, len(shape) + 1))
        axes.insert(place.axis, 0)
        if axes[0] != 0:
            flat = b.emit(OPS["transpose"], flat, perm=tuple(axes))
        return b.emit(OPS["reshape"], flat, shape=value.type.shape)
