"""Look-ups and scatters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....ir import Op
from ....ir.ops import indexing, scatter
from .emitter import Emitter, emits
from .symbolic_graph import Dim, SymbolicNode, SymbolicValue


@emits(indexing.gather)
def gather(e: Emitter, node: SymbolicNode) -> str:
    x, indices = node.inputs
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    if not batch:
        return e.node("Gather", e.name(x), _wide(e, indices), axis=axis)
    if indices.ndim == x.ndim == axis + 1 and batch == axis:
        return e.node("GatherElements", e.name(x), _wide(e, indices), axis=axis)
    # The axis behind the batch, an index for each place, and what was between them back in front of what is new.
    between, behind = range(batch, axis), range(axis + 1, x.ndim)
    rows = e.transposed(e.name(x), (*range(batch), axis, *between, *behind))
    places = e.node("Unsqueeze", _wide(e, indices), e.numbers(indices.ndim))
    found = e.node("GatherND", rows, places, batch_dims=batch)
    new = range(batch, indices.ndim)
    moved = [indices.ndim + i for i in range(len(between))]
    rest = [indices.ndim + len(between) + i for i in range(len(behind))]
    return e.transposed(found, (*range(batch), *moved, *new, *rest))


def _wide(e: Emitter, indices: SymbolicValue) -> str:
    name = e.name(indices)
    return name if indices.dtype == np.dtype("int64") else e.cast(name, np.dtype("int64"))


_WAYS: dict[Op, str] = {
    indexing.scatter_add: "add",
    scatter.scatter_set: "none",
    scatter.scatter_mul: "mul",
    scatter.scatter_max: "max",
    scatter.scatter_min: "min",
}


@emits(*_WAYS)
def scattered(e: Emitter, node: SymbolicNode) -> str:
    """With the axis first, and batch axes as a part of it."""
    x, indices, updates = node.inputs
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    middle = indices.ndim - batch
    order = (*range(batch), axis, *range(batch, axis), *range(axis + 1, x.ndim))
    of_updates = (
        *range(batch),
        *range(axis, axis + middle),
        *range(batch, axis),
        *range(axis + middle, updates.ndim),
    )
    rest = [x.shape[i] for i in order[batch + 1 :]]
    rows = e.transposed(e.name(x), order)
    places = _wide(e, indices)
    given = e.transposed(e.name(updates), of_updates)
    if batch:
        places = _flat(e, places, x.shape[:batch], x.shape[axis], middle)
        behind = e.whole(rest, "a length behind what is scattered to")
        rows, given = e.reshaped(rows, [-1, *behind]), e.reshaped(given, [-1, *behind])
        places = e.node("Reshape", places, e.numbers(-1))
    places = e.node("Unsqueeze", places, e.numbers(1 if batch else indices.ndim))
    written = e.node("ScatterND", rows, places, given, reduction=_WAYS[node.op])
    if batch:
        written = e.reshaped(written, [x.shape[i] for i in order])
    return e.transposed(written, [int(i) for i in np.argsort(order)])


def _flat(e: Emitter, places: str, batch: Sequence[Dim], length: Dim, middle: int) -> str:
    """Places counted through all entries of the batch, from their starts."""
    (count,) = e.whole([length], "the length of what is scattered to")
    is_below = e.node("Less", places, e.constant(0, np.int64))
    places = e.node("Where", is_below, e.node("Add", places, e.constant(count, np.int64)), places)
    for i, n in enumerate(batch):
        apart = count * math.prod(e.whole(batch[i + 1 :], "a batch"))
        end = e.node("Squeeze", e.lengths([n]), e.numbers(0))
        entries = e.node("Range", e.constant(0, np.int64), end, e.constant(1, np.int64))
        starts = e.node("Mul", entries, e.constant(apart, np.int64))
        behind = len(batch) - 1 - i + middle
        places = e.node("Add", places, e.node("Unsqueeze", starts, e.numbers(*range(1, behind + 1))))
    return places
