"""Collectives as messages that begin, and are waited for where what they bring is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import collectives, movement
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.rewrite import Pass
from ..target import DEFAULT_TARGET, Target
from .buckets import buckets, message_nanoseconds


@dataclass(frozen=True)
class LowerCollectives(Pass):
    """all_reduce(x) -> x + what each other rank has; and so on, by `start_gather`, `start_exchange`, `start_swap`

    Sums over ranks are added up in the order of one tree, neighbours first: by swaps with the ranks at a distance of 1,
    2, 4, ..., or each rank adds up its part of the array and all gather these, whichever takes less time by the latency
    and the bandwidth of the target. A sum of two is the same on both, so both ways give the same bits.

    Arrays that are small beside the latency travel together, in `buckets`. Known elsewhere as gradient bucketing,
    recursive doubling, and Rabenseifner's algorithm.
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
        self.bucket_of = {node: bucket for bucket in buckets(graph, target) for node in bucket}
        self.sent = 0
        """Buckets that have begun."""

    def emit(self) -> Graph:
        graph, b, new = self.graph, self.b, self.new
        held: list[Node] = []
        for node in graph.nodes:
            sent = self.sent
            if not self._placed(node):
                held.append(node)
            elif self.sent > sent:
                held = self._released(held)
        assert not held, "messages of one bucket wait for each other"
        outputs = [self._own(new[v]) for v in graph.outputs]
        return b.graph(outputs, graph.aliases, graph.output_names)

    def _placed(self, node: Node) -> bool:
        """Whether a node needs no more looking at: it is in the new graph, or in a bucket, which begins where all that
        it sends is there. What reads an output of the bucket before that waits.
        """
        if all(v in self.new for v in node.outputs):
            return True
        if not all(v in self.new for v in node.inputs):
            return False
        bucket = self.bucket_of.get(node)
        if bucket is None:
            self._copy(node)
        elif all(v in self.new for other in bucket for v in other.inputs):
            self._send(bucket)
            self.sent += 1
        return True

    def _released(self, held: list[Node]) -> list[Node]:
        """What still waits, after all is placed that is ready."""
        while True:
            left = [node for node in held if not self._placed(node)]
            if len(left) == len(held):
                return left
            held = left

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

    # ---- buckets

    def _send(self, bucket: Sequence[Node]) -> None:
        self.b.origin = bucket[-1].origin
        op = bucket[0].op
        if op is collectives.all_gather:
            self._gather_together(bucket)
        elif op is collectives.reduce_scatter:
            self._scatter_together(bucket)
        else:
            self._sum(bucket)

    def _gather_together(self, bucket: Sequence[Node]) -> None:
        """One message has what a rank has of all arrays, one after the other: a row of what is received."""
        b, ranks = self.b, bucket[0].attrs["ranks"]
        mine = [self._flat(node) for node in bucket]
        every = self._gathered(OPS["concatenate"](b, *mine, axis=0), ranks)
        rows = movement.reshape(b, every, shape=(ranks, every.type.size // ranks))
        for node, first, last in _places(bucket, [x.type.size for x in mine]):
            part = ew.copy(b, OPS["slice"](b, rows, **movement.slice_along(rows.type.shape, 1, first, last)))
            self.new[node.output] = self._reshaped(part, node.output.type.shape)

    def _scatter_together(self, bucket: Sequence[Node]) -> None:
        """One message to a rank has its parts of all arrays, one after the other."""
        b, ranks = self.b, bucket[0].attrs["ranks"]
        parts = [movement.reshape(b, x, shape=(ranks, x.type.size // ranks)) for x in map(self._flat, bucket)]
        rows = OPS["concatenate"](b, *parts, axis=1)
        sent = movement.reshape(b, rows, shape=(rows.type.size,))
        every, length = self._finished("start_exchange", sent, ranks), rows.type.shape[1]
        for node, first, last in _places(bucket, [x.type.shape[1] for x in parts]):
            # The sum of each is made where it is read.
            terms = [_rows(b, every, r * length + first, r * length + last) for r in range(ranks)]
            self.new[node.output] = self._reshaped(_tree(b, terms), node.output.type.shape)

    def _flat(self, node: Node) -> Value:
        """What a node of a bucket sends, as a vector."""
        x = self._dense(self.new[node.inputs[0]])
        return self._reshaped(x, (x.type.size,))

    # ---- sums

    def _sum(self, bucket: Sequence[Node]) -> None:
        b = self.b
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


def _places(bucket: Sequence[Node], sizes: Sequence[int]) -> Iterator[tuple[Node, int, int]]:
    """Nodes whose arrays have so many elements, with the first one of each in a row of all, and the one behind it."""
    first = 0
    for node, size in zip(bucket, sizes):
        yield node, first, first + size
        first += size


def _rows(b: Builder, x: Value, first: int, last: int) -> Value:
    if first == 0 and last == x.type.shape[0]:
        return x
    return OPS["slice"](b, x, **movement.slice_along(x.type.shape, 0, first, last))


def _tree(b: Builder, terms: Sequence[Value]) -> Value:
    while len(terms) > 1:
        terms = [ew.add(b, x, y) for x, y in zip(terms[::2], terms[1::2])]
    return terms[0]


def _prefers_swaps(type: ArrayType, ranks: int, target: Target) -> bool:
    """Whether a sum takes less time by swaps of the whole than by parts."""
    rounds = int(math.log2(ranks))
    swaps = message_nanoseconds(rounds * type.nbytes, rounds, target)
    parts = message_nanoseconds(2 * (ranks - 1) / ranks * type.nbytes, 2 * (ranks - 1), target)
    return swaps <= parts
