"""Which arrays travel together from rank to rank: those that are small beside the latency of a message."""

from __future__ import annotations

from ...ir import Graph, Node, Op, Value
from ...ir.ops import collectives
from ..target import Target

_WORTH_ITS_OWN = 16
"""An array whose bytes take so many times the latency is sent by itself: to copy it into a bucket saves too little."""
_ROOM = 1.25
"""A bucket of shards has at most so many times the bytes of the largest array: that is whole on a rank anyway."""
_LARGE = 0.5
"""An array of shards that has so much of the largest one travels by itself: its copy in a bucket would be memory that
counts, and a budget may gather it again.
"""
_SHARDED = (collectives.all_gather, collectives.reduce_scatter)


def message_nanoseconds(nbytes: float, messages: int, target: Target) -> float:
    """Time of messages of a rank, one after the other."""
    return messages * target.rank_latency_ns + nbytes / target.rank_bytes_per_ns


def buckets(graph: Graph, target: Target) -> list[list[Node]]:
    """The collectives that travel together, in the order of the graph: of one op, whose operands wait for as many
    messages before them. What the backward gathers again is not gathered with what the forward does.
    """
    alone = _WORTH_ITS_OWN * target.rank_latency_ns * target.rank_bytes_per_ns
    largest = {op: max((_whole(n) for n in graph.nodes if n.op is op), default=0) for op in _SHARDED}
    level: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
    open_buckets: dict[tuple[object, ...], list[Node]] = {}
    found: list[list[Node]] = []
    for node in graph.nodes:
        now = max((level[v] for v in node.inputs), default=0)
        level.update(dict.fromkeys(node.outputs, now + (node.op.on_ranks is not None)))
        if node.op is not collectives.all_reduce and not _is_copied(node, target):
            continue
        if node.op in _SHARDED and _whole(node) >= _LARGE * largest[node.op]:
            continue
        nbytes = node.output.type.nbytes
        if node.op is collectives.all_reduce and nbytes >= alone:
            found.append([node])
            continue
        key = (node.op, now, node.attrs["ranks"], node.output.type.dtype, node.origin.role == "recompute")
        bucket = open_buckets.get(key)
        if bucket is None or _is_full(bucket, node, alone, largest):
            bucket = open_buckets[key] = []
            found.append(bucket)
        bucket.append(node)
    # One array of shards by itself is sent from where it lies.
    return [bucket for bucket in found if len(bucket) > 1 or bucket[0].op is collectives.all_reduce]


def _is_copied(node: Node, target: Target) -> bool:
    """Whether to copy a collective's arrays of shards to and from buckets takes less time than messages of its own."""
    ranks: int = node.attrs.get("ranks", 1)
    if node.op not in _SHARDED or ranks == 1:
        return False
    copied = _whole(node) + (node.inputs[0].type.nbytes if node.op is collectives.all_gather else 0)
    speed = target.cache_bytes_per_ns * (target.workers or 1)
    return 2 * copied / speed < message_nanoseconds(0, ranks - 1, target)


def _whole(node: Node) -> int:
    """Bytes of the array that a collective gathers, or cuts into shards."""
    return max(node.inputs[0].type.nbytes, node.output.type.nbytes)


def _is_full(bucket: list[Node], more: Node, alone: float, largest: dict[Op, int]) -> bool:
    """Whether one more array has no room in a bucket."""
    if more.op is collectives.all_reduce:
        return sum(n.output.type.nbytes for n in bucket) >= alone
    return sum(map(_whole, bucket)) + _whole(more) > _ROOM * largest[more.op]
