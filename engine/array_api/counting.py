"""Equal elements, counted: bins, histograms, and the elements that differ."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...ir import is_float
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, integer, reshaped, shape_of
from .comparison import equal, greater_equal, less_equal, logical_and, logical_or, not_equal, where
from .creation import full, linspace, ones, zeros
from .indexed_updates import at
from .indexing import getitem, take
from .manipulation import concatenate, diff, ravel
from .reductions import cumsum
from .reductions import max as max_of
from .reductions import min as min_of
from .reductions import sum as sum_of
from .searching import searchsorted
from .sorting import argsort


def bincount(
    x: ArrayLike, /, weights: ArrayLike | None = None, minlength: int = 0, *, length: int | None = None
) -> Any:
    """How often each of 0, 1, ... is in `x` (n,) of integers, int64; or the sum of the `weights` (n,) there, float64.

    Of a traced `x` the largest is not known: `length` is the length of the result, as in JAX, and an element beyond it
    counts for nothing. Raises `TypeError` where it is missing, `ShapeError` for another number of axes.
    """
    x = as_arraylike(x)
    if len(shape_of(x)) != 1 or dtype_of(x).kind not in "iub":
        raise ShapeError(located(f"np.bincount: x is (n,) of integers, got {described(x)}"))
    if length is None:
        if isinstance(x, Tracer):
            instead = "write gl.numpy.bincount(x, length=n)"
            raise TypeError(located(f"np.bincount: the shape of the result depends on values; {instead}"))
        length = max(int(x.max(initial=-1)) + 1, integer(minlength, "minlength"))
    if weights is None:
        return at(zeros((length,), "int64"))[e.astype(x, "int64")].add(1, mode="drop")
    weights = cast(as_arraylike(weights), np.dtype("float64"))
    return at(zeros((length,), "float64"))[e.astype(x, "int64")].add(weights, mode="drop")


def histogram_bin_edges(a: ArrayLike, bins: Any = 10, range: Any = None, weights: None = None) -> Any:
    """The edges of `bins` bins of equal width over `range`, by default from the least to the largest element; or the
    edges that `bins` are.
    """
    if isinstance(bins, str):
        raise TypeError(located(f"np.histogram: bins={bins!r} depends on values; give their number, or edges"))
    if shape_of(as_arraylike(bins)):
        return as_arraylike(bins)
    count = integer(bins, "np.histogram: bins")
    if count < 1:
        raise ValueError(located(f"np.histogram: bins is 1 or more, got {bins}"))
    a = as_arraylike(a)
    if range is not None:
        low, high = range
        if not isinstance(low, Tracer) and not isinstance(high, Tracer) and low > high:
            raise ValueError(located("np.histogram: the range is from the least to the largest"))
    elif math.prod(shape_of(a)):
        low, high = min_of(a), max_of(a)
    else:
        low, high = 0.0, 1.0
    dtype = np.dtype("float32" if dtype_of(a) == np.dtype("float32") else "float64")
    low, high = cast(as_arraylike(low), np.dtype("float64")), cast(as_arraylike(high), np.dtype("float64"))
    alone = equal(low, high)
    low, high = where(alone, low - 0.5, low), where(alone, high + 0.5, high)
    return cast(linspace(low, high, count + 1), dtype)


def _bin_of(a: Any, edges: Any) -> tuple[Any, Any]:
    """The bin of each element, the last of which has its upper edge too; and whether there is one."""
    count = shape_of(edges)[0] - 1
    first, last = getitem(edges, 0), getitem(edges, count)
    place = e.minimum(searchsorted(edges, a, "right") - 1, count - 1)
    return e.maximum(place, 0), logical_and(greater_equal(a, first), less_equal(a, last))


def histogram(
    a: ArrayLike, bins: Any = 10, range: Any = None, density: bool | None = None, weights: ArrayLike | None = None
) -> tuple[Any, Any]:
    """(counts, edges) of the elements of `a` in the bins of `histogram_bin_edges`: int64, or the sums of `weights`; or
    with `density` divided by their sum and the width of each bin.
    """
    a = ravel(as_arraylike(a))
    edges = histogram_bin_edges(a, bins, range)
    place, inside = _bin_of(a, edges)
    count = shape_of(edges)[0] - 1
    if weights is None:
        found = at(zeros((count,), "int64"))[place].add(e.astype(inside, "int64"))
    else:
        weights = ravel(as_arraylike(weights))
        found = at(zeros((count,), dtype_of(weights)))[place].add(where(inside, weights, 0))
    if density:
        found = found / cast(diff(edges), np.dtype("float64")) / sum_of(found)
    return found, edges


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Any, Any, Any]:
    """(counts, edges of x, edges of y) of the points (x, y), (n,) each, in float64; arguments as of `histogram`, `bins`
    and `range` also one for each of the two.
    """
    x, y = ravel(as_arraylike(x)), ravel(as_arraylike(y))
    both = bins if isinstance(bins, (tuple, list)) and len(bins) == 2 else (bins, bins)
    ranges = (None, None) if range is None else range
    edges = [histogram_bin_edges(a, b, r) for a, b, r in zip((x, y), both, ranges)]
    (row, in_row), (column, in_column) = (_bin_of(a, edge) for a, edge in zip((x, y), edges))
    rows, columns = (shape_of(edge)[0] - 1 for edge in edges)
    inside = cast(logical_and(in_row, in_column), np.dtype("float64"))
    inside = inside if weights is None else inside * cast(ravel(as_arraylike(weights)), np.dtype("float64"))
    found = reshaped(at(zeros((rows * columns,)))[row * columns + column].add(inside), (rows, columns))
    if density:
        areas = reshaped(diff(edges[0]), (rows, 1)) * diff(edges[1])
        found = found / areas / sum_of(found)
    return found, edges[0], edges[1]


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Any
    inverse_indices: Any


def _unique(x: ArrayLike, size: int | None, fill_value: Any, equal_nan: bool) -> UniqueAll:
    x = as_arraylike(x)
    shape, count = shape_of(x), math.prod(shape_of(x))
    if size is None:
        if isinstance(x, Tracer):
            instead = "write gl.numpy.unique(x, size=n), whose further entries are fill_value"
            raise TypeError(located(f"np.unique: the shape of the result depends on values; {instead}"))
        size = len(np.unique(x, equal_nan=equal_nan))
    size = integer(size, "np.unique: size")
    flat = ravel(x)
    if not count:
        none = zeros((size,), "int64")
        filled = full((size,), 0 if fill_value is None else fill_value, dtype_of(x))
        return UniqueAll(filled, none, zeros(shape, "int64"), none)
    order = argsort(flat)
    ordered = take(flat, order)
    new = not_equal(getitem(ordered, slice(1, None)), getitem(ordered, slice(None, -1)))
    if equal_nan and is_float(dtype_of(flat)):
        known = equal(ordered, ordered)
        new = logical_and(new, logical_or(getitem(known, slice(1, None)), getitem(known, slice(None, -1))))
    rank = concatenate([zeros((1,), "int64"), cumsum(e.astype(new, "int64"))])
    base = full((size,), getitem(ordered, 0) if fill_value is None else fill_value, dtype_of(x))
    values = at(base)[rank].set(ordered, mode="drop")
    counts = at(zeros((size,), "int64"))[rank].add(ones((count,), "int64"), mode="drop")
    first = at(full((size,), count, "int64"))[rank].min(order, mode="drop")
    first = where(equal(counts, 0), getitem(order, 0), first)
    inverse = at(zeros((count,), "int64"))[order].set(rank)
    return UniqueAll(values, first, reshaped(inverse, shape), counts)


def unique(
    x: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The elements that differ, sorted, (size,); where asked for with the index of the first of each, the place of
    every element among them, in the shape of `x`, and how often each is there.

    Of a traced array their number is not known: `size` says it, as in JAX. Where there are fewer, the further ones are
    `fill_value`, by default the smallest, with counts of 0; where there are more, the largest are left out. Raises
    `TypeError` where it is missing, or for an `axis`.
    """
    if axis is not None:
        raise TypeError(located(f"np.unique with axis={axis} is not traced; give the elements of one number each"))
    found = _unique(x, size, fill_value, equal_nan)
    chosen = [found.values]
    chosen += [found.indices] * bool(return_index) + [found.inverse_indices] * bool(return_inverse)
    chosen += [found.counts] * bool(return_counts)
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def unique_all(x: ArrayLike, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """Values, indices, inverse indices and counts of `unique`; every NaN is an element of its own."""
    return _unique(x, size, fill_value, False)


def unique_counts(x: ArrayLike, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """Values and counts of `unique`; every NaN is an element of its own."""
    found = _unique(x, size, fill_value, False)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: ArrayLike, /, *, size: int | None = None, fill_value: Any = None) -> UniqueInverse:
    """Values and inverse indices of `unique`; every NaN is an element of its own."""
    found = _unique(x, size, fill_value, False)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: ArrayLike, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Values of `unique`; every NaN is an element of its own."""
    return _unique(x, size, fill_value, False).values
