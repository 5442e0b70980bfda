"""Gather and scatter-add along one axis, with leading batch axes shared by array and indices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..complex_parts import apart
from ..graph import Value
from ..op import Attrs, Op, Recompute, TypeRuleError, declare, no_flops
from ..types import BOOL, Array, ArrayType, is_float


def _check(x: ArrayType, indices: ArrayType, axis: int, batch: int) -> None:
    if indices.dtype.kind not in "iu":
        raise TypeRuleError(f"an index is an integer, got {indices}; write indices.astype('int64')")
    if not 0 <= batch <= axis < x.ndim or batch > indices.ndim:
        raise TypeRuleError(f"axis {axis} with {batch} batch axes of {x} and {indices}")
    if x.shape[:batch] != indices.shape[:batch]:
        raise TypeRuleError(f"the first {batch} axes of {x} and {indices} differ")


def _result_shape(x: ArrayType, indices: ArrayType, axis: int, batch: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :])


def _gather_type(x: ArrayType, indices: ArrayType, axis: int, batch: int) -> ArrayType:
    _check(x, indices, axis, batch)
    return ArrayType(_result_shape(x, indices, axis, batch), x.dtype)


def checked_indices(indices: Array, length: int) -> Array:
    """Indices counted from 0. Raises `IndexError` for one that is out of range."""
    wide = indices.astype(np.int64)
    bad = (wide < -length) | (wide >= length)
    if bad.any():
        raise IndexError(f"index {int(wide[bad].flat[0])} is out of range for {length} entries")
    return np.where(wide < 0, wide + length, wide)


def index_blocks(shape: Sequence[int], axis: int, batch: int) -> tuple[int, int, int, int]:
    """Elements of the batch axes, of those between them and `axis`, of that, and of those behind it."""
    return math.prod(shape[:batch]), math.prod(shape[batch:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _gather(x: Array, indices: Array, axis: int, batch: int) -> Array:
    batches, outer, length, inner = index_blocks(x.shape, axis, batch)
    result = _result_shape(ArrayType(x.shape, x.dtype), ArrayType(indices.shape, indices.dtype), axis, batch)
    rows = checked_indices(indices, length).reshape(batches, math.prod(indices.shape[batch:]))
    blocks = x.reshape(batches, outer, length, inner).transpose(0, 2, 1, 3)
    return blocks[np.arange(batches)[:, None], rows].transpose(0, 2, 1, 3).reshape(result)


def _gather_vjp(b: Builder, g: Value, o: Value, x: Value, i: Value, axis: int, batch: int) -> tuple[Value, None]:
    return scatter_add(b, b.full_like(x, 0), i, g, axis=axis, batch=batch), None


def _gather_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    x, indices = inputs
    axis, batch = attrs["axis"], attrs["batch"]
    middle = indices.ndim - batch
    of_x = [*range(axis), *(None for _ in range(middle)), *range(axis + 1, x.ndim)]
    of_indices = [*range(batch), *(None for _ in range(axis - batch)), *range(batch, indices.ndim)]
    return [of_x, of_indices + [None] * (x.ndim - axis - 1)]


def later_axis_and_batch(attrs: Attrs, length: int) -> Attrs:
    """The batching rule of a look-up and of every scatter."""
    return {"axis": attrs["axis"] + 1, "batch": attrs["batch"] + 1}


gather = declare(
    Op(
        "gather",
        "indexing",
        _gather_type,
        _gather,
        no_flops,
        _gather_axes,
        _gather_vjp,
        "x[..., indices, ...] along `axis`, for each index of the first `batch` axes; "
        "negative indices count from the end",
        only_moves=True,
        recompute=Recompute.COSTLY,
        batch=later_axis_and_batch,
        parts=apart,
    )
)


def scattered_type(x: ArrayType, indices: ArrayType, updates: ArrayType, axis: int, batch: int) -> ArrayType:
    """The type rule of every scatter: that of `x`."""
    _check(x, indices, axis, batch)
    expected = ArrayType(_result_shape(x, indices, axis, batch), x.dtype)
    if updates != expected:
        raise TypeRuleError(f"updates are {updates}, expected {expected}")
    return x


def _scatter_type(x: ArrayType, indices: ArrayType, updates: ArrayType, axis: int, batch: int) -> ArrayType:
    scattered_type(x, indices, updates, axis, batch)
    if x.dtype == BOOL:
        raise TypeRuleError(f"does not add {x}")
    return x


def _scatter_add(x: Array, indices: Array, updates: Array, axis: int, batch: int) -> Array:
    batches, outer, length, inner = index_blocks(x.shape, axis, batch)
    rows = checked_indices(indices, length).reshape(batches, math.prod(indices.shape[batch:]))
    # In float64, as `np.add.at` adds one update after the other.
    result = np.array(x, np.float64 if is_float(x.dtype) else x.dtype, order="C")
    blocks = result.reshape(batches, outer, length, inner).transpose(0, 2, 1, 3)
    added = updates.reshape(batches, outer, rows.shape[1], inner).transpose(0, 2, 1, 3)
    np.add.at(blocks, (np.arange(batches)[:, None], rows), added)
    return result.astype(x.dtype, copy=False)


def _scatter_vjp(
    b: Builder, g: Value, o: Value, x: Value, i: Value, u: Value, axis: int, batch: int
) -> tuple[Value, None, Value]:
    return g, None, gather(b, g, i, axis=axis, batch=batch)


def scatter_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    """The axis rule of every scatter."""
    updates = inputs[2]
    axis, batch = attrs["axis"], attrs["batch"]
    shift = updates.ndim - output.ndim
    of_updates = [None if i == axis else (i if i < axis else i + shift) for i in range(output.ndim)]
    of_indices = [i if i < batch else None for i in range(output.ndim)]
    of_x = [None if i == axis else i for i in range(output.ndim)]
    return [of_x, of_indices, of_updates]


def scatter_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    """One operation an update."""
    return inputs[2].size


scatter_add = declare(
    Op(
        "scatter_add",
        "indexing",
        _scatter_type,
        _scatter_add,
        scatter_flops,
        scatter_axes,
        _scatter_vjp,
        "x with `updates` added at `indices` along `axis`, in the order of the indices: what undoes gather",
        recompute=Recompute.COSTLY,
        accumulates=0,
        batch=later_axis_and_batch,
        parts=apart,
    )
)
