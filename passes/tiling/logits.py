"""Chunked logits: a large product and its loss are computed some rows at a time, forward and backward in one loop."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...ir import Graph, Node, Value
from ...ir.ops import contraction
from ...ir.ops import elementwise as ew
from ...ir.ops.contraction import Pair
from ..graph.rewrite import Pass
from ..kernels.cost import work
from ..target import DEFAULT_TARGET, Target
from .tile_size import Limits, TileCosts, divisors, good_rows
from .tiled_axis import Axis, Untileable, all_operands, follow
from .tiled_loop import RowLoop, with_loops

_GAIN = 0.75
"""The loop must hold less than this part of what is held without it."""
_LIMITS = Limits(overhead=0.2, sharing=0.05)
_GPU_LIMITS = Limits(overhead=0.02)
"""On a GPU no cache gives back what tiles cost: a few large ones save nearly all that many would."""
_MADE = ("elementwise", "creation", "movement")
_MOST_NODES = 200
"""A chain of more nodes is more than a large value and what becomes of it at once."""


@dataclass(frozen=True)
class TileLogits(Pass):
    """logits = x @ w; loss = f(logits), and their gradients -> scan over tiles of rows of x: logits, loss, dx of the
    rows; dw += the rows' part

    The loop takes in a large product and all that is computed of values of its size, where no row needs a sum over all
    rows. Forward and backward of a tile are in one iteration, so nothing is recomputed: the logits, their softmax, the
    cross entropy and the gradients of logits and of x are rows, and the gradient of the weight is a carry, which begins
    as what it is added to. What leaves the loop is narrow. The shapes alone say where, whatever the loss. Tiles follow
    from the graph and the target alone, since they fix the order of sums. On a GPU tiles are few and large, and there
    are none without a gradient.

    Known elsewhere as chunked cross entropy or fused linear cross entropy, there for this one loss.
    """

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        seeds = [node for node in graph.nodes if _is_large_product(node, self.target)]
        if not seeds:
            return graph
        rank = {node: i for i, node in enumerate(graph.nodes)}
        users = graph.users()
        loops: list[RowLoop] = []
        taken: set[Node] = set()
        for seed in seeds:
            loop = None if seed in taken else _loop_of(graph, seed, users, rank, self.target)
            if loop is not None and taken.isdisjoint(loop.nodes):
                loops.append(loop)
                taken.update((*loop.nodes, *loop.added_to.values()))
        return with_loops(graph, loops) if loops else graph


def _is_large_product(node: Node, target: Target) -> bool:
    """Whether a node is a product that the last cache does not hold: what is smaller stays there, or does not weigh."""
    return node.op is contraction.dot and node.output.type.nbytes >= target.l3_bytes and not node.attrs["batch"][0]


def _loop_of(
    graph: Graph, seed: Node, users: Mapping[Value, list[Node]], rank: Mapping[Node, int], target: Target
) -> RowLoop | None:
    """The loop around a large product, or None where there is none that pays."""
    try:
        chain = _chain(graph, seed, users, rank)
    except Untileable:
        return None
    for axis in range(seed.output.type.ndim):
        try:
            return _loop_along(axis, chain, users, lambda v: v.node is None or rank[v.node] < rank[seed], target)
        except Untileable:
            continue
    return None


def _chain(graph: Graph, seed: Node, users: Mapping[Value, list[Node]], rank: Mapping[Node, int]) -> list[Node]:
    """The product, all that reads it or what is as large and made of it, and what lies between, in order.

    Raises `Untileable` where that is much, or what is large is an output, or as large a value comes in from outside: a
    part of what is kept from the forward for the backward would be whole in memory anyway.
    """
    size = seed.output.type.size
    outputs = set(graph.outputs)
    found: list[Node] = []
    heap = [rank[seed]]
    seen = {seed}
    last = rank[seed]
    large: set[Value] = set()
    # In the order of the graph, up to the last reader of a large value: nothing behind it can lie between two of them.
    while heap and heap[0] <= last:
        node = graph.nodes[heapq.heappop(heap)]
        found.append(node)
        if len(found) > _MOST_NODES:
            raise Untileable
        for value in node.outputs:
            readers = users[value]
            if value.type.size >= size:
                if value in outputs:
                    raise Untileable
                large.add(value)
                last = max(last, *(rank[reader] for reader in readers), last)
            for reader in readers:
                if reader not in seen:
                    seen.add(reader)
                    heapq.heappush(heap, rank[reader])
    # Of these, readers of large values, and what leads to such a reader.
    chosen: set[Node] = set()
    for node in reversed(found):
        if not large.isdisjoint(node.inputs) or any(not chosen.isdisjoint(users[v]) for v in node.outputs):
            chosen.add(node)
    chain = [seed, *(node for node in found if node in chosen and node is not seed)]
    made = {v for node in chain for v in node.outputs}
    if any(_is_whole(v, size) for node in chain for v in node.inputs if v not in made):
        raise Untileable
    return chain


def _is_whole(value: Value, size: int) -> bool:
    """Whether a value from outside has `size` elements or more in memory: it is not made of smaller ones row by row."""
    stack, seen = [value], {value}
    while stack:
        value = stack.pop()
        node = value.node
        if value.type.size < size:
            continue
        if node is None or (node.op.family not in _MADE and node.op.family != "indexing"):
            return True
        stack += (v for v in node.inputs if v not in seen)
        seen.update(node.inputs)
    return False


def _loop_along(
    axis: int, chain: list[Node], users: Mapping[Value, list[Node]], early: Callable[[Value], bool], target: Target
) -> RowLoop:
    """The loop of a chain along an axis of the product that it begins with; raises `Untileable` where there is none,
    or none that pays. `early` tells what is there before.
    """
    seed = chain[0]
    length, nbytes = seed.output.type.shape[axis], seed.output.type.nbytes
    operand, place = _cut_operand(seed, axis)
    axes: dict[Value, Axis] = {seed.output: Axis(axis, 1)}
    batched = {operand: place}
    late: set[Value] = set()
    sums: list[Node] = []
    for node in chain[1:]:
        if not late.isdisjoint(node.inputs) or node.op.is_scan:
            raise Untileable
        known = {v: axes[v] for v in node.inputs if v in axes}
        if node.op is contraction.dot:
            known = all_operands(node, known)
            batched.update(known)
        place = follow(node, known, length)
        if place is None:
            sums.append(node)
            late.update(node.outputs)
        else:
            axes.update((v, place) for v in node.outputs)
    added_to = {node: add for node in sums if (add := _only_added(node, users, early)) is not None}
    pair: Pair = seed.attrs["contract"]
    rows = operand.type.size // math.prod(operand.type.shape[a] for a in pair[seed.inputs.index(operand)])
    held = sum(node.output.type.nbytes for node in sums if node not in added_to)
    if target.is_gpu and not sums:
        raise Untileable  # it would cost time, and all that it saves is kept no longer than a unit or two
    costs = TileCosts([(chain, batched | axes)], length, target, work(chain, target))
    limits = _GPU_LIMITS if target.is_gpu else _LIMITS
    tile = costs.smallest(limits, divisors(length, good_rows(length, rows), length // 2))
    if tile == 0 or held + nbytes * tile // length >= _GAIN * nbytes:
        raise Untileable
    size = seed.output.type.size
    nodes = dict.fromkeys(chain)
    return RowLoop(length, tile, size, axes, lambda v: v.type.size >= size, nodes, added_to=added_to)


def _cut_operand(seed: Node, axis: int) -> tuple[Value, Axis]:
    """The operand that is cut where the product is cut along `axis`, and where."""
    rule = seed.op.axes([v.type for v in seed.inputs], seed.output.type, seed.attrs)
    for value, of_input in zip(seed.inputs, rule):
        if (place := of_input[axis]) is not None:
            return value, Axis(place, 1)
    raise Untileable


def _only_added(node: Node, users: Mapping[Value, list[Node]], early: Callable[[Value], bool]) -> Node | None:
    """The node that adds a sum, which nothing else reads, to something that is there `early`, before the loop."""
    readers = users[node.output]
    if len(readers) != 1 or readers[0].op is not ew.add:
        return None
    others = [v for v in readers[0].inputs if v is not node.output]
    return readers[0] if len(others) == 1 and early(others[0]) else None
