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
        except _Untileable:
            return graph


class _Untileable(Exception):
    """Something aligned with the batch cannot run tile by tile."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """The axis of a value that holds the batch, each of its entries `inner` times in a row."""

    axis: int
    inner: int


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
    axes: dict[Value, _Axis] = field(default_factory=dict[Value, _Axis])
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
            axes[value] = _Axis(0, 1)
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
        crosses = _follow(parts, node)
        if node in parts.before:
            continue
        if crosses:
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
            raise _Untileable
        found.add(node)
        stack += [v.node for v in node.inputs if v.node is not None]
    if len(found) > 64:
        raise _Untileable
    return found


def _follow(parts: _Parts, node: Node) -> bool:
    """Enter the batch axis of the outputs of a node that reads aligned values, or return that the node sums over it."""
    name, attrs = node.op.name, node.attrs
    known = [parts.axes.get(v) for v in node.inputs]
    if name == "dot":
        return _follow_dot(parts, node)
    if name == "scatter_add" and known[0] is None and attrs["batch"] == 0:
        if known[1] is None or known[2] is None:
            raise _Untileable
        return True
    if name == "gather" and attrs["batch"] == 0:
        if known[0] is not None or known[1] is None:
            raise _Untileable
        place = _Axis(attrs["axis"] + known[1].axis, known[1].inner)
    elif name == "reshape":
        assert known[0] is not None
        place = _reshaped(node.inputs[0].type.shape, node.output.type.shape, known[0], parts.length)
    elif node.op.family == "reduction" and "axes" in attrs:
        assert known[0] is not None
        if known[0].axis in attrs["axes"]:
            if name != "reduce_sum":
                raise _Untileable
            return True
        place = _Axis(known[0].axis - sum(a < known[0].axis for a in attrs["axes"]), known[0].inner)
    else:
        place = _by_rule(node, known)
    for value in node.outputs:
        if value.type.shape[place.axis] != parts.length * place.inner:
            raise _Untileable
        parts.axes[value] = place
    return False


def _by_rule(node: Node, known: list[_Axis | None]) -> _Axis:
    """The output axis with which the batch axis of every aligned input is aligned, by the op's own rule."""
    rule = node.op.axes([v.type for v in node.inputs], node.outputs[0].type, node.attrs)
    places = {
        _Axis(o, place.inner)
        for of_input, place in zip(rule, known)
        if place is not None
        for o, i in enumerate(of_input)
        if i == place.axis
    }
    count = sum(any(i == p.axis for i in of_input) for of_input, p in zip(rule, known) if p is not None)
    if len(places) != 1 or count != sum(p is not None for p in known) or node.op.name in ("scan", "region"):
        raise _Untileable
    if node.op.name in ("slice", "pad"):
        axis = next(iter(places)).axis
        if node.inputs[0].type.shape[axis] != node.output.type.shape[axis]:
            raise _Untileable
    return places.pop()


def _follow_dot(parts: _Parts, node: Node) -> bool:
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    places: list[tuple[str, int, int]] = []
    for side, value in enumerate(node.inputs):
        place = parts.axes.get(value)
        if place is None:
            continue
        if place.axis in contract[side]:
            places.append(("contract", contract[side].index(place.axis), place.inner))
        elif place.axis in batch[side]:
            places.append(("batch", batch[side].index(place.axis), place.inner))
        else:
            free = [a for a in range(value.type.ndim) if a not in contract[side] and a not in batch[side]]
            other = node.inputs[0]
            before = len(batch[0]) + (0 if side == 0 else other.type.ndim - len(contract[0]) - len(batch[0]))
            places.append(("free", before + free.index(place.axis), place.inner))
    kind, index, inner = places[0]
    if len(places) == 2 and (places[0] != places[1] or kind == "free"):
        raise _Untileable
    if kind == "contract":
        if len(places) == 1:
            raise _Untileable
        return True
    parts.axes[node.output] = _Axis(index, inner)
    return False


def _reshaped(old: tuple[int, ...], new: tuple[int, ...], place: _Axis, length: int) -> _Axis:
    """Where the batch is after a reshape that leaves what stands before it alone."""
    before = math.prod(old[: place.axis])
    behind = place.inner * math.prod(old[place.axis + 1 :])
    for axis, n in enumerate(new):
        if n % length == 0 and math.prod(new[:axis]) == before:
            inner = n // length
            if inner * math.prod(new[axis + 1 :]) == behind:
                return _Axis(axis, inner)
    raise _Untileable


# ---- how large a tile


def _tile_and_lanes(parts: _Parts) -> tuple[int, int]:
    """Batch entries of a tile and number of lanes, or 0 where the loop would not pay."""
    rows = _rows_of_an_entry(parts)
    if rows == 0:
        return 0, 0
    length = parts.length
    tile = next(t for t in range(1, length + 1) if length % t == 0 and (t * rows >= _ROWS or t == length))
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
        self.body = Builder()
        self.local: dict[Value, Value] = {}
        self.made: dict[tuple[Value, _Axis | None], Value] = {}
        self.consts: list[tuple[Value, Value]] = []
        self.slices: list[tuple[Value, Value]] = []
        self.sums: dict[Value, Value] = {}
        self.number: Value | None = None

    def run(self) -> Graph:
        graph, parts, b = self.parts.graph, self.parts, self.b
        self.new = {v: b.input(v.type, v.name) for v in graph.inputs}
        inside = parts.looped | parts.crossing
        for node in graph.nodes:
            if node not in inside and node not in parts.after:
                self.keep(node)
        sums = [v for node in graph.nodes if node in parts.crossing for v in node.outputs]
        self.sums = {v: Value(v.type) for v in sums}
        ends: dict[Value, Value] = {}
        for node in graph.nodes:
            if node in parts.looped:
                self.body.origin = node.origin
                self.looped(node)
            elif node in parts.crossing:
                self.body.origin = node.origin
                ends[node.output] = self.summed(node)
        leaving = self.leaving(inside)
        self.emit_loop(sums, [ends[v] for v in sums], leaving)
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

    # -- inside

    def shape(self, shape: tuple[int, ...], place: _Axis) -> tuple[int, ...]:
        """A shape with the batch axis cut down to a tile."""
        return tuple(self.tile * place.inner if a == place.axis else n for a, n in enumerate(shape))

    def looped(self, node: Node) -> None:
        places = [self.parts.axes.get(v) for v in node.inputs]
        out = self.parts.axes[node.outputs[0]]
        if any(p is None for p in places):
            rule = node.op.axes([v.type for v in node.inputs], node.outputs[0].type, node.attrs)
            for i, of_input in enumerate(rule):
                aligned, shape = of_input[out.axis], node.inputs[i].type.shape
                if places[i] is None and aligned is not None and shape[aligned] == self.parts.length * out.inner:
                    places[i] = _Axis(aligned, out.inner)
        inputs = [self.tiled(v, p) for v, p in zip(node.inputs, places)]
        attrs = dict(node.attrs)
        if "shape" in attrs:
            attrs["shape"] = self.shape(attrs["shape"], out)
        if node.op.name == "slice":
            attrs["stop"] = tuple(inputs[0].type.shape[a] if a == out.axis else n for a, n in enumerate(attrs["stop"]))
        copied = self.body.emit_node(node.op, *inputs, **attrs)
        self.local.update(zip(node.outputs, copied.outputs))

    def summed(self, node: Node) -> Value:
        """The new sum: the carry with the part of this tile."""
        carry = self.sums[node.output]
        if node.op.name == "scatter_add":
            indices, updates = (self.tiled(v, self.parts.axes[v]) for v in node.inputs[1:])
            return self.body.emit(node.op, carry, indices, updates, **node.attrs)
        inputs = [self.tiled(v, self.parts.axes[v]) for v in node.inputs]
        return ew.add(self.body, carry, self.body.emit(node.op, *inputs, **node.attrs))

    def tiled(self, value: Value, place: _Axis | None) -> Value:
        """What stands for a value of the step in the body: its tile, or all of it where `place` is None."""
        if value in self.local:
            return self.local[value]
        key = (value, place)
        if key not in self.made:
            self.made[key] = self.whole(value) if place is None else self.part(value, place)
        return self.made[key]

    def whole(self, value: Value) -> Value:
        """A value free of the batch: views of weights and arrays from nothing are made anew, the rest comes in."""
        node = value.node
        if node is not None and (node.op.name in VIEW_OPS or node.op.name in ("full", "iota")):
            with self.body.at(node.origin):
                return self.body.copy(node, [self.tiled(v, None) for v in node.inputs]).output
        inner = Value(value.type)
        self.consts.append((inner, value))
        return inner

    def part(self, value: Value, place: _Axis) -> Value:
        """The tile of a value that no looped node makes."""
        node, body = value.node, self.body
        shape = self.shape(value.type.shape, place)
        if node is not None and value not in self.parts.axes:
            with body.at(node.origin):
                if node.op.name == "full":
                    return body.full(node.attrs["value"], ArrayType(shape, value.type.dtype))
                if node.op.name == "broadcast":
                    axes: tuple[int, ...] = node.attrs["axes"]
                    inside = _Axis(axes.index(place.axis), place.inner) if place.axis in axes else None
                    source = node.inputs[0]
                    if inside is not None and source.type.shape[inside.axis] == 1:
                        inside = None
                    return body.emit(node.op, self.tiled(source, inside), shape=shape, axes=axes)
                if node.op.family == "elementwise":
                    return body.emit(node.op, *(self.tiled(v, place) for v in node.inputs), **node.attrs)
                if node.op.name == "iota":
                    along = body.emit(node.op, shape=shape, axis=node.attrs["axis"], dtype=node.attrs["dtype"])
                    return along if node.attrs["axis"] != place.axis else self.shifted(along, shape[place.axis])
                if node.op.name == "random_bits" and place.axis == 0 and len(node.inputs) == 1:
                    start = self.times(math.prod(shape))
                    attrs = {**node.attrs, "shape": shape}
                    return body.emit(node.op, self.tiled(node.inputs[0], None), start, **attrs)
        if place.axis != 0:
            raise _Untileable
        inner = Value(ArrayType(shape, value.type.dtype))
        self.slices.append((inner, value))
        return inner

    def times(self, step: int) -> Value:
        """The number of the tile, counted from 0, times `step`."""
        if self.number is None:
            self.number = Value(ArrayType((), INT64))
        return ew.mul(self.body, self.number, self.body.full(step, self.number.type))

    def shifted(self, along: Value, step: int) -> Value:
        start = ew.cast(self.body, self.times(step), dtype=along.type.dtype)
        return ew.add(self.body, along, self.body.emit(OPS["broadcast"], start, shape=along.type.shape, axes=()))

    # -- outside

    def emit_loop(self, sums: list[Value], ends: list[Value], leaving: list[Value]) -> None:
        b, lanes = self.b, self.lanes
        turns = self.tiles // lanes
        numbers = [] if self.number is None else [self.number]
        carries = [self.sums[v] for v in sums]
        consts = [inner for inner, _ in self.consts]
        xs = [*(inner for inner, _ in self.slices), *numbers]
        body = Graph([*consts, *carries, *xs], self.body.nodes, [*ends, *(self.local[v] for v in leaving)])
        b.origin = self.parts.graph.outputs[-1].node.origin if self.parts.graph.outputs[-1].node else b.origin
        sequences = [self.in_tiles(self.new[v]) for _, v in self.slices]
        if numbers:
            iota = b.emit(OPS["iota"], shape=(self.tiles,), axis=0, dtype=INT64)
            sequences.append(b.emit(OPS["reshape"], iota, shape=(lanes, turns)))
        lane = Builder(b.origin)
        given = [lane.input(self.new[v].type) for _, v in self.consts]
        parts = [lane.input(ArrayType(v.type.shape[1:], v.type.dtype)) for v in sequences]
        zeros = [lane.full(0, v.type) for v in sums]
        inner = lane.emit_node(
            OPS["scan"], *given, *zeros, *parts,
            body=body, consts=len(given), carries=len(zeros), length=turns, reverse=False,
        )  # fmt: skip
        loop = b.emit_node(
            OPS["scan"], *(self.new[v] for _, v in self.consts), *sequences,
            body=lane.graph(inner.outputs), consts=len(given), carries=0, length=lanes, reverse=False,
        )  # fmt: skip
        for value, stacked in zip(sums, loop.outputs):
            b.origin = value.node.origin if value.node is not None else b.origin
            self.new[value] = self.total(value, stacked)
        for value, stacked in zip(leaving, loop.outputs[len(sums) :]):
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
        shape = self.shape(value.type.shape, place)
        flat = b.emit(OPS["reshape"], stacked, shape=(self.tiles, *shape))
        axes = list(range(1, len(shape) + 1))
        axes.insert(place.axis, 0)
        if axes[0] != 0:
            flat = b.emit(OPS["transpose"], flat, perm=tuple(axes))
        return b.emit(OPS["reshape"], flat, shape=value.type.shape)
