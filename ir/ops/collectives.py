"""Collectives: what ranks that run the same graph compute together.

Sums follow one binary tree over the ranks, neighbours first, whatever moves the terms. So all ranks get the same bits.

What `start_gather`, `start_exchange` and `start_swap` begin `finish` waits for: units between them run meanwhile. The
other ops are made of these by `passes/ranks/lower_collectives.py`. Known elsewhere as collective operations, as of MPI
and NCCL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import Attrs, FlopsRule, InferRule, Op, ReferenceRule, TypeRuleError, VjpRule, declare, no_flops
from ..ranks import of_all_ranks, rank_here, tree_sum
from ..types import BOOL, INT64, Array, ArrayType, is_complex
from . import elementwise as ew


def _check_ranks(ranks: int) -> None:
    if ranks < 1 or ranks & (ranks - 1):
        raise TypeRuleError(f"the number of ranks is a power of two, got {ranks}")


def _summed(x: ArrayType, ranks: int) -> ArrayType:
    _check_ranks(ranks)
    if x.dtype == BOOL or is_complex(x.dtype):
        raise TypeRuleError(f"adds up real numbers, got {x}")
    return x


def _same(x: ArrayType, ranks: int) -> ArrayType:
    _check_ranks(ranks)
    return x


def _rooted(x: ArrayType, ranks: int, root: int) -> ArrayType:
    _check_ranks(ranks)
    if not 0 <= root < ranks:
        raise TypeRuleError(f"the root is one of {ranks} ranks, got {root}")
    return x


def _gathered(x: ArrayType, ranks: int, tag: int = 0) -> ArrayType:
    _check_ranks(ranks)
    if not x.ndim:
        raise TypeRuleError(f"an array that is gathered has an axis, got {x}")
    return ArrayType((ranks * x.shape[0], *x.shape[1:]), x.dtype)


def _cut(x: ArrayType, ranks: int) -> ArrayType:
    _check_ranks(ranks)
    if not x.ndim or x.shape[0] % ranks:
        raise TypeRuleError(f"the first axis falls into {ranks} equal parts, got {x}")
    return ArrayType((x.shape[0] // ranks, *x.shape[1:]), x.dtype)


def _scattered(x: ArrayType, ranks: int) -> ArrayType:
    return _cut(_summed(x, ranks), ranks)


def _exchanged(x: ArrayType, ranks: int, tag: int = 0) -> ArrayType:
    _cut(x, ranks)
    return x


def _swapped(x: ArrayType, ranks: int, distance: int, tag: int) -> ArrayType:
    _check_ranks(ranks)
    if distance & (distance - 1) or not 0 <= distance < ranks:
        raise TypeRuleError(f"the distance is 0, or a power of two below {ranks} ranks, got {distance}")
    return x


def _finished(received: ArrayType, sent: ArrayType, ranks: int, tag: int) -> ArrayType:
    _check_ranks(ranks)
    return received


def _index_type(ranks: int) -> ArrayType:
    _check_ranks(ranks)
    return ArrayType((), INT64)


def _all_reduce(x: Array, ranks: int) -> Array:
    return tree_sum(of_all_ranks(x, ranks))


def _reduce_scatter(x: Array, ranks: int) -> Array:
    return np.array(np.split(_all_reduce(x, ranks), ranks)[rank_here()])


def _all_gather(x: Array, ranks: int, tag: int = 0) -> Array:
    return np.concatenate(of_all_ranks(x, ranks))


def _broadcast(x: Array, ranks: int, root: int) -> Array:
    return np.array(of_all_ranks(x, ranks)[root])


def _barrier(x: Array, ranks: int) -> Array:
    of_all_ranks(x, ranks)
    return np.array(x)


def _rank_index(ranks: int) -> Array:
    return np.array(rank_here(), np.int64)


def _exchange(x: Array, ranks: int, tag: int = 0) -> Array:
    return np.concatenate([np.split(sent, ranks)[rank_here()] for sent in of_all_ranks(x, ranks)])


def _swap(x: Array, ranks: int, distance: int, tag: int) -> Array:
    return np.array(of_all_ranks(x, ranks)[rank_here() ^ distance])


def _finish(received: Array, sent: Array, ranks: int, tag: int) -> Array:
    return np.array(received)


def _reduce_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int) -> Value:
    return all_reduce(b, g, ranks=ranks)


def _scatter_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int) -> Value:
    return all_gather(b, g, ranks=ranks)


def _gather_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int) -> Value:
    return reduce_scatter(b, g, ranks=ranks)


def _broadcast_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int, root: int) -> Value:
    total = all_reduce(b, g, ranks=ranks)
    is_root = ew.eq(b, rank_index(b, ranks=ranks), b.full(root, ArrayType((), INT64)))
    from . import movement

    spread = movement.broadcast(b, is_root, shape=g.type.shape, axes=())
    return ew.select(b, spread, total, b.full_like(total, 0))


def _barrier_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int) -> Value:
    return g


def _start_gather_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int, tag: int = 0) -> Value:
    return reduce_scatter(b, g, ranks=ranks)


def _start_swap_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int, distance: int, tag: int) -> Value:
    swapped = start_swap(b, g, ranks=ranks, distance=distance, tag=tag)
    return finish(b, swapped, g, ranks=ranks, tag=tag)


def _start_exchange_vjp(b: Builder, g: Value, o: Value, x: Value, ranks: int, tag: int) -> Value:
    return _of_exchange(b, g, ranks)


def _of_exchange(b: Builder, g: Value, ranks: int) -> Value:
    """An exchange is its own transpose; as a gather of all, of which a rank takes what is its."""
    from . import dynamic_slice, movement

    rows = g.type.shape[0] // ranks
    every = all_gather(b, g, ranks=ranks)
    shape = (ranks, ranks, rows, *g.type.shape[1:])
    parts = movement.reshape(b, every, shape=shape)
    mine = dynamic_slice.dynamic_slice(b, parts, rank_index(b, ranks=ranks), size=1, axis=1, batch=0)
    return movement.reshape(b, mine, shape=g.type.shape)


def _finish_vjp(b: Builder, g: Value, o: Value, received: Value, sent: Value, ranks: int, tag: int) -> list[Any]:
    return [g, None]


def _axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


def _adds(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return (attrs["ranks"] - 1) * outputs[0].size


def _collective(
    name: str,
    infer: InferRule,
    reference: ReferenceRule,
    vjp: VjpRule | None,
    gives: Literal["same", "own"],
    doc: str,
    flops: FlopsRule = no_flops,
) -> Op:
    return declare(Op(name, "collective", infer, reference, flops, _axes, vjp, doc, can_trap=False, on_ranks=gives))


all_reduce = _collective(
    "all_reduce", _summed, _all_reduce, _reduce_vjp, "same", "the sum over all ranks, on each", _adds
)
reduce_scatter = _collective(
    "reduce_scatter",
    _scattered,
    _reduce_scatter,
    _scatter_vjp,
    "own",
    "part r of the sum over all ranks, on rank r",
    _adds,
)
all_gather = _collective(
    "all_gather", _gathered, _all_gather, _gather_vjp, "same", "what all ranks have, along the first axis, on each"
)
rank_broadcast = _collective(
    "rank_broadcast", _rooted, _broadcast, _broadcast_vjp, "same", "what rank `root` has, on each"
)
barrier = _collective("barrier", _same, _barrier, _barrier_vjp, "own", "x, when all ranks have come here")
rank_index = _collective(
    "rank_index", _index_type, _rank_index, None, "own", "the number of the rank that runs the graph"
)
start_gather = _collective(
    "start_gather",
    _gathered,
    _all_gather,
    _start_gather_vjp,
    "own",
    "an `all_gather` that has begun: `finish` has what it gives",
)
start_exchange = _collective(
    "start_exchange",
    _exchanged,
    _exchange,
    _start_exchange_vjp,
    "own",
    "part r of what each rank has, in their order, on rank r: it has begun, and `finish` has it",
)
start_swap = _collective(
    "start_swap",
    _swapped,
    _swap,
    _start_swap_vjp,
    "own",
    "what the rank has whose number differs by the bit `distance`: it has begun, and `finish` has it",
)
finish = declare(
    Op(
        "finish",
        "collective",
        _finished,
        _finish,
        no_flops,
        _axes,
        _finish_vjp,
        "what has been received, once all messages of the tag are done; `sent` is what was sent",
        changes=0,
        can_trap=False,
        on_ranks="own",
    )
)
