"""Ops that move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....ir.ops import dynamic_slice as ds
from ....ir.ops import movement
from .emitter import Emitter, Name, emits
from .symbolic_graph import Dim, Length, SymbolicNode

_END = np.iinfo(np.int64).max


@emits(movement.reshape)
def reshape(e: Emitter, node: SymbolicNode) -> str:
    return e.reshaped(e.name(node.inputs[0]), node.output.shape)


@emits(movement.transpose)
def transpose(e: Emitter, node: SymbolicNode) -> str:
    return e.transposed(e.name(node.inputs[0]), node.attrs["perm"])


@emits(movement.broadcast)
def broadcast(e: Emitter, node: SymbolicNode) -> Name:
    """Axes of length 1 where new ones are, which operators repeat by themselves."""
    (x,) = node.inputs
    shape, axes = node.output.shape, node.attrs["axes"]
    first = axes[0] if axes else len(shape)
    new = [i - first for i in range(first, len(shape)) if i not in axes]

    def thin() -> str:
        name = e.thin[x]() if x in e.thin and not axes else e.name(x)
        return e.node("Unsqueeze", name, e.numbers(*new)) if new and axes else name

    found: list[str] = []

    def once() -> str:
        if not found:
            found.append(thin())
        return found[0]

    e.thin[node.output] = once
    return lambda: e.node("Expand", once(), e.lengths(shape))


@emits(movement.slice_)
def slice_(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    start, stop, step = (node.attrs[name] for name in ("start", "stop", "step"))
    cut = [i for i, n in enumerate(x.shape) if (start[i], stop[i], step[i]) != (0, n, 1)]
    if not cut:
        return e.name(x)
    ends = [_END if stop[i] == x.shape[i] else stop[i] for i in cut]
    steps = [] if all(step[i] == 1 for i in cut) else [e.lengths([step[i] for i in cut])]
    return e.node("Slice", e.name(x), e.lengths([start[i] for i in cut]), e.lengths(ends), e.numbers(*cut), *steps)


@emits(movement.reverse)
def reverse(e: Emitter, node: SymbolicNode) -> str:
    return turned(e, e.name(node.inputs[0]), node.attrs["axes"])


def turned(e: Emitter, name: str, axes: Sequence[int]) -> str:
    """An array with the order along `axes` turned."""
    if not axes:
        return name
    count = len(axes)
    starts, ends, steps = ([n] * count for n in (-1, -_END, -1))
    return e.node("Slice", name, e.numbers(*starts), e.numbers(*ends), e.numbers(*axes), e.numbers(*steps))


@emits(movement.pad)
def pad(e: Emitter, node: SymbolicNode) -> str:
    (x,) = node.inputs
    low, high, interior = (node.attrs[name] for name in ("low", "high", "interior"))
    name = e.name(x)
    value = e.constant(node.attrs["value"], x.dtype)
    if any(interior):
        name = spread(e, name, x.shape, e.whole(interior, "padding"), value)
    if any((*low, *high)):
        name = e.node("Pad", name, e.lengths([*low, *high]), value)
    return name


def spread(e: Emitter, name: str, shape: Sequence[Dim], interior: Sequence[int], value: str) -> str:
    """An array with so many of `value` between its elements along every axis."""
    for axis, (length, between) in enumerate(zip(shape, interior)):
        if not between:
            continue
        # Each element gets an axis of its own, which is padded and joined again.
        rank = len(shape) + 1
        apart = e.node("Unsqueeze", name, e.numbers(axis + 1))
        widths = [0] * (2 * rank)
        widths[rank + axis + 1] = between
        apart = e.node("Pad", apart, e.numbers(*widths), value)
        kept = [*shape[:axis], _times(length, between + 1), *shape[axis + 1 :]]
        name = e.reshaped(apart, kept)
        name = e.node("Slice", name, e.numbers(0), e.numbers(-between), e.numbers(axis))
        shape = [*shape[:axis], _plus(_times(length, between + 1), -between), *shape[axis + 1 :]]
    return name


def _times(dim: Dim, factor: int) -> Dim:
    return Length(dim.times * factor, dim.plus * factor) if isinstance(dim, Length) else dim * factor


def _plus(dim: Dim, more: int) -> Dim:
    return Length(dim.times, dim.plus + more) if isinstance(dim, Length) else dim + more


@emits(movement.concatenate)
def concatenate(e: Emitter, node: SymbolicNode) -> str:
    return e.node("Concat", *(e.name(x) for x in node.inputs), axis=node.attrs["axis"])


def _first(e: Emitter, node: SymbolicNode) -> str:
    """Where a slice begins, brought inside, as an array of one number."""
    x, start = node.inputs[:2]
    axis = node.attrs["axis"]
    if node.attrs["batch"]:
        raise e.refusal("ONNX has no operator for slices that begin elsewhere in each entry of a batch")
    size = node.attrs["size"] if "size" in node.attrs else node.inputs[2].shape[axis]
    whole, part = e.lengths([x.shape[axis]]), e.lengths([size])
    room = e.node("Squeeze", e.node("Sub", whole, part), e.numbers(0))
    inside = e.node("Clip", e.name(start), e.constant(0, np.int64), room)
    return e.node("Unsqueeze", inside, e.numbers(0))


@emits(ds.dynamic_slice)
def dynamic_slice(e: Emitter, node: SymbolicNode) -> str:
    first = _first(e, node)
    end = e.node("Add", first, e.lengths([node.attrs["size"]]))
    cut = e.node("Slice", e.name(node.inputs[0]), first, end, e.numbers(node.attrs["axis"]))
    return e.reshaped(cut, node.output.shape)  # whose length is known again


@emits(ds.dynamic_update_slice)
def dynamic_update_slice(e: Emitter, node: SymbolicNode) -> str:
    """The rows of the update are written to their places."""
    x, _, update = node.inputs
    axis = node.attrs["axis"]
    first = _first(e, node)
    (count,) = e.whole([update.shape[axis]], "the length of an update")
    rows = e.node("Unsqueeze", e.node("Add", first, e.constant(np.arange(count), np.int64)), e.numbers(1))
    order = (axis, *(i for i in range(x.ndim) if i != axis))
    written = e.node("ScatterND", e.transposed(e.name(x), order), rows, e.transposed(e.name(update), order))
    return e.transposed(written, [int(i) for i in np.argsort(order)])
