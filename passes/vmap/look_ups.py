"""Rules of gather, scatters and dynamic slices: indices, or what is indexed, may be the same for all examples."""

from __future__ import annotations

from ...ir import OPS, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import indexing
from ...ir.types import INT64
from .vectorizer import Outputs, Vectorizer


def vectorized_gather(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """A table that is the same for all examples is looked up at the indices of all, and is not repeated."""
    x, indices = inputs
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    if not flags[0]:
        # The examples are the first of the axes of the indices behind the batch axes.
        found = v.b.emit(node.op, x, v.moved(indices, 0, batch), axis=axis, batch=batch)
        return [(v.moved(found, axis, 0), True)]
    if not flags[1] and not batch:
        return [(v.b.emit(node.op, x, indices, axis=axis + 1, batch=0), True)]
    return _all_mapped(v, node, inputs, flags)


def vectorized_update(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """Indices, or a start, that are the same for all examples name entries of a later axis."""
    x, place, updates = inputs
    if flags[1] or node.attrs["batch"]:
        return _all_mapped(v, node, inputs, flags)
    x, updates = v.all_repeated([x, updates], [flags[0], flags[2]])
    return [(v.b.emit(node.op, x, place, updates, axis=node.attrs["axis"] + 1, batch=0), True)]


def vectorized_dynamic_slice(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    """Slices of one array at the starts of all examples are looked up in it, and it is not repeated."""
    x, start = inputs
    axis: int = node.attrs["axis"]
    batch, size = int(node.attrs["batch"]), int(node.attrs["size"])
    if batch or (flags[0] and flags[1]):
        return _all_mapped(v, node, inputs, flags)
    if flags[0]:
        return [(v.b.emit(node.op, x, start, **{**node.attrs, "axis": axis + 1}), True)]
    last = v.b.full_like(start, int(x.type.shape[axis]) - size)
    first = ew.maximum(v.b, ew.minimum(v.b, start, last), v.b.full_like(start, 0))
    shape = (v.count, size)
    first = v.b.emit(OPS["broadcast"], first, shape=shape, axes=(0,))
    places = ew.add(v.b, first, v.b.emit(OPS["iota"], shape=shape, axis=1, dtype=INT64))
    found = v.b.emit(indexing.gather, x, places, axis=axis, batch=0)
    return [(v.moved(found, axis, 0), True)]


def _all_mapped(v: Vectorizer, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
    assert node.op.batch is not None
    every = v.all_repeated(inputs, flags)
    return [(v.b.emit(node.op, *every, **node.op.batch(node.attrs, v.count)), True)]
