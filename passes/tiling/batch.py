"""Batch tiles: forward and backward of one tile of the batch end before the next begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...ir import Graph, Node, Value
from ...ir.ops import contraction
from ...ir.ops import elementwise as ew
from ..graph.rewrite import Pass
from ..graph.views import base_of
from ..kernels.cost import work
from ..target import DEFAULT_TARGET, Target
from .tile_size import Limits, TileCosts, divisors
from .tiled_axis import Axis, Untileable, follow_all
from .tiled_loop import TilePhase, with_phases

_OVERHEAD = 0.125
"""What tiles add to the time of the products and convolutions is at most this part of it."""
_GAIN = 0.75
"""The loop must hold less than this part of what the step holds without it."""
_UNITS = ("contraction", "convolution", "window")
"""Families of what is no part of a fused loop: it reads and writes memory."""
_NARROW = 8
"""A weight has so many times the bytes of all that its gradient is a product of, at least, where that is kept for one
product after the loop."""
_SHARING = 0.05
"""Threads that share every unit of a tile may lose this part of their time; else parallel iterations share tiles."""

_SMALLEST = 8
"""Under a budget a tile may be so many times smaller than the graph wants it, or than the batch that runs whole."""


@dataclass(frozen=True)
class TileBatch(Pass):
    """forward and backward of the batch -> scan over tiles of it: forward and backward of a tile, sums as carries

    A value is *free* of the batch, *batched* along one axis, a sum *crossing* the batch (the gradient of a weight, the
    loss), or comes *after* such a sum. Batched values are computed in the loop. Sums are carries, but for gradients
    that are far larger than their operands: these are one product after the loop. No batched value may need a sum over
    the whole batch, as batch norm does; cheap sums, such as the number of valid labels, are taken before the loop.
    The pass stands aside where the loop would not hold much less. The tiles are shared by a few parallel iterations,
    each with sums of its own, which are added at the end. Tiles and parallel iterations follow from the graph and the
    target alone, since they fix the order of sums. `entries` is the size of all tiles, which then run one after the
    other, whatever they cost; 0 leaves it to the pass.

    Known elsewhere as microbatching, there by hand.
    """

    entries: int = 0
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        if not graph.aliases:
            return graph
        for batch in _batches(graph):
            try:
                parts = _classify(graph, batch)
                tile, parallel = (self.entries, 1) if self.entries else _tile_and_parallel(parts, self.target)
                cut = (parts.length, tile)
                return with_phases(graph, parts.axes, parts.phases(), cut, parallel=parallel) if tile else graph
            except Untileable:
                continue
        return graph


def _batches(graph: Graph) -> list[dict[Value, Axis]]:
    """Where the batch may be in the inputs that no output overwrites: the most frequent leading length first; then
    lengths that others have as their second one, as what goes over time first has.
    """
    written = set(graph.aliases.values())
    inputs = [v for i, v in enumerate(graph.inputs) if i not in written and v.type.ndim]
    leading = Counter(v.type.shape[0] for v in inputs)
    second = Counter(v.type.shape[1] for v in inputs if v.type.ndim > 1)
    result: list[dict[Value, Axis]] = []
    for length in sorted(leading, key=lambda n: (-leading[n], -n))[:1]:
        result.append({v: Axis(0, 1) for v in inputs if v.type.shape[0] == length})
    for length in sorted(leading.keys() & second.keys(), key=lambda n: (-leading[n] - second[n], -n)):
        first = {v: Axis(0, 1) for v in inputs if v.type.shape[0] == length}
        result.append(first | {v: Axis(1, 1) for v in inputs if v not in first and length in v.type.shape[1:2]})
    return [batch for batch in result if _length(batch) > 1]


def _length(batch: dict[Value, Axis]) -> int:
    value, place = next(iter(batch.items()))
    return value.type.shape[place.axis]


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

    @cached_property
    def totals(self) -> dict[Node, Value]:
        """For each node that sums over the batch the value that its sum becomes."""
        return merged_sums(self.graph, self.crossing, self.after)

    def phases(self) -> list[TilePhase]:
        """What runs before the loop and in it, and what comes after."""
        graph, inside = self.graph, (self.looped | self.crossing) - self.before
        read = {v for node in graph.nodes if node not in inside for v in node.inputs} | set(graph.outputs)
        leaving = [v for n in graph.nodes if n in inside and n in self.looped for v in n.outputs if v in read]
        whole = [node for node in graph.nodes if node not in inside and node not in self.after]
        sums = {node: self.totals[node] for node in graph.nodes if node in self.crossing}
        return [
            TilePhase(whole, self.looped, sums, leaving),
            TilePhase([node for node in graph.nodes if node in self.after]),
        ]

    def costs(self, target: Target) -> TileCosts:
        """What tiles cost."""
        nodes = [*self.looped, *self.crossing]
        return TileCosts([(nodes, self.axes)], self.length, target, work(nodes, target))

    @property
    def sum_bytes(self) -> int:
        """Bytes of all sums over the batch."""
        return sum(v.type.nbytes for v in dict.fromkeys(self.totals.values()))


def merged_sums(
    graph: Graph, crossing: Container[Node], after: Container[Node], phase: Callable[[Value], int] = lambda value: 0
) -> dict[Node, Value]:
    """For each node of `crossing`, which sum over the batch, the value that its sum becomes: its output, or a sum of
    several of one `phase`, such as the gradient of a weight that is used twice, if nothing else reads the parts.
    """
    users = graph.users()
    outputs = set(graph.outputs)
    parts = {node.output: [node] for node in graph.nodes if node in crossing}
    for node in graph.nodes:
        if node.op is not ew.add or node not in after or node.inputs[0] is node.inputs[1]:
            continue
        if any(v not in parts or len(users[v]) != 1 or v in outputs for v in node.inputs):
            continue
        if phase(node.inputs[0]) == phase(node.inputs[1]):
            parts[node.output] = [n for v in node.inputs for n in parts.pop(v)]
    return {node: total for total, nodes in parts.items() for node in nodes}


def _classify(graph: Graph, batch: dict[Value, Axis]) -> _Parts:
    """The parts of a graph whose inputs have the batch where `batch` says. Raises `Untileable` where it is mixed."""
    before: set[Node] = set()
    while True:
        parts = _Parts(graph, _length(batch), dict(batch), before=before)
        wanted = _sort_nodes(parts)
        if not wanted:
            return parts
        before = before | wanted


def _sort_nodes(parts: _Parts) -> set[Node]:
    """Fill in `parts`; returns nodes that must run before the loop, upon which all begins anew."""
    graph, axes = parts.graph, parts.axes
    late: set[Value] = set()
    for node in graph.nodes:
        if axes.keys().isdisjoint(node.inputs):
            if not late.isdisjoint(node.inputs):
                parts.after.add(node)
                late.update(node.outputs)
            continue
        needed = [v for v in node.inputs if v in late]
        # A sum that a tile needs must be there before the loop: its ancestors run before it, or there is no loop.
        if needed:
            return _cheap_ancestors(parts, needed)
        places = follow_all(node, axes, parts.length)
        if places is not None:
            axes.update(places)
            # What runs before the loop is cheap: for a tile it is made anew.
            parts.looped.add(node)
        elif node not in parts.before:
            (parts.after if is_narrow(node) else parts.crossing).add(node)
            late.update(node.outputs)
    return set()


def is_narrow(node: Node) -> bool:
    """Whether the operands of a product take far fewer bytes than the product, even for the whole batch."""
    return node.op is contraction.dot and _NARROW * sum(v.type.nbytes for v in node.inputs) <= node.output.type.nbytes


_CHEAP = ("elementwise", "creation", "movement", "reduction")


def is_cheap(node: Node) -> bool:
    """Whether a node costs little to compute for the whole batch and again for each tile."""
    return node.op.family in _CHEAP


def _cheap_ancestors(parts: _Parts, values: Sequence[Value]) -> set[Node]:
    """What batched and crossing nodes the values are made of. Raises where computing those for the whole batch first
    would cost much.
    """
    found: set[Node] = set()
    stack = [v.node for v in values if v.node is not None]
    while stack:
        node = stack.pop()
        if node in found or not (node in parts.looped or node in parts.crossing or node in parts.after):
            continue
        if not is_cheap(node):
            raise Untileable
        found.add(node)
        stack += [v.node for v in node.inputs if v.node is not None]
    if len(found) > 64:
        raise Untileable
    return found


# ---- how large a tile


def own_tile(graph: Graph, target: Target) -> tuple[int, int] | None:
    """The batch entries that run at a time where the graph runs in tiles, with the length of the batch; else None."""
    for batch in _batches(graph):
        try:
            parts = _classify(graph, batch)
            tile, parallel = _tile_and_parallel(parts, target)
        except Untileable:
            continue
        return (tile * parallel, parts.length) if tile else None
    return None


def _tile_and_parallel(parts: _Parts, target: Target) -> tuple[int, int]:
    """Batch entries of a tile and number of parallel iterations, or 0 where the loop would not pay."""
    if target.is_gpu:
        return 0, 0  # it has no caches to stay in: tiles hold less, and cost time
    costs, length = parts.costs(target), parts.length
    # Many cores share every unit: as many parallel iterations would hold too many sums, fewer would leave some idle.
    limits = Limits(_OVERHEAD, _SHARING) if target.has_many_cores else Limits(_OVERHEAD)
    tile = costs.smallest(limits, divisors(length, 1, length // 2))
    if tile == 0:
        return 0, 0
    tiles = length // tile
    sums, held = parts.sum_bytes, _held_bytes(parts)
    shared = target.has_many_cores or costs.within(Limits(_OVERHEAD, _SHARING), tile)
    for parallel in (1,) if shared else (2, 3, 1):
        if tiles % parallel == 0 and parallel * (sums + held / tiles) < _GAIN * held:
            return tile, parallel
    return 0, 0


@dataclass(frozen=True, slots=True)
class SmallerTile:
    """A tile of `entries` of the `length` of the batch, one after the other; `slowdown` is the time that it
    adds to that of the step, as a part of it.
    """

    entries: int
    length: int
    slowdown: float


def smaller_tiles(graph: Graph, parts_of_batch: int, target: Target) -> list[SmallerTile]:
    """Tiles in which the step holds fewer bytes than in those that the graph wants, or in so many parts of the batch,
    from the largest down; each is at most half as large as the one before, and none so small that products come to a
    few rows.
    """
    for batch in _batches(graph) if graph.aliases else ():
        try:
            parts = _classify(graph, batch)
        except Untileable:
            continue
        length, costs = parts.length, parts.costs(target)
        tile, parallel = _tile_and_parallel(parts, target)
        if parts_of_batch > 1 and (tile == 0 or tile * parallel * parts_of_batch > length):
            tile, parallel = length // parts_of_batch, 1
        sums, held = parts.sum_bytes, _held_bytes(parts)
        now = parallel * (sums + held * tile / length) if tile else held
        cost = costs.of_a_tile * length / max(costs.time, 1.0)
        already = cost / tile if tile else 0.0
        entries = [tile] if parallel > 1 else []
        for t in range((tile or length) - 1, ((tile or length) - 1) // _SMALLEST, -1):
            if length % t == 0 and (not entries or 2 * t <= entries[-1]):
                entries.append(t)
        return [SmallerTile(t, length, cost / t - already) for t in entries if sums + held * t / length < now]
    return []


def _held_bytes(parts: _Parts) -> int:
    """About what the step holds of batched values: those of the forward that products, convolutions and windows of the
    backward read, and two as large as the largest, which a unit reads and makes.
    """
    kept: dict[Value, int] = {}
    for node in (*parts.looped, *parts.crossing):
        if node.op.family not in _UNITS or node.origin.role == "forward":
            continue
        for value in node.inputs:
            base = base_of(value)
            if base in parts.axes and base.node is not None and base.node.origin.role == "forward":
                kept[base] = base.type.nbytes
    units = (v for n in parts.looped if n.op.family in _UNITS for v in n.outputs)
    return sum(kept.values()) + 2 * max((v.type.nbytes for v in units), default=0)
