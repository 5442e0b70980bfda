"""Arrays with some elements changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...array_api.indexed_updates import at
from ...tracing.errors import UnsupportedError, located
from ..promotion import converted, is_array
from ..table import aten
from .indexing import index_of
from .movement import along, bounds, strided_places


@aten("index_put.default", "_unsafe_index_put.default", whole=True)
def index_put(x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """x with values at places, or with them added."""
    index = index_of(indices)
    values = converted(values, x.dtype)
    one = index[0] if len(index) == 1 else None
    if one is not None and one.dtype == np.dtype("bool") and _fits_any_place(values, x.ndim - one.ndim):
        mask = xp.reshape(one, (*one.shape, *(1,) * (x.ndim - one.ndim)))
        return xp.where(mask, x + values if accumulate else values, x)
    entries = at(x)[index]
    return entries.add(values) if accumulate else entries.set(values)


def _fits_any_place(values: Any, axes: int) -> bool:
    """Whether the same values go to every place that a mask takes, which leaves so many axes."""
    return values.ndim <= axes or (values.ndim == axes + 1 and values.shape[0] == 1)


def _places(x: Any, dim: int, index: Any) -> Any:
    """The place in x of each element of `index`, which gives that along one axis."""
    shape = index.shape
    parts: list[Any] = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]
    parts[dim % x.ndim] = index
    return tuple(parts)


def _cut(src: Any, index: Any) -> Any:
    return src[tuple(slice(0, n) for n in index.shape)]


@aten("scatter.src", "scatter.value", whole=True)
def scatter(x: Any, dim: int, index: Any, src: Any) -> Any:
    """x with values at the places that `index` names along an axis."""
    values = _cut(src, index) if is_array(src) and src.ndim else src
    return at(x)[_places(x, dim, index)].set(converted(values, x.dtype))


@aten("scatter_add.default", whole=True)
def scatter_add(x: Any, dim: int, index: Any, src: Any) -> Any:
    """x with values added at the places that `index` names along an axis."""
    return at(x)[_places(x, dim, index)].add(_cut(src, index))


def _extreme_of(dtype: Any, largest: bool) -> Any:
    if dtype.kind == "f":
        return np.inf if largest else -np.inf
    return int(np.iinfo(dtype).max if largest else np.iinfo(dtype).min)


def _reduced(x: Any, places: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """x with sums, products, means or extrema of what comes to each place, and of what was there where it counts."""
    method = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "max", "amin": "min"}[reduce]
    came = at(xp.zeros(x.shape, "int64"))[places].add(xp.ones(src.shape, "int64"))
    if not include_self:
        neutral = {"sum": 0, "mean": 0, "prod": 1}
        number = neutral[reduce] if reduce in neutral else _extreme_of(x.dtype, reduce == "amin")
        x = xp.where(xp.greater(came, 0), number, x)
    result = getattr(at(x)[places], method)(src)
    if reduce != "mean":
        return result
    count = xp.astype(xp.maximum(came + int(include_self), 1), x.dtype)
    return xp.divide(result, count) if is_float(x.dtype) else xp.floor_divide(result, count)


@aten("scatter_reduce.two", whole=True)
def scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    """x with sums, products, means or extrema of what comes to each place."""
    return _reduced(x, _places(x, dim, index), _cut(src, index), reduce, include_self)


@aten("index_reduce.default", whole=True)
def index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool = True) -> Any:
    """x with products, means or extrema of the arrays that come to each place of an axis."""
    return _reduced(x, along(x, dim, index), source, reduce, include_self)


@aten("masked_scatter.default", whole=True)
def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """x with the elements of `source`, one after another, where the mask holds."""
    mask = xp.broadcast_to(mask, x.shape)
    flat = xp.reshape(xp.astype(mask, "int64"), (-1,))
    place = xp.clip(xp.cumsum(flat, 0) - 1, 0, max(source.size - 1, 0))
    return xp.where(mask, xp.reshape(xp.take(xp.reshape(source, (-1,)), place), x.shape), x)


@aten("put.default", whole=True)
def put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """x with values at places of its elements, row by row."""
    entries = at(xp.reshape(x, (-1,)))[xp.reshape(index, (-1,))]
    values = xp.reshape(source, (-1,))
    return xp.reshape(entries.add(values) if accumulate else entries.set(values), x.shape)


@aten("as_strided_scatter.default", in_memory=True)
def as_strided_scatter(
    x: Any, src: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """x with another array in place of a window over it as it lies in memory."""
    places = strided_places(size, stride, storage_offset)
    flat = at(xp.reshape(x, (-1,)))[places.reshape(-1)].set(xp.reshape(src, (-1,)))
    return xp.reshape(flat, x.shape)


@aten("index_add.default", whole=True)
def index_add(x: Any, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    """x with arrays added at some places of an axis."""
    return at(x)[along(x, dim, index)].add(source if alpha == 1 else source * alpha)


@aten("index_copy.default", whole=True)
def index_copy(x: Any, dim: int, index: Any, source: Any) -> Any:
    """x with arrays at some places of an axis."""
    return at(x)[along(x, dim, index)].set(source)


@aten("index_fill.int_Scalar", "index_fill.int_Tensor", whole=True)
def index_fill(x: Any, dim: int, index: Any, value: Any) -> Any:
    """x with a number at some places of an axis."""
    return at(x)[along(x, dim, index)].set(converted(value, x.dtype))


@aten("slice_scatter.default")
def slice_scatter(
    x: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """x with another array in place of a slice."""
    first, last = bounds(x, dim, start, end)
    src = converted(src, x.dtype)
    if (first, last, step) == (0, x.shape[dim], 1):
        return xp.broadcast_to(src, x.shape)
    if step == 1:
        parts = [x[along(x, dim, slice(0, first))], src, x[along(x, dim, slice(last, None))]]
        return xp.concatenate([part for part in parts if part.shape[dim]], dim)
    return at(x)[along(x, dim, slice(first, last, step))].set(src)


@aten("select_scatter.default", whole=True)
def select_scatter(x: Any, src: Any, dim: int, index: int) -> Any:
    """x with another array at one place of an axis."""
    index %= x.shape[dim]
    return slice_scatter(x, xp.expand_dims(src, dim % x.ndim), dim, index, index + 1)


@aten("diagonal_scatter.default", whole=True)
def diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """x with another diagonal."""
    moved = xp.moveaxis(x, (dim1, dim2), (-2, -1))
    count = src.shape[-1]
    rows = np.arange(count) + max(-offset, 0)
    columns = np.arange(count) + max(offset, 0)
    return xp.moveaxis(at(moved)[..., rows, columns].set(src), (-2, -1), (dim1, dim2))


@aten("histc.default")
def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements lie in each of `bins` equal parts from `min` to `max`."""
    if min == max:
        instead = "write torch.histc(x, bins, min, max)"
        raise UnsupportedError(located(f"histc without bounds takes those of the data; {instead}"))
    width = (max - min) / bins
    x = xp.reshape(x, (-1, 1))
    place = xp.minimum(xp.floor((x - min) / width), bins - 1)
    inside = xp.logical_and(xp.greater_equal(x, min), xp.less_equal(x, max))
    return xp.sum(xp.astype(xp.logical_and(xp.equal(place, np.arange(bins)), inside), x.dtype), axis=0)
