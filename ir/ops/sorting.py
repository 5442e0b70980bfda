"""Sorting along an axis: stable, so that equal elements keep their order, with NaN as the largest of all numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare, later_axis
from ..types import INT64, Array, ArrayType
from .indexing import scatter_add


def _sort_type(x: ArrayType, axis: int, descending: bool) -> ArrayType:
    if not 0 <= axis < x.ndim:
        raise TypeRuleError(f"axis {axis} of {x}")
    return x


def _argsort_type(x: ArrayType, axis: int, descending: bool) -> ArrayType:
    return ArrayType(_sort_type(x, axis, descending).shape, INT64)


def _argsort(x: Array, axis: int, descending: bool) -> Array:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    # Turned around twice, so that what is equal keeps its order.
    found = np.argsort(np.flip(x, axis), axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(found, axis)


def _sort(x: Array, axis: int, descending: bool) -> Array:
    return np.take_along_axis(x, _argsort(x, axis, descending), axis)


def _sort_vjp(b: Builder, g: Value, o: Value, x: Value, axis: int, descending: bool) -> Value:
    """The cotangent of each element, back where the element came from."""
    last = x.type.ndim - 1
    perm = (*(i for i in range(x.type.ndim) if i != axis), axis)
    places = OPS["transpose"](b, argsort(b, x, axis=axis, descending=descending), perm=perm)
    parts = OPS["transpose"](b, g, perm=perm)
    back = scatter_add(b, b.full_like(parts, 0), places, parts, axis=last, batch=last)
    return OPS["transpose"](b, back, perm=tuple(int(i) for i in np.argsort(perm)))


def _sort_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None if i == attrs["axis"] else i for i in range(output.ndim)]]


def _comparisons(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    axis: int = attrs["axis"]
    return inputs[0].size * max(1, (inputs[0].shape[axis] - 1).bit_length())


def _lines(inputs: Sequence[ArrayType], attrs: Attrs, itemsize: int) -> int:
    """Bytes in which a line is merged to and fro: the result is one of the two where it is contiguous."""
    shape = inputs[0].shape
    axis: int = attrs["axis"]
    return shape[axis] * itemsize * (1 if all(n == 1 for n in shape[axis + 1 :]) else 2)


def _sort_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return _lines(inputs, attrs, inputs[0].dtype.itemsize)


def _argsort_workspace(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    return _lines(inputs, attrs, INT64.itemsize)


sort = declare(
    Op(
        "sort",
        "sorting",
        _sort_type,
        _sort,
        _comparisons,
        _sort_axes,
        _sort_vjp,
        "the elements along `axis` from the smallest to the largest, or back where `descending`; NaN is the largest",
        can_trap=False,
        recompute=Recompute.COSTLY,
        is_axiswise=True,
        batch=later_axis,
        workspace=_sort_workspace,
    )
)

argsort = declare(
    Op(
        "argsort",
        "sorting",
        _argsort_type,
        _argsort,
        _comparisons,
        _sort_axes,
        None,
        "the indices along `axis` of the elements in the order of `sort`; equal ones keep theirs",
        can_trap=False,
        recompute=Recompute.COSTLY,
        is_axiswise=True,
        batch=later_axis,
        workspace=_argsort_workspace,
    )
)
