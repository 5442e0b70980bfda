"""Slices along one axis that begin where a value says, read and written; batch axes have starts of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..complex_parts import apart
from ..graph import Value
from ..op import Attrs, Op, Recompute, TypeRuleError, declare, no_flops
from ..types import INT64, Array, ArrayType


def _check(x: ArrayType, start: ArrayType, size: int, axis: int, batch: int) -> None:
    if not 0 <= batch <= axis < x.ndim:
        raise TypeRuleError(f"axis {axis} with {batch} batch axes of {x}")
    if start != ArrayType(x.shape[:batch], INT64):
        raise TypeRuleError(f"the starts of {x} with {batch} batch axes are i64{list(x.shape[:batch])}, got {start}")
    if not 0 <= size <= x.shape[axis]:
        raise TypeRuleError(f"{size} entries are no slice of axis {axis} of {x}")


def _places(x: Array, start: Array, size: int, axis: int, batch: int) -> Array:
    """The indices of the slice, with the axes of `x` up to `axis`, of length 1 where they share a start."""
    first = np.clip(start, 0, x.shape[axis] - size).reshape((*start.shape, *(1,) * (x.ndim - batch)))
    return first + np.arange(size).reshape((-1, *(1,) * (x.ndim - axis - 1)))


def _slice_type(x: ArrayType, start: ArrayType, size: int, axis: int, batch: int) -> ArrayType:
    _check(x, start, size, axis, batch)
    return ArrayType((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)


def _slice(x: Array, start: Array, size: int, axis: int, batch: int) -> Array:
    if math.prod(x.shape) == 0:
        return np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    return np.take_along_axis(x, _places(x, start, size, axis, batch), axis)


def _slice_vjp(
    b: Builder, g: Value, o: Value, x: Value, start: Value, size: int, axis: int, batch: int
) -> tuple[Value, None]:
    return dynamic_update_slice(b, b.full_like(x, 0), start, g, axis=axis, batch=batch), None


def _axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    aligned: list[int | None] = [None if i == attrs["axis"] else i for i in range(output.ndim)]
    of_starts: list[int | None] = [i if i < attrs["batch"] else None for i in range(output.ndim)]
    return [aligned, of_starts, *(aligned for _ in inputs[2:])]


def _later(attrs: Attrs, length: int) -> Attrs:
    return {**attrs, "axis": attrs["axis"] + 1, "batch": attrs["batch"] + 1}


dynamic_slice = declare(
    Op(
        "dynamic_slice",
        "movement",
        _slice_type,
        _slice,
        no_flops,
        _axes,
        _slice_vjp,
        "`size` entries of x along `axis`, from `start` on, one for each index of the first `batch` axes; a start is "
        "clamped so that the slice lies in x",
        only_moves=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=_later,
        parts=apart,
    )
)


def _update_type(x: ArrayType, start: ArrayType, update: ArrayType, axis: int, batch: int) -> ArrayType:
    if update.ndim != x.ndim:
        raise TypeRuleError(f"the update of {x} has as many axes, got {update}")
    if _slice_type(x, start, update.shape[axis] if axis < x.ndim else 0, axis, batch) != update:
        raise TypeRuleError(f"{update} is no slice of {x} along axis {axis}")
    return x


def _update(x: Array, start: Array, update: Array, axis: int, batch: int) -> Array:
    result = np.array(x, order="C")
    if update.size:
        np.put_along_axis(result, _places(x, start, update.shape[axis], axis, batch), update, axis)
    return result


def _update_vjp(
    b: Builder, g: Value, o: Value, x: Value, start: Value, update: Value, axis: int, batch: int
) -> tuple[Value, None, Value]:
    size = update.type.shape[axis]
    kept = dynamic_update_slice(b, g, start, b.full_like(update, 0), axis=axis, batch=batch)
    return kept, None, dynamic_slice(b, g, start, size=size, axis=axis, batch=batch)


dynamic_update_slice = declare(
    Op(
        "dynamic_update_slice",
        "movement",
        _update_type,
        _update,
        no_flops,
        _axes,
        _update_vjp,
        "x with `update` in place of the slice along `axis` from `start` on, as of `dynamic_slice`",
        only_moves=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        changes=0,
        batch=_later,
        parts=apart,
    )
)
