"""Indexing: slices, integers, new axes, integer arrays and masks in square brackets; `take` and `take_along_axis`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optree

from ...ir import Array
from ...ir.ops import elementwise as ew
from ...ir.ops import indexing, movement
from ..tracing.mutable_arrays import as_view
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, as_operand, emit, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axis_index,
    cast,
    described,
    dtype_of,
    integer,
    reshaped,
    shape_of,
    stretched,
    transposed,
)

INT64 = np.dtype("int64")


def getitem(x: ArrayLike, key: Any) -> Any:
    """`x[key]` with NumPy's meaning, for a traced array or a traced index.

    Raises `IndexError` for an index known while tracing that is out of range, `TracingError` for a traced mask.
    """
    x = as_arraylike(x)
    entries, gap = index_entries(x, key if isinstance(key, tuple) else (key,))
    if not any(map(is_index_array, entries)):
        result = basic_entries(x, entries)
        parts = key if isinstance(key, tuple) else (key,)
        if isinstance(result, Tracer) and not result.shape and not any(part is Ellipsis for part in parts):
            return Tracer(result.owner, result.value)  # a scalar, which is no view
        return as_view(x, result)
    return _advanced(x, entries, gap)


def index_entries(x: ArrayLike, key: tuple[Any, ...]) -> tuple[list[Any], int]:
    """One entry for every axis of `x`, and `None` for new axes: a slice, an int, an array or a Tracer of integers.

    The number says before which entry the '...' stood: it separates index arrays even where it stands for no axis.
    """
    ndim = len(shape_of(x))
    found: list[Any] = []
    for part in key:
        found.extend(_entry(part))
    used = sum(part is not None and part is not Ellipsis for part in found)
    if sum(part is Ellipsis for part in found) > 1:
        raise IndexError(located("an index has more than one '...'"))
    if used > ndim:
        raise IndexError(located(f"too many indices: {used} for {described(x)}"))
    if not any(part is Ellipsis for part in found):
        found.append(Ellipsis)
    entries: list[Any] = []
    gap = next(i for i, part in enumerate(found) if part is Ellipsis)
    for part in found:
        entries.extend([slice(None)] * (ndim - used) if part is Ellipsis else [part])
    axis = 0
    for i, part in enumerate(entries):
        if part is None:
            continue
        if isinstance(part, _Nonzero):
            if part.shape and part.shape != shape_of(x)[axis : axis + len(part.shape)]:
                raise IndexError(located(f"a mask of shape {part.shape} does not fit axis {axis} of {described(x)}"))
            entries[i] = part.places
        elif isinstance(part, (int, np.ndarray)):
            entries[i] = _wrapped(part, shape_of(x)[axis], axis, x)
        axis += 1
    if any(map(is_index_array, entries)):
        # Beside an index array an integer counts as one.
        entries = [np.asarray(entry) if isinstance(entry, int) else entry for entry in entries]
    return entries, gap


class _Nonzero:
    """The places along one axis where a mask known while tracing holds; the first axis has the shape of the mask."""

    def __init__(self, places: Array, shape: tuple[int, ...]) -> None:
        self.places = places
        self.shape = shape


def _entry(part: Any) -> list[Any]:
    """What one part of an index stands for; a mask stands for an index array for each of its axes."""
    if part is None or part is Ellipsis:
        return [part]
    if isinstance(part, slice):
        return [slice(*(None if bound is None else integer(bound, "a bound of a slice") for bound in _bounds(part)))]
    if isinstance(part, (list, tuple)) and not any(isinstance(leaf, Tracer) for leaf in optree.tree_leaves(part)):  # pyright: ignore[reportArgumentType]
        part = np.asarray(part, None if len(part) else INT64)
    part = as_operand(part)
    kind = dtype_of(part).kind
    if kind == "b" and (isinstance(part, Tracer) or not shape_of(part)):
        raise TracingError(
            located("a traced mask as an index gives a shape that depends on values; write np.where(mask, x, 0)")
            if isinstance(part, Tracer)
            else located("True and False are no indices here; write x[None] for a new axis")
        )
    if kind == "b":
        return [_Nonzero(places, part.shape if i == 0 else ()) for i, places in enumerate(np.nonzero(part))]
    if kind == "f":
        raise IndexError(located(f"an index is an integer, a slice or an array of integers, got {described(part)}"))
    return [part if shape_of(part) or isinstance(part, Tracer) else int(part)]


def _bounds(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _wrapped(index: Any, length: int, axis: int, x: ArrayLike) -> Any:
    """An index known while tracing, counted from 0. Raises `IndexError` where it is out of range."""
    array = np.asarray(index, INT64)
    bad = (array < -length) | (array >= length)
    if bad.any():
        raise IndexError(located(f"index {int(array[bad].flat[0])} is out of range for axis {axis} of {described(x)}"))
    wrapped = np.where(array < 0, array + length, array)
    return int(wrapped) if isinstance(index, int) else wrapped


# Slices, integers and new axes.


def basic_entries(x: ArrayLike, entries: Sequence[Any]) -> Any:
    """Index by slices, integers and `None`: one slice, one reversal, one reshape, each where needed."""
    if not isinstance(x, Tracer):
        return x[tuple(entries)]
    shape = x.shape
    start, stop, step, turned, result = [], [], [], [], []
    axis = 0
    for part in entries:
        if part is None:
            result.append(1)
            continue
        if isinstance(part, int):
            window, count = (part, part + 1, 1), None
        else:
            places = range(*part.indices(shape[axis]))
            count = len(places)
            if count and places.step < 0:
                turned.append(axis)
                places = places[::-1]
            window = (places[0], places[-1] + 1, places.step if count > 1 else 1) if count else (0, 0, 1)
        for bounds, bound in zip((start, stop, step), window):
            bounds.append(bound)
        if count is not None:
            result.append(count)
        axis += 1
    if stop != list(shape) or any(start) or any(s != 1 for s in step):
        x = emit(movement.slice_, x, start=tuple(start), stop=tuple(stop), step=tuple(step))
    turned = tuple(a for a in turned if shape_of(x)[a] > 1)
    if turned:
        x = emit(movement.reverse, x, axes=turned)
    return reshaped(x, result)


# Index arrays.


def _advanced(x: ArrayLike, entries: Sequence[Any], gap: int) -> Any:
    slices = [slice(None) if is_index_array(part) else part for part in entries if part is not None]
    x = basic_entries(x, slices)
    places = [i for i, part in enumerate(entries) if is_index_array(part)]
    indices = [entries[i] for i in places]
    axes = [sum(part is not None for part in entries[:i]) for i in places]
    shape = broadcast_indices(indices)
    adjacent = are_adjacent(places, gap)
    if not adjacent:
        # What the index arrays make comes first, as in NumPy.
        x = transposed(x, (*axes, *(a for a in range(len(shape_of(x))) if a not in axes)))
        axes = list(range(len(axes)))
    gathered = _gathered(x, indices, axes[0], shape)
    rest = [part for part in entries if not is_index_array(part)]
    if all(part is not None for part in rest):
        return gathered
    # New axes stand among the slices; the result of the index arrays is one block of axes.
    lengths = iter(shape_of(gathered))
    before = entries[: places[0]] if adjacent else []
    after = entries[places[-1] + 1 :] if adjacent else rest
    result = [1 if part is None else next(lengths) for part in before]
    result += [next(lengths) for _ in shape]
    result += [1 if part is None else next(lengths) for part in after]
    return reshaped(gathered, result)


def is_index_array(entry: Any) -> bool:
    """Whether an entry of an index is an array, traced or not."""
    return isinstance(entry, (np.ndarray, Tracer))


def broadcast_indices(indices: Sequence[ArrayLike]) -> tuple[int, ...]:
    """The shape that index arrays broadcast to. Raises `IndexError` where there is none."""
    try:
        return np.broadcast_shapes(*map(shape_of, indices))
    except ValueError:
        shown = " and ".join(str(shape_of(index)) for index in indices)
        raise IndexError(located(f"index arrays of shapes {shown} do not broadcast together")) from None


def are_adjacent(places: Sequence[int], gap: int) -> bool:
    """Whether index arrays at these places of an index stand together; else what they make comes first."""
    return list(places) == list(range(places[0], places[0] + len(places))) and not places[0] < gap <= places[-1]


def _gathered(x: ArrayLike, indices: Sequence[Any], axis: int, shape: tuple[int, ...]) -> Any:
    """Index the axes of `x` from `axis` on, one for each of `indices`, by arrays that broadcast to `shape`."""
    if len(indices) == 1:
        return _gather(x, indices[0], axis, 0)
    count = len(indices)
    if axis == 0 and len(shape) >= count - 1 and _counts_along(indices[:-1], shape_of(x), shape):
        return _gather(x, stretched(indices[-1], shape), count - 1, count - 1)
    lengths = shape_of(x)[axis : axis + count]
    flat = 0
    for index, length in zip(indices, lengths):
        flat = e.add(e.multiply(flat, length), nonnegative(index, length))
    merged = reshaped(x, (*shape_of(x)[:axis], math.prod(lengths), *shape_of(x)[axis + count :]))
    return _gather(merged, stretched(as_arraylike(flat), shape), axis, 0)


def _counts_along(indices: Sequence[Any], lengths: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether the indices are 0, 1, 2, ... along the leading axes of `shape`: `x[np.arange(n), labels]`."""
    for axis, index in enumerate(indices):
        if not isinstance(index, np.ndarray) or shape[axis] != lengths[axis]:
            return False
        along = np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - axis - 1))
        if not np.array_equal(np.broadcast_to(index, shape), np.broadcast_to(along, shape)):
            return False
    return True


def nonnegative(index: ArrayLike, length: int) -> ArrayLike:
    """An index counted from 0, and checked: beside others it would reach into a neighbouring row unseen."""
    if not isinstance(index, Tracer):
        return index
    wide = cast(index, INT64)
    if index.dtype.kind == "i":
        wide = e.where(e.less(wide, 0), e.add(wide, length), wide)
    return emit(ew.check_index, wide, size=length)


def _gather(x: ArrayLike, index: ArrayLike, axis: int, batch: int) -> Any:
    return emit(indexing.gather, x, index, axis=axis, batch=batch)


def _index_argument(indices: ArrayLike, what: str) -> ArrayLike:
    indices = as_arraylike(
        np.asarray(indices, INT64) if isinstance(indices, (list, tuple)) and not indices else indices
    )
    if dtype_of(indices).kind not in "iu":
        raise IndexError(
            located(f"{what}: indices are integers, got {described(indices)}; write indices.astype('int64')")
        )
    return indices


def take(x: ArrayLike, /, indices: ArrayLike, axis: int | None = None, *, mode: str = "raise") -> Any:
    """The elements of `x` (flattened for `axis=None`) at `indices` along `axis`.

    `mode` says what happens to indices out of range: an `IndexError`, `"wrap"` or `"clip"`.
    """
    x, indices = as_arraylike(x), _index_argument(indices, "np.take")
    if axis is None:
        x, axis = reshaped(x, (math.prod(shape_of(x)),)), 0
    place = axis_index(axis, len(shape_of(x)))
    length = shape_of(x)[place]
    if mode == "wrap":
        indices = e.remainder(cast(indices, INT64), length)
    elif mode == "clip":
        indices = e.clip(cast(indices, INT64), 0, length - 1)
    elif mode != "raise":
        raise TracingError(located(f"np.take: mode is raise, wrap or clip, not {mode!r}"))
    if isinstance(indices, np.ndarray):
        indices = _wrapped(indices, length, place, x)
    return _gather(x, indices, place, 0)


def take_along_axis(x: ArrayLike, /, indices: ArrayLike, axis: int | None = -1) -> Any:
    """For every place, the element of `x` whose index along `axis` is there in `indices`; other axes broadcast."""
    x, indices = as_arraylike(x), _index_argument(indices, "np.take_along_axis")
    if axis is None:
        x, axis = reshaped(x, (math.prod(shape_of(x)),)), 0
    ndim = len(shape_of(x))
    if len(shape_of(indices)) != ndim:
        raise ShapeError(
            located(f"np.take_along_axis: {described(indices)} and {described(x)} differ in the number of axes")
        )
    place = axis_index(axis, ndim)
    if isinstance(indices, np.ndarray):
        indices = _wrapped(indices, shape_of(x)[place], place, x)
    if math.prod(shape_of(indices)[place + 1 :]) == 1:
        # Whole rows are looked up.
        order, last = [*range(ndim)], place
        moved, at = x, reshaped(indices, shape_of(indices)[: place + 1])
    else:
        order, last = [*(i for i in range(ndim) if i != place), place], ndim - 1
        moved, at = transposed(x, order), transposed(indices, order)
    try:
        batch = np.broadcast_shapes(shape_of(moved)[:last], shape_of(at)[:last])
    except ValueError:
        raise ShapeError(
            located(f"np.take_along_axis: {described(x)} and {described(indices)} do not fit along {axis}")
        ) from None
    moved, at = stretched(moved, (*batch, *shape_of(moved)[last:])), stretched(at, (*batch, shape_of(at)[last]))
    trace = trace_of([moved, at])
    if trace is not None and not isinstance(moved, Tracer):
        moved = trace.constant(moved)
    return transposed(_gather(moved, at, last, last), np.argsort(order).tolist())
