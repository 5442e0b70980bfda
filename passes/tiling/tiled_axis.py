"""Cutting a graph into tiles along one axis of its values: how the axis goes through nodes, and the body of a loop
over the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import contraction, convolution, creation, indexing, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.scan import Scan


class Untileable(Exception):
    """Something cannot run tile by tile."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of a value that is cut into tiles: each of the entries that are counted stands for `inner` in a row."""

    axis: int
    inner: int


@dataclass(frozen=True, slots=True)
class ScanAxes:
    """How the axis goes through a `scan`: where it is in its inputs, in the values of its body, in its outputs."""

    inputs: tuple[Axis | None, ...]
    body: Mapping[Value, Axis]
    outputs: tuple[Axis, ...]


def follow_scan(node: Node, axes: Mapping[Value, Axis], length: int) -> ScanAxes:
    """How the axis goes through a loop over something else, such as the time of a sequence.

    A carry that begins as an array without the axis, such as zeros, has it where the new carry has it. Raises
    `Untileable` where the loop sums over the axis, or goes over the axis itself.
    """
    scan = Scan(node)
    consts, carries, xs = scan.split([axes.get(v) for v in node.inputs])
    if any(p is not None and p.axis == 0 for p in xs):
        raise Untileable
    slices = [p and Axis(p.axis - 1, p.inner) for p in xs]
    # A carry gets the axis from what one iteration makes of it; then the body is followed again, until none is new.
    while True:
        given = [*consts, *carries, *slices]
        inside = {v: p for v, p in zip(scan.body.inputs, given) if p is not None}
        for inner in scan.body.nodes:
            if not inside.keys().isdisjoint(inner.inputs):
                found = follow_all(inner, inside, length)
                if found is None:
                    raise Untileable
                inside.update(found)
        carried = [inside.get(v) for v in scan.new_carries]
        if carried == carries:
            break
        if any(old is not None and old != new for old, new in zip(carries, carried)):
            raise Untileable
        carries = carried
    ends = [inside.get(v) for v in scan.new_carries]
    stacks = [(p := inside.get(v)) and Axis(p.axis + 1, p.inner) for v in scan.step_ys]
    outputs = tuple(p for p in (*ends, *stacks) if p is not None)
    if len(outputs) < len(node.outputs):
        raise Untileable
    return ScanAxes((*consts, *carries, *xs), inside, outputs)


def follow_all(node: Node, axes: Mapping[Value, Axis], length: int) -> Mapping[Value, Axis] | None:
    """As `follow`, for each output, of any node."""
    if node.op.is_scan:
        return dict(zip(node.outputs, follow_scan(node, axes, length).outputs))
    place = follow(node, axes, length)
    return None if place is None else dict.fromkeys(node.outputs, place)


def follow(node: Node, axes: Mapping[Value, Axis], length: int) -> Axis | None:
    """The axis of the outputs of a node that reads batched values (those in `axes`), or None if it sums over the axis.

    Raises `Untileable` where a tile of the output needs more than a tile of what is batched.
    """
    op, attrs = node.op, node.attrs
    known = [axes.get(v) for v in node.inputs]
    if op is contraction.dot:
        return _follow_dot(node, axes)
    if op is convolution.conv_weight_gradient:
        if known[0] is None or known[0].axis != 0 or known[1] != known[0]:
            raise Untileable
        return None
    if op is indexing.scatter_add and known[0] is None and known[1] is not None and attrs["batch"] == 0:
        if known[2] is None:
            raise Untileable
        return None
    if op is indexing.gather and known[1] is not None and attrs["batch"] == 0:
        if known[0] is not None:
            raise Untileable
        place = Axis(attrs["axis"] + known[1].axis, known[1].inner)
    elif op is movement.reshape:
        assert known[0] is not None
        place = through_reshape(node.inputs[0].type.shape, node.output.type.shape, known[0], length)
    elif op.is_reduction and "axes" in attrs:
        assert known[0] is not None
        if known[0].axis in attrs["axes"]:
            if op is not reduction.reduce_sum:
                raise Untileable
            return None
        place = Axis(known[0].axis - sum(a < known[0].axis for a in attrs["axes"]), known[0].inner)
    else:
        place = _by_rule(node, known)
    for value in node.outputs:
        if value.type.shape[place.axis] != length * place.inner:
            raise Untileable
    return place


def _by_rule(node: Node, known: list[Axis | None]) -> Axis:
    """The output axis along which every batched input is batched, by the op's own rule."""
    rule = node.op.axes([v.type for v in node.inputs], node.outputs[0].type, node.attrs)
    places = {
        Axis(o, place.inner)
        for of_input, place in zip(rule, known)
        if place is not None
        for o, i in enumerate(of_input)
        if i == place.axis
    }
    count = sum(any(i == p.axis for i in of_input) for of_input, p in zip(rule, known) if p is not None)
    if len(places) != 1 or count != sum(p is not None for p in known) or node.op.body != "none":
        raise Untileable
    if node.op in (movement.slice_, movement.pad):
        axis = next(iter(places)).axis
        if node.inputs[0].type.shape[axis] != node.output.type.shape[axis]:
            raise Untileable
    return places.pop()


def _follow_dot(node: Node, axes: Mapping[Value, Axis]) -> Axis | None:
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    places: list[tuple[str, int, int]] = []
    for side, value in enumerate(node.inputs):
        place = axes.get(value)
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
        raise Untileable
    if kind == "contract":
        if len(places) == 1:
            raise Untileable
        return None
    return Axis(index, inner)


def through_reshape(old: tuple[int, ...], new: tuple[int, ...], place: Axis, length: int) -> Axis:
    """Where the axis is after a reshape that leaves what stands before it alone."""
    before = math.prod(old[: place.axis])
    behind = place.inner * math.prod(old[place.axis + 1 :])
    for axis, n in enumerate(new):
        if n % length == 0 and math.prod(new[:axis]) == before:
            inner = n // length
            if inner * math.prod(new[axis + 1 :]) == behind:
                return Axis(axis, inner)
    raise Untileable


def all_operands(node: Node, known: dict[Value, Axis]) -> dict[Value, Axis]:
    """`known` with the other operand of a product that sums over the axis, or goes over it side by side, or with where
    the rows of `scatter_add` go.
    """
    if len(known) != 1 or node.op not in (contraction.dot, indexing.scatter_add):
        return known
    ((value, place),) = known.items()
    if node.op is indexing.scatter_add:
        _, indices, rows = node.inputs
        axis: int = node.attrs["axis"]
        found = value is rows and node.attrs["batch"] == 0 and 0 <= place.axis - axis < indices.type.ndim
        return {value: place, indices: Axis(place.axis - axis, place.inner)} if found else known
    side = 0 if node.inputs[0] is value else 1
    for pair in (node.attrs["contract"], node.attrs["batch"]):
        if place.axis in pair[side]:
            other = Axis(pair[1 - side][pair[side].index(place.axis)], place.inner)
            return {value: place, node.inputs[1 - side]: other}
    return known


def _row_by_row(node: Node, place: Axis) -> bool:
    """Whether a node looks up, or adds to, entries of each row by itself: all that it reads has the axis there."""
    return node.op.family == "indexing" and place.axis < node.attrs["batch"]


class LoopBody:
    """The body of a loop over tiles of `tile` entries of the `length` that an axis has.

    `axes` has the place of the axis in the values that the loop computes, and in some that it reads. Other values are
    recomputed tile by tile where they are element-wise, or looked up row by row, and `recomputable`. Operands are
    collected: `consts` are read whole, `slices` tile by tile; `number` is the number of the tile, if it is needed. With
    `first` there is but one tile, which begins with this entry.
    """

    def __init__(
        self,
        axes: Mapping[Value, Axis],
        length: int,
        tile: int,
        recomputable: Callable[[Value], bool],
        first: int | None = None,
    ) -> None:
        self.axes = axes
        self.length = length
        self.tile = tile
        self.recomputable = recomputable
        self.first = first
        self.body = Builder()
        self.local: dict[Value, Value] = {}
        self.made: dict[tuple[Value, Axis | None], Value] = {}
        self.consts: list[tuple[Value, Value]] = []
        self.slices: list[tuple[Value, Value, Axis]] = []
        self.sums: dict[Value, Value] = {}
        """The carries, by the sums of the graph that they become; `ends` are they after this tile."""
        self.ends: dict[Value, Value] = {}
        self.number: Value | None = None

    def graph(self, leaving: Sequence[Value]) -> Graph:
        """The body of a `scan`: takes consts, carries, slices, the number; gives new carries, tiles of `leaving`."""
        consts = [inner for inner, _ in self.consts]
        slices = [inner for inner, *_ in self.slices]
        numbers = [] if self.number is None else [self.number]
        results = [*self.ends.values(), *(self.local[v] for v in leaving)]
        return Graph([*consts, *self.sums.values(), *slices, *numbers], self.body.nodes, results)

    def shape(self, shape: tuple[int, ...], place: Axis) -> tuple[int, ...]:
        """A shape with the axis cut down to a tile."""
        return tuple(self.tile * place.inner if a == place.axis else n for a, n in enumerate(shape))

    def compute(self, node: Node) -> None:
        """A node for a tile."""
        self.body.origin = node.origin
        if node.op.is_scan:
            self.local.update(zip(node.outputs, self.scan(node)))
            return
        places = [self.axes.get(v) for v in node.inputs]
        out = self.axes[node.outputs[0]]
        if any(p is None for p in places):
            rule = node.op.axes([v.type for v in node.inputs], node.outputs[0].type, node.attrs)
            for i, of_input in enumerate(rule):
                axis, shape = of_input[out.axis], node.inputs[i].type.shape
                if places[i] is None and axis is not None and shape[axis] == self.length * out.inner:
                    places[i] = Axis(axis, out.inner)
        inputs = [self.tiled(v, p) for v, p in zip(node.inputs, places)]
        attrs = dict(node.attrs)
        if "shape" in attrs:
            attrs["shape"] = self.shape(attrs["shape"], out)
        if node.op is movement.slice_:
            attrs["stop"] = tuple(inputs[0].type.shape[a] if a == out.axis else n for a, n in enumerate(attrs["stop"]))
        copied = self.body.emit_node(node.op, *inputs, **attrs)
        self.local.update(zip(node.outputs, copied.outputs))

    def scan(self, node: Node) -> Sequence[Value]:
        """The outputs of a loop over something else for a tile."""
        way = follow_scan(node, self.axes, self.length)
        scan = Scan(node, [self.tiled(v, p) for v, p in zip(node.inputs, way.inputs)])
        graph = scan.body
        inside = LoopBody(way.body, self.length, self.tile, self.recomputable)
        arguments: list[Value] = []
        for value in graph.inputs:
            place = way.body.get(value)
            shape = value.type.shape if place is None else self.shape(value.type.shape, place)
            arguments.append(Value(ArrayType(shape, value.type.dtype)))
            if place is None:
                inside.made[value, None] = arguments[-1]
            else:
                inside.local[value] = arguments[-1]
        for inner in graph.nodes:
            if inner.outputs[0] in way.body:
                inside.compute(inner)
            else:
                copied = inside.body.copy(inner, [inside.tiled(v, None) for v in inner.inputs])
                inside.made.update(((v, None), new) for v, new in zip(inner.outputs, copied.outputs))
        if inside.consts or inside.slices or inside.number is not None:
            raise Untileable
        body = Graph(arguments, inside.body.nodes, [inside.local[v] for v in graph.outputs])
        return scan.emit(self.body, body).outputs

    def continue_scan(self, node: Node) -> None:
        """The steps of a tile of a loop over the axis itself, from where the tile before has left it."""
        self.body.origin = node.origin
        scan = Scan(node)
        for value in scan.last_carries:
            self.sums[value] = Value(value.type)
        consts = [self.tiled(v, None) for v in scan.consts]
        carries = [self.sums[v] for v in scan.last_carries]
        xs = [self.tiled(v, Axis(0, 1)) for v in scan.xs]
        made = Scan(scan.emit(self.body, None, consts, carries, xs, length=self.tile))
        self.ends.update(zip(scan.last_carries, made.last_carries))
        self.local.update(zip(scan.ys, made.ys))

    def add(self, node: Node, total: Value | None = None) -> None:
        """Add the part of this tile of a node that sums over the axis to the carry of `total`: the node's own output,
        or a sum that it is only a part of.
        """
        self.body.origin = node.origin
        total = node.output if total is None else total
        if total not in self.sums:
            self.sums[total] = self.ends[total] = Value(total.type)
        if node.op is indexing.scatter_add:
            known = all_operands(node, {v: self.axes[v] for v in node.inputs if v in self.axes})
            indices, updates = (self.tiled(v, known[v]) for v in node.inputs[1:])
            self.ends[total] = self.body.emit(node.op, self.ends[total], indices, updates, **node.attrs)
            return
        known = all_operands(node, {v: self.axes[v] for v in node.inputs if v in self.axes})
        inputs = [self.tiled(v, known.get(v)) for v in node.inputs]
        self.ends[total] = ew.add(self.body, self.ends[total], self.body.emit(node.op, *inputs, **node.attrs))

    def tiled(self, value: Value, place: Axis | None) -> Value:
        """What stands for a value of the graph in the body: its tile, or all of it where `place` is None."""
        if value in self.local:
            return self.local[value]
        key = (value, place)
        if key not in self.made:
            self.made[key] = self.whole(value) if place is None else self.part(value, place)
        return self.made[key]

    def whole(self, value: Value) -> Value:
        """A value that is read whole; views and arrays from nothing are recomputed in the body."""
        node = value.node
        if node is not None and (node.op.is_view or node.op.is_generated):
            with self.body.at(node.origin):
                return self.body.copy(node, [self.tiled(v, None) for v in node.inputs]).output
        inner = Value(value.type)
        self.consts.append((inner, value))
        return inner

    def part(self, value: Value, place: Axis) -> Value:
        """The tile of a value that no node in the loop makes."""
        made = self.recomputed_tile(value, place)
        if made is None:
            made = Value(ArrayType(self.shape(value.type.shape, place), value.type.dtype))
            self.slices.append((made, value, place))
        return made

    def recomputed_tile(self, value: Value, place: Axis) -> Value | None:
        """The tile of a value from outside, recomputed: a view of a tile, a tile from nothing, or element-wise of
        tiles. None where the tile must be an operand.
        """
        node, body = value.node, self.body
        if node is None or value in self.axes:
            return None
        shape, attrs = self.shape(value.type.shape, place), node.attrs
        with body.at(node.origin):
            match node.op:
                case creation.full:
                    return body.full(attrs["value"], ArrayType(shape, value.type.dtype))
                case movement.broadcast:
                    axes: tuple[int, ...] = attrs["axes"]
                    source = node.inputs[0]
                    inside = Axis(axes.index(place.axis), place.inner) if place.axis in axes else None
                    if inside is not None and source.type.shape[inside.axis] == 1:
                        inside = None
                    return body.emit(node.op, self.tiled(source, inside), shape=shape, axes=axes)
                case movement.transpose:
                    inside = Axis(attrs["perm"][place.axis], place.inner)
                    return body.emit(node.op, self.tiled(node.inputs[0], inside), **attrs)
                case movement.reshape:
                    try:
                        source = node.inputs[0]
                        inside = through_reshape(value.type.shape, source.type.shape, place, self.length)
                    except Untileable:
                        return None
                    return body.emit(node.op, self.tiled(source, inside), shape=shape)
                case movement.slice_:
                    source = node.inputs[0]
                    if source.type.shape[place.axis] != value.type.shape[place.axis] or attrs["step"][place.axis] != 1:
                        return None
                    return body.emit(
                        node.op, self.tiled(source, place), **{**attrs, "stop": self.shape(attrs["stop"], place)}
                    )
                case creation.iota if attrs["axis"] == place.axis:
                    return self.shifted(body.emit(node.op, **{**attrs, "shape": shape}), shape[place.axis])
                case creation.iota:
                    return body.emit(node.op, **{**attrs, "shape": shape})
                case creation.random_bits if not attrs.get("run", 0):
                    return self.bits(node, place, shape)
                case _ if (node.op.is_elementwise or _row_by_row(node, place)) and self.recomputable(value):
                    return body.emit(node.op, *(self.tiled(v, place) for v in node.inputs), **attrs)
                case _:
                    return None

    def bits(self, node: Node, place: Axis, shape: tuple[int, ...]) -> Value:
        """A tile of random bits, of this shape. They are those of the whole array: a bit depends on its counter, which
        is its place there.
        """
        key, *begin = (self.tiled(v, None) for v in node.inputs)
        run, apart = (math.prod(s[place.axis :]) for s in (shape, node.output.type.shape))
        start = self.times(run)
        if begin:
            start = ew.add(self.body, begin[0], start)
        runs = {"run": run, "apart": apart} if math.prod(shape[: place.axis]) > 1 else {}
        return self.body.emit(node.op, key, start, **{**node.attrs, "shape": shape, **runs})

    def times(self, step: int) -> Value:
        """`step` times the number of this tile."""
        if self.first is not None:
            return self.body.full(self.first * step // self.tile, ArrayType((), INT64))
        if self.number is None:
            self.number = Value(ArrayType((), INT64))
        return ew.mul(self.body, self.number, self.body.full(step, self.number.type))

    def shifted(self, along: Value, step: int) -> Value:
        start = ew.cast(self.body, self.times(step), dtype=along.type.dtype)
        return ew.add(self.body, along, self.body.emit(OPS["broadcast"], start, shape=along.type.shape, axes=()))


def in_tiles(b: Builder, value: Value, place: Axis, counts: tuple[int, ...]) -> Value:
    """(..., rows, ...) as (*counts, ..., rows of a tile, ...): as many tiles as the product of `counts`."""
    shape, axis = value.type.shape, place.axis
    rows = shape[axis] // math.prod(counts)
    tiled = (*shape[:axis], *counts, rows, *shape[axis + 1 :])
    if axis == 0 and value.node is not None and value.node.op is movement.reshape:
        source = value.node.inputs[0]
        if source.type.shape == tiled:
            return source
    cut = b.emit(OPS["reshape"], value, shape=tiled)
    first = range(axis, axis + len(counts))
    perm = (*first, *(i for i in range(cut.type.ndim) if i not in first))
    return cut if axis == 0 else b.emit(OPS["transpose"], cut, perm=perm)


def joined(b: Builder, stacked: Value, place: Axis) -> Value:
    """(tiles, ..., rows of a tile, ...) as (..., rows, ...)."""
    axis, shape = place.axis, stacked.type.shape
    perm = (*range(1, axis + 1), 0, *range(axis + 1, stacked.type.ndim))
    moved = stacked if axis == 0 else b.emit(OPS["transpose"], stacked, perm=perm)
    rows = shape[0] * shape[axis + 1]
    return b.emit(OPS["reshape"], moved, shape=(*shape[1 : axis + 1], rows, *shape[axis + 2 :]))
