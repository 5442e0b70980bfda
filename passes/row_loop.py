"""Nodes of a graph as a loop over the rows of their values: the graph with a `scan` in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..ir import OPS, Builder, Graph, Node, Value
from ..ir.types import INT64
from .fuse import in_order
from .rewrite import without_dead_code
from .tiling import Axis, LoopBody, in_tiles, joined


@dataclass
class RowLoop:
    """Nodes that become a loop over the `length` rows of their wide values, of which `tile` at a time.

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


def with_loops(graph: Graph, loops: Sequence[RowLoop]) -> Graph:
    """The graph with these loops, or as it is where they would wait for each other."""
    units = [_Unit(loop) for loop in loops]
    unit_of: dict[Node, Node | _Unit] = {node: node for node in graph.nodes}
    for unit in units:
        unit_of.update(dict.fromkeys((*unit.loop.nodes, *unit.loop.continued.values()), unit))
    also: dict[Node | _Unit, list[Value]] = {unit: unit.read() for unit in units}
    try:
        order = in_order(graph, unit_of, also)
    except ValueError:
        return graph
    wanted = {v for unit in units for v in unit.read()}
    wanted.update(graph.outputs)
    wanted.update(v for node in graph.nodes if unit_of[node] is node for v in node.inputs)
    b = Builder()
    new = {v: b.input(v.type, v.name) for v in graph.inputs}
    numbers: dict[int, Value] = {}
    for unit in order:
        if isinstance(unit, Node):
            new.update(zip(unit.outputs, b.copy(unit, [new[v] for v in unit.inputs]).outputs))
        else:
            unit.emit(b, new, numbers, wanted)
    return without_dead_code(b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names))


class _Unit:
    """A loop with its body."""

    def __init__(self, loop: RowLoop) -> None:
        self.loop = loop
        inside = {v for node in (*loop.nodes, *loop.anew) for v in node.outputs}
        self.axes = {v: place for v, place in loop.axes.items() if v in inside}
        self.body = LoopBody(self.axes, loop.length, loop.tile, loop.remade)
        forward = all(node.origin.role == "forward" for node in loop.nodes)
        for node in (*loop.anew, *loop.nodes):
            if node in loop.over:
                self.body.go_on(node)
                continue
            if node.outputs[0] not in self.axes:
                self.body.add(node)
                continue
            self.body.compute(node)
            made = self.body.local[node.outputs[0]].node
            if node in loop.anew and made is not None and not forward:
                made.origin = made.origin.with_role("recompute")

    def read(self) -> list[Value]:
        """What comes in."""
        starts = [v for s in self.body.sums if (v := self.start(s)) is not None]
        return [*starts, *(v for _, v in self.body.consts), *(v for _, v, _ in self.body.slices)]

    def start(self, value: Value) -> Value | None:
        """What a sum is added to, or a carry begins with; None where that is nothing."""
        node = value.node
        assert node is not None
        if node in self.loop.over:
            consts: int = node.attrs["consts"]
            return node.inputs[consts + value.index]
        if node in self.loop.continued:
            first, second = self.loop.continued[node].inputs
            return second if first is value else first
        return node.inputs[0] if node.op.name == "scatter_add" else None

    def emit(self, b: Builder, new: dict[Value, Value], numbers: dict[int, Value], wanted: set[Value]) -> None:
        """The `scan`; its results that are `wanted` outside are entered in `new`, the numbers of its tiles in `numbers`
        by how many there are.
        """
        loop, body = self.loop, self.body
        leaving = [v for node in loop.nodes for v in node.outputs if v in self.axes and v in wanted]
        tiles = loop.length // loop.tile
        b.origin = next(iter(loop.over or loop.nodes)).origin
        starts = [b.full(0, v.type) if (start := self.start(v)) is None else new[start] for v in body.sums]
        sequences = [in_tiles(b, new[v], place, (tiles,)) for _, v, place in body.slices]
        if body.number is not None:
            if tiles not in numbers:
                numbers[tiles] = b.emit(OPS["iota"], shape=(tiles,), axis=0, dtype=INT64)
            sequences.append(numbers[tiles])
        consts = [new[v] for _, v in body.consts]
        inner = body.graph(leaving)
        attrs = {"body": inner, "consts": len(consts), "carries": len(starts), "length": tiles}
        attrs["reverse"] = any(node.attrs["reverse"] for node in loop.over)
        result = b.emit_node(OPS["scan"], *consts, *starts, *sequences, **attrs)
        for value, total in zip(body.sums, result.outputs):
            assert value.node is not None
            new[loop.continued[value.node].output if value.node in loop.continued else value] = total
        for value, stacked in zip(leaving, result.outputs[len(starts) :]):
            new[value] = joined(b, stacked, value, self.axes[value])
