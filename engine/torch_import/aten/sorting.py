"""Orders and largest elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...tracing.transforms import stop_gradient
from ..table import aten
from .movement import along


def _order(x: Any, dim: int, descending: bool) -> Any:
    if not descending:
        return xp.argsort(x, axis=dim, stable=True)
    # The first of equal ones stays the first.
    length = x.shape[dim]
    return xp.subtract(length - 1, xp.flip(xp.argsort(xp.flip(x, dim), axis=dim, stable=True), dim))


def _sorted(x: Any, dim: int, descending: bool) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, descending)
    return xp.take_along_axis(x, order, dim), order


@aten("sort.default")
def sort(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """x in order along an axis, and the places that its elements had."""
    return _sorted(x, dim, descending)


@aten("sort.stable")
def sort_stable(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """x in order along an axis, and the places that its elements had."""
    return _sorted(x, dim, descending)


@aten("argsort.default", whole=True)
def argsort(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """The places of the elements in order."""
    return _order(x, dim, descending)


@aten("topk.default")
def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest or smallest along an axis, and their places."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, largest)
    first = order[(slice(None),) * (dim % x.ndim) + (slice(0, k),)]
    return xp.take_along_axis(x, first, dim), first


def _taken(x: Any, place: Any, dim: int, keepdim: bool) -> Any:
    """The elements at places, which has an axis of length 1, and the places."""
    value = xp.take_along_axis(x, place, dim)
    return (value, place) if keepdim else (xp.squeeze(value, dim), xp.squeeze(place, dim))


@aten("kthvalue.default", whole=True)
def kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest along an axis, and its place."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    return _taken(x, _order(x, dim, False)[along(x, dim, slice(k - 1, k))], dim, keepdim)


@aten("median.dim", whole=True)
def median_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """The lower one of the middle along an axis, NaN where there is one, and its place."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    middle = (x.shape[dim] - 1) // 2
    place = _order(x, dim, False)[along(x, dim, slice(middle, middle + 1))]
    if is_float(x.dtype):
        missing = xp.isnan(x)
        first = xp.argmax(xp.astype(missing, "int32"), axis=dim, keepdims=True)
        place = xp.where(xp.any(missing, axis=dim, keepdims=True), first, place)
    return _taken(x, place, dim, keepdim)


@aten("nanmedian.dim", whole=True)
def nanmedian_dim(x: Any, dim: int, keepdim: bool = False) -> Any:
    """The lower one of the middle along an axis without NaN, and its place."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    there = xp.logical_not(xp.isnan(x)) if is_float(x.dtype) else xp.ones(x.shape, "bool")
    count = xp.sum(xp.astype(there, "int64"), axis=dim, keepdims=True)
    middle = xp.maximum(xp.subtract(count, 1), 0) // 2
    return _taken(x, xp.take_along_axis(_order(x, dim, False), middle, dim), dim, keepdim)


@aten("median.default", whole=True)
def median(x: Any) -> Any:
    """The lower one of the middle."""
    return median_dim(xp.reshape(x, (-1,)), 0)[0]


@aten("nanmedian.default", whole=True)
def nanmedian(x: Any) -> Any:
    """The lower one of the middle without NaN."""
    return nanmedian_dim(xp.reshape(x, (-1,)), 0)[0]


@aten("mode.default", whole=True)
def mode(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the most frequent along an axis, and its last place."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, False)
    values = xp.moveaxis(xp.take_along_axis(x, order, dim), dim, -1)
    equal = xp.equal(xp.expand_dims(values, -1), xp.expand_dims(values, -2))
    counts = xp.sum(xp.astype(equal, "int64"), axis=-1)
    first = xp.argmax(counts, axis=-1, keepdims=True)
    last = first + xp.take_along_axis(counts, first, -1) - 1
    return _taken(x, xp.take_along_axis(order, xp.moveaxis(last, -1, dim), dim), dim, keepdim)


def _extreme_so_far(x: Any, dim: int, extreme: Any) -> Any:
    """The extreme up to each place, and the last place that has it."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    places = np.arange(x.shape[dim]).reshape((-1,) + (1,) * (x.ndim - 1 - dim % x.ndim))
    has_it = xp.equal(x, extreme(stop_gradient(x) if is_float(x.dtype) else x, dim))
    place = xp.cummax(xp.where(has_it, places, 0), dim)
    return xp.take_along_axis(x, place, dim), place


@aten("cummax.default", whole=True)
def cummax(x: Any, dim: int) -> Any:
    """The largest up to each place of an axis, and its place."""
    return _extreme_so_far(x, dim, xp.cummax)


@aten("cummin.default", whole=True)
def cummin(x: Any, dim: int) -> Any:
    """The smallest up to each place of an axis, and its place."""
    return _extreme_so_far(x, dim, xp.cummin)


@aten("searchsorted.Tensor", "searchsorted.Scalar", whole=True)
def searchsorted(
    sequence: Any, x: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
) -> Any:
    """Before which element of a sorted sequence each x belongs; rows of sequences take rows of x."""
    dtype = "int32" if out_int32 else "int64"
    if sorter is not None:
        sequence = xp.take_along_axis(sequence, sorter, -1)
    right = right or side == "right"
    if sequence.ndim == 1:
        return xp.astype(xp.searchsorted(sequence, x, "right" if right else "left"), dtype)
    sequence, x = xp.expand_dims(sequence, -2), xp.expand_dims(x, -1)
    return xp.sum(xp.astype(xp.less_equal(sequence, x) if right else xp.less(sequence, x), dtype), axis=-1)
