"""Slices that begin where traced values say, under the names of `jax.lax`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.ops import dynamic_slice as ops
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, axis_index, cast, described, dtype_of, integer, reshaped, shape_of
from .indexing import getitem

_INT64 = np.dtype("int64")


def dynamic_slice(operand: ArrayLike, start_indices: Any, slice_sizes: Sequence[int]) -> Any:
    """The slice of `slice_sizes` that begins at `start_indices`, as `jax.lax.dynamic_slice`.

    The starts are a sequence of integers, or an array of them, one for each axis; they may be traced. A negative start
    counts from the end. A start is clamped so that the slice lies in the array. Raises `ShapeError` where a slice is
    larger than the array, or where the numbers of axes differ.
    """
    x = as_arraylike(operand)
    starts = _starts("dynamic_slice", x, start_indices)
    sizes = [integer(n, "dynamic_slice: a length") for n in slice_sizes]
    _check_sizes("dynamic_slice", x, sizes)
    return read_slice(x, starts, sizes)


def dynamic_update_slice(operand: ArrayLike, update: ArrayLike, start_indices: Any) -> Any:
    """`operand` with `update` in place of the slice of its shape that begins at `start_indices`, as
    `jax.lax.dynamic_update_slice`.

    Starts are those of `dynamic_slice`, clamped too. In a program only the slice is written, where nothing reads the
    old array later: an array that a loop carries, or state of a bound function. Raises `ShapeError` where the update is
    larger, `TracingError` where its dtype is another.
    """
    x, new = as_arraylike(operand), as_arraylike(update)
    starts = _starts("dynamic_update_slice", x, start_indices)
    _check_sizes("dynamic_update_slice", x, list(shape_of(new)))
    if dtype_of(new) != dtype_of(x):
        what = f"dynamic_update_slice: the update is {described(new)}, the array {described(x)}"
        raise TracingError(located(f"{what}; write update.astype('{dtype_of(x)}')"))
    return write_slice(x, new, starts)


def dynamic_slice_in_dim(operand: ArrayLike, start_index: Any, slice_size: int, axis: int = 0) -> Any:
    """`slice_size` entries along `axis` from `start_index` on, as `jax.lax.dynamic_slice_in_dim`."""
    x = as_arraylike(operand)
    place = axis_index(axis, len(shape_of(x)))
    sizes = list(shape_of(x))
    sizes[place] = slice_size
    return dynamic_slice(x, _along(place, start_index, len(sizes)), sizes)


def dynamic_index_in_dim(operand: ArrayLike, index: Any, axis: int = 0, keepdims: bool = True) -> Any:
    """The entry at `index` along `axis`, as `jax.lax.dynamic_index_in_dim`; the axis stays, with `keepdims`."""
    part = dynamic_slice_in_dim(operand, index, 1, axis)
    if keepdims:
        return part
    place = axis_index(axis, len(shape_of(part)))
    return reshaped(part, (*shape_of(part)[:place], *shape_of(part)[place + 1 :]))


def dynamic_update_slice_in_dim(operand: ArrayLike, update: ArrayLike, start_index: Any, axis: int) -> Any:
    """`dynamic_update_slice` along `axis`, as `jax.lax.dynamic_update_slice_in_dim`."""
    x = as_arraylike(operand)
    place = axis_index(axis, len(shape_of(x)))
    return dynamic_update_slice(x, update, _along(place, start_index, len(shape_of(x))))


def dynamic_update_index_in_dim(operand: ArrayLike, update: ArrayLike, index: Any, axis: int) -> Any:
    """`operand` with `update` as its entry at `index` along `axis`, as `jax.lax.dynamic_update_index_in_dim`; the
    update may lack the axis.
    """
    x, new = as_arraylike(operand), as_arraylike(update)
    place = axis_index(axis, len(shape_of(x)))
    if len(shape_of(new)) == len(shape_of(x)) - 1:
        new = reshaped(new, (*shape_of(new)[:place], 1, *shape_of(new)[place:]))
    return dynamic_update_slice_in_dim(x, new, index, place)


def _along(axis: int, start: Any, ndim: int) -> list[Any]:
    return [start if i == axis else 0 for i in range(ndim)]


def _starts(what: str, x: ArrayLike, given: Any) -> list[Any]:
    """A start for each axis: a Python integer, clamped later, or a traced int64 scalar that counts from 0."""
    listed = list(given) if isinstance(given, (list, tuple)) else as_arraylike(given)
    if not isinstance(listed, list):
        if len(shape_of(listed)) != 1:
            raise ShapeError(located(f"{what}: the starts are a sequence, one for each axis, got {described(listed)}"))
        listed = [listed[i] for i in range(shape_of(listed)[0])]
    if len(listed) != len(shape_of(x)):
        raise ShapeError(located(f"{what}: {len(listed)} starts for {described(x)}, which has {len(shape_of(x))} axes"))
    return [_start(what, start, length) for start, length in zip(listed, shape_of(x))]


def _start(what: str, start: Any, length: int) -> Any:
    if not isinstance(start, Tracer):
        index = np.asarray(start)
        if index.shape or index.dtype.kind not in "iu":
            raise TypeError(located(f"{what}: a start is an integer, got {start!r}"))
        return int(index) + length if index < 0 else int(index)
    if start.shape or start.dtype.kind not in "iu":
        raise TypeError(located(f"{what}: a start is an integer without axes, got {described(start)}"))
    wide = cast(start, _INT64)
    return wide if start.dtype.kind == "u" else e.where(e.less(wide, 0), e.add(wide, length), wide)


def _check_sizes(what: str, x: ArrayLike, sizes: Sequence[int]) -> None:
    shape = shape_of(x)
    if len(sizes) != len(shape) or any(not 0 <= size <= n for size, n in zip(sizes, shape)):
        raise ShapeError(located(f"{what}: a slice of shape {tuple(sizes)} does not lie in {described(x)}"))


def read_slice(x: ArrayLike, starts: Sequence[Any], sizes: Sequence[int]) -> ArrayLike:
    """The slice of `sizes` from `starts` on: Python integers, or traced int64 scalars."""
    for axis, (start, size) in enumerate(zip(starts, sizes)):
        x = _read(x, start, size, axis)
    return x


def write_slice(x: ArrayLike, new: ArrayLike, starts: Sequence[Any]) -> ArrayLike:
    """`x` with `new` in place of the slice of its shape from `starts` on."""
    # The axis along which the least is read and written again goes first.
    axes = [axis for axis, size in enumerate(shape_of(new)) if size != shape_of(x)[axis]]
    return _written(x, new, starts, sorted(axes, key=lambda a: shape_of(new)[a] / max(shape_of(x)[a], 1)))


def _read(x: ArrayLike, start: Any, size: int, axis: int) -> ArrayLike:
    length = shape_of(x)[axis]
    if size == length:
        return x
    if isinstance(start, int):
        first = min(max(start, 0), length - size)
        return getitem(x, (*(slice(None) for _ in range(axis)), slice(first, first + size)))
    return emit(ops.dynamic_slice, x, start, size=size, axis=axis, batch=0)


def _written(x: ArrayLike, new: ArrayLike, starts: Sequence[Any], axes: Sequence[int]) -> ArrayLike:
    """`x` with a part that is smaller along `axes`: part of a slab of the first of them, which is written whole."""
    if not axes:
        return new
    axis = axes[0]
    if len(axes) > 1:
        new = _written(_read(x, starts[axis], shape_of(new)[axis], axis), new, starts, axes[1:])
    start = np.asarray(starts[axis], _INT64) if isinstance(starts[axis], int) else starts[axis]
    return emit(ops.dynamic_update_slice, x, start, new, axis=axis, batch=0)
