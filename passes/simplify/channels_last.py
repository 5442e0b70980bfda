"""Layout of images: transpositions around convolutions move behind their readers, and cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir import OPS, Builder, Graph, Node, Op, Value
from ...ir.ops import creation, movement
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass

Perm = tuple[int, ...]

# The outputs of these families have the layout to compute in; a transposition behind them is for the user's eyes.
_SEEDS = frozenset({"convolution", "window"})


@dataclass(frozen=True)
class ChannelsLast(Pass):
    """`f(transpose(conv(x, w)))` -> `transpose(f(conv(x, w)))`, until transpositions meet and cancel.

    Known elsewhere as layout propagation, NCHW to NHWC conversion, transpose sinking.

        f(transpose(x), transpose(y)) -> transpose(f(x, y))            f: element-wise
        f(transpose(x), broadcast(y)) -> transpose(f(x, broadcast(y)))
        reduce(transpose(x))          -> reduce(x), or its transposition
        pad, slice, reverse, concatenate, cumsum, argmax, windows, gather of transpose(x)
                                      -> the same along other axes, transposed
        transpose(transpose(x))       -> x, where they cancel
        reshape(transpose(x))         -> transpose(reshape(x)), where only axes of length 1 come and go

    An element-wise op whose operands have two layouts computes in the layout with the most bytes. The other operands
    are read transposed.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op.family in _SEEDS for node in graph.nodes):
            return graph
        return without_dead_code(_Mover(graph).run())


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A value that is `transpose(base, perm)`; without `perm` it is `base`."""

    base: Value
    perm: Perm | None = None


def _inverse(perm: Perm) -> Perm:
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def _known(perm: Perm) -> Perm | None:
    return None if perm == tuple(range(len(perm))) else perm


class _Mover:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.b = Builder()
        self.placed: dict[Value, _Placed] = {}
        self.transpositions: dict[tuple[Value, Perm], Value] = {}
        self.native: set[Value] = (
            set()
        )  # in the layout to compute in: outputs of seeds, and element-wise results of them

    def run(self) -> Graph:
        b, graph = self.b, self.graph
        self.placed.update((v, _Placed(b.input(v.type, v.name))) for v in graph.inputs)
        for node in graph.nodes:
            b.origin = node.origin
            moved = self.moved(node)
            if moved is None:
                inputs = [self.straight(v) for v in node.inputs]
                copied = b.copy(node, inputs)
                self.placed.update((old, _Placed(new)) for old, new in zip(node.outputs, copied.outputs))
                if node.op.family in _SEEDS or (self.keeps_axes(node) and not self.native.isdisjoint(inputs)):
                    self.native.update(copied.outputs)
            else:
                self.placed[node.output] = moved
        outputs: list[Value] = []
        for value in graph.outputs:
            b.origin = value.node.origin if value.node else b.origin
            outputs.append(self.straight(value))
        return b.graph(outputs, graph.aliases, graph.output_names)

    @staticmethod
    def keeps_axes(node: Node) -> bool:
        along = (movement.pad, movement.slice_, movement.reverse, movement.concatenate)
        return node.op.is_elementwise or node.op in along

    def straight(self, value: Value) -> Value:
        """The value in the layout in which the graph has it."""
        placed = self.placed[value]
        return placed.base if placed.perm is None else self.transposed(placed.base, placed.perm)

    def transposed(self, x: Value, perm: Perm) -> Value:
        """`transpose(x, perm)`, once for all readers; a constant or a broadcast is made in the new layout."""
        if _known(perm) is None:
            return x
        if (x, perm) not in self.transpositions:
            self.transpositions[x, perm] = self._transpose(x, perm)
        return self.transpositions[x, perm]

    def _transpose(self, x: Value, perm: Perm) -> Value:
        shape = tuple(x.type.shape[i] for i in perm)
        where = _inverse(perm)
        node = x.node
        if node is None:
            return self.b.emit(movement.transpose, x, perm=perm)
        if node.op is creation.full:
            return self.b.emit(node.op, **{**node.attrs, "shape": shape})
        if node.op is creation.iota:
            return self.b.emit(node.op, **{**node.attrs, "shape": shape, "axis": where[node.attrs["axis"]]})
        if node.op is movement.broadcast:
            old: Perm = node.attrs["axes"]
            axes = [where[a] for a in old]
            order = tuple(sorted(range(len(axes)), key=axes.__getitem__))
            source = self.transposed(node.inputs[0], order)
            return self.b.emit(node.op, source, shape=shape, axes=tuple(sorted(axes)))
        return self.b.emit(movement.transpose, x, perm=perm)

    def moved(self, node: Node) -> _Placed | None:
        """The output with the transposition of an input moved behind the node; None where it cannot move."""
        if node.op is movement.transpose:
            return self.transpose(node)
        if all(self.placed[v].perm is None for v in node.inputs):
            return None
        if node.op.is_elementwise:
            return self.elementwise(node)
        rule = _RULES.get(node.op)
        return None if rule is None else rule(self, node)

    def transpose(self, node: Node) -> _Placed | None:
        (x,) = node.inputs
        placed = self.placed[x]
        perm: Perm = node.attrs["perm"]
        if placed.perm is not None:
            return _Placed(placed.base, _known(tuple(placed.perm[i] for i in perm)))
        if placed.base in self.native:
            return _Placed(placed.base, _known(perm))
        return None

    def common(self, inputs: Sequence[Value]) -> Perm | None:
        """The layout of most bytes of the inputs; None for the layout that the graph has."""
        weights: dict[Perm | None, int] = {}
        for value in dict.fromkeys(inputs):
            placed = self.placed[value]
            node = placed.base.node
            free = node is not None and (node.op.is_generated or node.op is movement.broadcast)
            weights[placed.perm] = weights.get(placed.perm, 0) + (0 if free else value.type.nbytes)
        return max(weights, key=lambda perm: (weights[perm], perm is not None))

    def in_layout(self, value: Value, perm: Perm) -> Value:
        """The array of which `value` is the transposition by `perm`."""
        placed = self.placed[value]
        back = _inverse(perm)
        own = placed.perm or tuple(range(len(perm)))
        return self.transposed(placed.base, tuple(own[i] for i in back))

    def elementwise(self, node: Node) -> _Placed | None:
        perm = self.common(node.inputs)
        if perm is None:
            return None
        inputs = [self.in_layout(v, perm) for v in node.inputs]
        return _Placed(self.b.emit(node.op, *inputs, **node.attrs), perm)

    def along(self, node: Node, change: Callable[[dict[str, Any], Perm], dict[str, Any]]) -> _Placed | None:
        """An op whose output has the axes of its inputs: the same with other attributes."""
        perm = self.common(node.inputs)
        if perm is None:
            return None
        inputs = [self.in_layout(v, perm) for v in node.inputs]
        return _Placed(self.b.emit(node.op, *inputs, **change(node.attrs, perm)), perm)

    def reduction(self, node: Node) -> _Placed | None:
        placed = self.placed[node.inputs[0]]
        assert placed.perm is not None
        single = "axis" in node.attrs
        gone: tuple[int, ...] = (node.attrs["axis"],) if single else node.attrs["axes"]
        places = [p for i, p in enumerate(placed.perm) if i not in gone]
        axes = tuple(sorted(placed.perm[a] for a in gone))
        attrs = {**node.attrs, **({"axis": axes[0]} if single else {"axes": axes})}
        result = self.b.emit(node.op, placed.base, **attrs)
        order = sorted(places)
        return _Placed(result, _known(tuple(order.index(p) for p in places)))

    def reshape(self, node: Node) -> _Placed | None:
        (x,) = node.inputs
        placed = self.placed[x]
        assert placed.perm is not None
        shape: tuple[int, ...] = node.attrs["shape"]
        if [n for n in shape if n != 1] != [n for n in x.type.shape if n != 1]:
            return None
        old = placed.base.type.shape
        long = [a for a in range(len(old)) if old[a] != 1]
        # Where the long axes of `x`, in their order, stand among those of the base.
        places = iter([long.index(p) for p in placed.perm if old[p] != 1])
        if [p for p in placed.perm if old[p] != 1] == long:
            return _Placed(self.reshaped(placed.base, shape))
        ones = iter(range(len(long), len(shape)))
        perm = tuple(next(ones) if n == 1 else next(places) for n in shape)
        flat = (*(old[a] for a in long), *(1 for n in shape if n == 1))
        return _Placed(self.reshaped(placed.base, flat), _known(perm))

    def reshaped(self, x: Value, shape: tuple[int, ...]) -> Value:
        return x if x.type.shape == shape else self.b.emit(OPS["reshape"], x, shape=shape)


def _permuted(*names: str) -> Callable[[_Mover, Node], _Placed | None]:
    """A rule for an op with a number for each axis in each of these attributes."""

    def change(attrs: dict[str, Any], perm: Perm) -> dict[str, Any]:
        back = _inverse(perm)
        return {**attrs, **{name: tuple(attrs[name][i] for i in back) for name in names}}

    return lambda mover, node: mover.along(node, change)


def _reverse(mover: _Mover, node: Node) -> _Placed | None:
    axes: tuple[int, ...] = node.attrs["axes"]
    return mover.along(node, lambda attrs, perm: {**attrs, "axes": tuple(sorted(perm[a] for a in axes))})


def _along_axis(mover: _Mover, node: Node) -> _Placed | None:
    axis: int = node.attrs["axis"]
    return mover.along(node, lambda attrs, perm: {**attrs, "axis": perm[axis]})


def _window(mover: _Mover, node: Node) -> _Placed | None:
    """Windows whose axes are neighbours, in the same order, in the other layout too."""
    perm = mover.common(node.inputs)
    if perm is None:
        return None
    windowed: tuple[int, ...] = node.attrs["axes"]
    axes = tuple(perm[a] for a in windowed)
    if axes != tuple(range(axes[0], axes[0] + len(axes))):
        return None
    return mover.along(node, lambda attrs, _: {**attrs, "axes": axes})


def _indexed(mover: _Mover, node: Node) -> _Placed | None:
    """gather and scatter_add with indices of one axis: these keep the number of axes."""
    x, indices, *updates = node.inputs
    perm = mover.common([x, *updates])
    if perm is None or node.attrs["batch"] or indices.type.ndim != 1:
        return None
    arrays = [mover.in_layout(v, perm) for v in (x, *updates)]
    inputs = (arrays[0], mover.straight(indices), *arrays[1:])
    return _Placed(mover.b.emit(node.op, *inputs, axis=perm[node.attrs["axis"]], batch=0), perm)


_RULES: Mapping[Op, Callable[[_Mover, Node], _Placed | None]] = {
    movement.pad: _permuted("low", "high", "interior"),
    movement.slice_: _permuted("start", "stop", "step"),
    movement.reverse: _reverse,
    movement.reshape: _Mover.reshape,
    **{op: _along_axis for op in OPS.values() if op.is_axiswise},
    **{op: _indexed for op in OPS.values() if op.family == "indexing"},
    **{op: _window for op in OPS.values() if op.family == "window"},
    **{op: _Mover.reduction for op in OPS.values() if op.is_reduction},
}
