"""How large a tile is: from the graph and the target alone, never from a budget or the number of threads, because
tiles fix the order of sums.

Two rules are all. Where products with weights run in tiles (of the batch, of logits, of time), every tile reads and
packs the weights again, and threads that share a tile wait for each other after every product: the tile is the smallest
for which `TileCosts` says that this costs little. Where a tile is to stay in the cache (attention's scores), its bytes
say how many rows it has: `cached_rows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...ir import Node, Value, node_flops
from ...ir.ops import contraction, convolution
from ...ir.ops.contraction import Pair
from ..kernels.cost import work
from ..kernels.matmul_tiles import cut_into, enough_tiles
from ..target import Target
from .tiled_axis import Axis, follow_scan

_GOOD_ROWS = 64
"""With fewer rows products run at less than three quarters of their speed."""
_MOST_CACHED_ROWS = 128
_LEAST_CACHED_ROWS = 16
_LEAST_TILES = 4


@dataclass(frozen=True)
class Limits:
    """What tiles may cost, as parts of the time of the products: by reading weights again, and where threads share
    every product of a tile.
    """

    overhead: float
    sharing: float = math.inf


@dataclass(frozen=True)
class TileCosts:
    """What tiles of an axis of `length` entries cost, in nanoseconds of one core. Each of `parts` is nodes that run in
    one loop, with the values that are cut; `time` is that of all products and convolutions without tiles.

    `saved` is the time that tiles save, because what they make need not go through memory; `barriers` is what threads
    lose anyway in the steps of loops within.
    """

    parts: Sequence[tuple[Sequence[Node], Mapping[Value, Axis]]]
    length: int
    target: Target
    time: float
    saved: float = 0.0
    barriers: float = 0.0

    @cached_property
    def of_a_tile(self) -> float:
        """What every tile adds, however small it is."""
        return sum(tile_overhead(nodes, batched, self.length, self.target) for nodes, batched in self.parts)

    def overhead(self, tile: int) -> float:
        """What tiles of so many entries add."""
        return self.of_a_tile * -(-self.length // tile)

    def sharing(self, tile: int) -> float:
        """What threads lose that share every product of a tile: two of them, or, where there are many cores, more than
        these lose without tiles.
        """
        whole = self._lost(self.length) if self.target.has_many_cores else 0.0
        return self._lost(tile) - whole

    def _lost(self, tile: int) -> float:
        times = [(work(nodes, self.target), nodes, batched) for nodes, batched in self.parts]
        length, target = self.length, self.target
        return sum(t * sharing_loss(nodes, batched, length, tile, target) for t, nodes, batched in times if t)

    def within(self, limits: Limits, tile: int) -> bool:
        """Whether tiles of so many entries cost no more than the limits, or than they save."""
        most = limits.overhead * self.time
        added = self.overhead(tile)
        if added > max(most, self.saved):
            return False
        if limits.sharing == math.inf and added <= most:
            return True
        lost = self.sharing(tile)
        return lost + added <= self.saved or (lost <= limits.sharing * (self.time + self.barriers) and added <= most)

    def smallest(self, limits: Limits, candidates: Iterable[int]) -> int:
        """The first of the candidates, in rising order, that is within the limits; 0 if none is."""
        return next((tile for tile in candidates if self.within(limits, tile)), 0)


def divisors(length: int, least: int, most: int) -> Iterator[int]:
    """The divisors of `length` from `least` to `most`, in rising order."""
    return (n for n in range(max(least, 1), most + 1) if length % n == 0)


def good_rows(length: int, rows: int) -> int:
    """The entries, of `length` that are `rows` rows of a product, with which it runs at nearly its full speed."""
    return -(-_GOOD_ROWS * length // rows)


def cached_rows(length: int, nbytes: int, target: Target) -> int:
    """The rows of a tile that stays in the cache of a core, of `length` rows of so many bytes in all: a divisor of
    `length`; 0 where there is none that is worth it.
    """
    wanted = min(length // _LEAST_TILES, _MOST_CACHED_ROWS, max(_GOOD_ROWS, target.l2_bytes * length // max(nbytes, 1)))
    return max(divisors(length, _LEAST_CACHED_ROWS, wanted), default=0)


def tile_overhead(nodes: Sequence[Node], batched: Mapping[Value, Axis], length: int, target: Target) -> float:
    """The nanoseconds that every tile adds on one core, however small it is: weights are read and packed, sums are
    read and written, in every step of a loop anew. `batched` has the values that are cut into tiles, of `length`
    entries in all.
    """
    loops = [n for n in nodes if n.op.is_scan]
    inside = sum(n.attrs["length"] * _in_a_step(n, batched, length, target) for n in loops)
    return inside + _straight_overhead(nodes, batched, target)


def _in_a_step(loop: Node, batched: Mapping[Value, Axis], length: int, target: Target) -> float:
    way = follow_scan(loop, batched, length)
    nodes = [n for n in loop.attrs["body"].nodes if n.outputs[0] in way.body]
    return tile_overhead(nodes, way.body, length, target)


def _straight_overhead(nodes: Iterable[Node], batched: Mapping[Value, Axis], target: Target) -> float:
    nodes = [n for n in nodes if n.op.family in ("contraction", "convolution", "window")]
    moved = {n: _moved_bytes(n, batched) for n in nodes}
    # Weights and sums that are larger than the last cache come from memory for every tile.
    cached = sum(moved.values()) < target.l3_bytes
    rate = target.cache_bytes_per_ns if cached else target.memory_bytes_per_ns
    return sum(_fixed(n, batched, target) + moved[n] / rate for n in nodes)


def _moved_bytes(node: Node, batched: Mapping[Value, Axis]) -> int:
    """Bytes of weights that are read and of sums that are read and written; a product reads what it adds to while it
    multiplies.
    """
    weights = sum(v.type.nbytes for v in node.inputs if v not in batched)
    ways = 1 if node.op is contraction.dot else 2
    return weights + sum(ways * v.type.nbytes for v in node.outputs if v not in batched)


def _fixed(node: Node, batched: Mapping[Value, Axis], target: Target) -> float:
    weights = sum(v.type.size for v in node.inputs if v not in batched)
    match node.op:
        case contraction.dot:
            return 2 * weights * target.packed_rows / target.matmul_flops_per_ns
        case convolution.conv:
            return target.launch_ns + weights * target.weight_pack_ns
        case convolution.conv_weight_gradient:
            return target.launch_ns + node.output.type.size * target.weight_add_ns
        case _:
            return target.launch_ns


def sharing_loss(nodes: Iterable[Node], batched: Mapping[Value, Axis], length: int, tile: int, target: Target) -> float:
    """What threads lose that share every product and convolution of a tile, as a part of their time, against as many
    that run a tile each: they meet after each, pack operands that are cut, and are idle where there are too few parts.
    """
    total = lost = 0.0
    for node in nodes:
        if node.op.is_scan:
            # A step of a loop is short: what is shared there is lost in meetings.
            total += node_flops(node) * tile / length / target.matmul_flops_per_ns / target.cores
            lost += 2 * target.barrier_ns * node.attrs["length"]
            continue
        if not node.op.is_contraction:
            continue
        time = node_flops(node) * tile / length / target.matmul_flops_per_ns / target.cores
        total += time
        lost += 2 * target.barrier_ns
        if node.op is contraction.dot:
            batches, m, n, k = _sizes(node, batched, length, tile)
            cut = cut_into(enough_tiles(target), batches, m, n, k, target)
            lost += time * target.packed_rows * ((cut.down - 1) / max(m, 1) + (cut.across - 1) / max(n, 1))
            lost += time * (target.whole_rounds(max(cut.tiles, target.cores)) / cut.tiles - 1)
    return lost / total if total else math.inf


def _sizes(node: Node, batched: Mapping[Value, Axis], length: int, tile: int) -> tuple[int, int, int, int]:
    """Batches, rows, columns and depth of the product of a tile."""
    contract: Pair = node.attrs["contract"]
    batch: Pair = node.attrs["batch"]
    shapes: list[list[int]] = []
    for value in node.inputs:
        shape = list(value.type.shape)
        if value in batched:
            shape[batched[value].axis] = shape[batched[value].axis] * tile // length
        shapes.append(shape)
    x, y = shapes
    free = [
        math.prod(n for a, n in enumerate(shape) if a not in contract[side] and a not in batch[side])
        for side, shape in enumerate(shapes)
    ]
    batches = min(math.prod(x[a] for a in batch[0]), math.prod(y[a] for a in batch[1]))
    depth = min(math.prod(x[a] for a in contract[0]), math.prod(y[a] for a in contract[1]))
    return batches, free[0], free[1], depth
