"""Collectives as messages that begin, and are waited for where what they bring is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import collectives, movement
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.rewrite import Pass
from ..target import DEFAULT_TARGET, Target


@dataclass(frozen=True)
class LowerCollectives(Pass):
    """all_reduce(x) -> x + what each other rank has; and so on, by `start_gather`, `start_exchange`, `start_swap`

    Sums over ranks are added up in the order of one tree, neighbours first: by swaps with the ranks at a distance of 1,
    2, 4, ..., or each rank adds up its part of the array and all gather these, whichever takes less time by the latency
    and the bandwidth of the target. A sum of two is the same on both, so both ways give the same bits.

    Arrays that are small beside the latency travel together: sums in one bucket that wait for the same sums before
    them. Known elsewhere as gradient bucketing, recursive doubling, and Rabenseifner's algorithm.
    """

    in_bodies: ClassVar[bool] = False
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        if all(node.op.on_ranks is None for node in graph.nodes):
            return graph
        return _Messages(graph, self.target).emit()


class _Messages:
    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        self.b = Builder()
        self.new: dict[Value, Value] = {v: self.b.input(v.type, v.name) for v in graph.inputs}
        self.tags = 0
        self.bucket_of = {node: bucket for bucket in _buckets(graph, target) for node in bucket}

    def emit(self) -> Graph:
        graph, b, new = self.graph, self.b, self.new
        waiting: dict[int, int] = {}
        # A bucket begins where its last term is there; what reads a sum of it before that waits.
        held: list[Node] = []
        for node in graph.nodes:
            if not all(v in new for v in node.inputs):
                held.append(node)
                continue
            bucket = self.bucket_of.get(node)
            if bucket is None:
                self._copy(node)
                continue
            waiting[id(bucket)] = waiting.get(id(bucket), 0) + 1
            if waiting[id(bucket)] == len(bucket):
                self._sum(bucket)
                held = self._released(held, waiting)
        assert not held, "sums of one bucket wait for each other"
        outputs = [self._own(new[v]) for v in graph.outputs]
        return b.graph(outputs, graph.aliases, graph.output_names)

    def _own(self, x: Value) -> Value:
        """In the canonical form of graphs no output is a view, or an input. On a GPU none is what a message brought
        either: it may overwrite an input, and only kernels look whether something has trapped.
        """
        came = x.node is not None and x.node.op is collectives.finish and self.target.is_gpu
        if x.node is not None and not x.node.op.is_view and not came:
            return x
        self.b.origin = self.b.origin if x.node is None else x.node.origin
        return ew.copy(self.b, x)

    def _dense(self, x: Value) -> Value:
        """The same elements without gaps, in their order."""
        source = x
        while source.node is not None and source.node.op is movement.reshape:
            source = source.node.inputs[0]
        return ew.copy(self.b, x) if source.node is not None and source.node.op.is_view else x

    def _reshaped(self, x: Value, shape: tuple[int, ...]) -> Value:
        return x if x.type.shape == shape else movement.reshape(self.b, x, shape=shape)

    def _released(self, held: list[Node], waiting: dict[int, int]) -> list[Node]:
        """Append what waited, as far as it is ready; returns what still waits."""
        left: list[Node] = []
        for node in held:
            bucket = self.bucket_of.get(node)
            if not all(v in self.new for v in node.inputs):
                left.append(node)
            elif bucket is None:
                self._copy(node)
            else:
                waiting[id(bucket)] = waiting.get(id(bucket), 0) + 1
                if waiting[id(bucket)] == len(bucket):
                    self._sum(bucket)
        return left

    def _copy(self, node: Node) -> None:
        b, inputs = self.b, [self.new[v] for v in node.inputs]
        b.origin = node.origin
        lowered = self._lowered(node, inputs)
        outputs = b.copy(node, inputs).outputs if lowered is None else (lowered,)
        self.new.update(zip(node.outputs, outputs))

    def _lowered(self, node: Node, inputs: Sequence[Value]) -> Value | None:
        """What stands for a collective that travels by itself; None where a node stays as it is."""
        b, op = self.b, node.op
        ranks = node.attrs.get("ranks", 1)
        if op.on_ranks is None:
            return None
        if ranks == 1:
            return inputs[0] if inputs else b.full(0, node.output.type)
        if op is collectives.all_gather:
            return self._gathered(inputs[0], ranks)
        if op is collectives.reduce_scatter:
            return self._scattered(inputs[0], ranks)
        if op is collectives.rank_broadcast:
            return self._from(inputs[0], ranks, node.attrs["root"])
        if op is collectives.barrier:
            return self._after_all(inputs[0], ranks)
        return None

    # ---- messages

    def _finished(self, op: str, sent: Value, ranks: int, **attrs: int) -> Value:
        tag, self.tags, sent = self.tags, self.tags + 1, self._dense(sent)
        received = OPS[op](self.b, sent, ranks=ranks, tag=tag, **attrs)
        return collectives.finish(self.b, received, sent, ranks=ranks, tag=tag)

    def _gathered(self, x: Value, ranks: int) -> Value:
        return self._finished("start_gather", x, ranks)

    def _scattered(self, x: Value, ranks: int) -> Value:
        every = self._finished("start_exchange", x, ranks)
        rows = x.type.shape[0] // ranks
        terms = [_rows(self.b, every, r * rows, (r + 1) * rows) for r in range(ranks)]
        return _tree(self.b, terms)

    def _from(self, x: Value, ranks: int, root: int) -> Value:
        flat = movement.reshape(self.b, x, shape=(1, *x.type.shape))
        row = _rows(self.b, self._gathered(flat, ranks), root, root + 1)
        return movement.reshape(self.b, row, shape=x.type.shape)

    def _after_all(self, x: Value, ranks: int) -> Value:
        b = self.b
        here = b.full(1, ArrayType((1,), INT64))
        came = OPS["reduce_sum"](b, self._gathered(here, ranks), axes=(0,))
        all_came = ew.eq(b, came, b.full(ranks, came.type))
        spread = OPS["broadcast"](b, all_came, shape=x.type.shape, axes=())
        return ew.select(b, spread, x, b.full_like(x, 0))

    # ---- sums

    def _sum(self, bucket: Sequence[Node]) -> None:
        b = self.b
        b.origin = bucket[-1].origin
        ranks = bucket[0].attrs["ranks"]
        terms = [self._dense(self.new[node.inputs[0]]) for node in bucket]
        if ranks == 1:
            self.new.update((node.output, term) for node, term in zip(bucket, terms))
            return
        whole = terms[0]
        if len(terms) > 1:
            whole = OPS["concatenate"](b, *(self._reshaped(x, (x.type.size,)) for x in terms), axis=0)
        if _prefers_swaps(whole.type, ranks, self.target):
            distance = 1
            while distance < ranks // 2:
                whole = ew.add(b, whole, self._finished("start_swap", whole, ranks, distance=distance))
                distance *= 2
            # The last sum is made part by part, where it is read.
            addends = [whole, self._finished("start_swap", whole, ranks, distance=distance)]
        else:
            addends = [self._summed_by_parts(whole, ranks)]
        first = 0
        for node in bucket:
            last = first + node.output.type.size
            parts = addends if len(bucket) == 1 else [_rows(b, x, first, last) for x in addends]
            total = parts[0] if len(parts) == 1 else ew.add(b, parts[0], parts[1])
            self.new[node.output] = self._reshaped(total, node.output.type.shape)
            first = last

    def _summed_by_parts(self, x: Value, ranks: int) -> Value:
        b, size = self.b, x.type.size
        flat = self._reshaped(x, (size,))
        rest = -size % ranks
        if rest:
            flat = OPS["concatenate"](b, flat, b.full(0, ArrayType((rest,), x.type.dtype)), axis=0)
        every = self._gathered(self._scattered(flat, ranks), ranks)
        return self._reshaped(_rows(b, every, 0, size), x.type.shape)


def _rows(b: Builder, x: Value, first: int, last: int) -> Value:
    if first == 0 and last == x.type.shape[0]:
        return x
    return OPS["slice"](b, x, **movement.slice_along(x.type.shape, 0, first, last))


def _tree(b: Builder, terms: Sequence[Value]) -> Value:
    while len(terms) > 1:
        terms = [ew.add(b, x, y) for x, y in zip(terms[::2], terms[1::2])]
    return terms[0]


def message_nanoseconds(nbytes: float, messages: int, target: Target) -> float:
    """Time of messages of a rank, one after the other."""
    return messages * target.rank_latency_ns + nbytes / target.rank_bytes_per_ns


def _prefers_swaps(type: ArrayType, ranks: int, target: Target) -> bool:
    """Whether a sum takes less time by swaps of the whole than by parts."""
    rounds = int(math.log2(ranks))
    swaps = message_nanoseconds(rounds * type.nbytes, rounds, target)
    parts = message_nanoseconds(2 * (ranks - 1) / ranks * type.nbytes, 2 * (ranks - 1), target)
    return swaps <= parts


_WORTH_ITS_OWN = 16
"""An array whose bytes take so many times the latency is sent by itself: to copy it into a bucket saves too little."""


def _buckets(graph: Graph, target: Target) -> list[list[Node]]:
    """The sums that travel together, in the order of the graph."""
    alone = _WORTH_ITS_OWN * target.rank_latency_ns * target.rank_bytes_per_ns
    level: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
    open_buckets: dict[tuple[object, ...], list[Node]] = {}
    found: list[list[Node]] = []
    for node in graph.nodes:
        now = max((level[v] for v in node.inputs), default=0)
        level.update(dict.fromkeys(node.outputs, now + (node.op.on_ranks is not None)))
        if node.op is not collectives.all_reduce:
            continue
        if node.output.type.nbytes >= alone:
            found.append([node])
            continue
        key = (now, node.attrs["ranks"], node.output.type.dtype)
        bucket = open_buckets.get(key)
        if bucket is None or sum(n.output.type.nbytes for n in bucket) >= alone:
            bucket = open_buckets[key] = []
            found.append(bucket)
        bucket.append(node)
    return found
