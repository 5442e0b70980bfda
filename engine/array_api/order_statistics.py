"""What follows from the order of elements: partitions, medians, quantiles, percentiles, the largest elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import DType, is_float
from ...ir.ops import sorting
from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike, Tracer, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, axes_tuple, axis_index, cast, dtype_of, integer, reshaped, shape_of, transposed
from .comparison import equal, less, where
from .indexing import getitem, take_along_axis
from .manipulation import expand_dims, stack
from .reductions import count_nonzero, mean
from .sorting import argsort, sort


def partition(x: ArrayLike, /, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> Any:
    """The elements along `axis` with those at `kth` in their sorted places, smaller ones before, larger ones behind:
    here all of them are sorted. Raises `ValueError` for a `kth` out of range.
    """
    _check_kth("partition", x, kth, axis)
    return sort(x, axis, order=order)


def argpartition(
    x: ArrayLike, /, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None
) -> Any:
    """The indices (int64) that put the elements into the order of `partition`."""
    _check_kth("argpartition", x, kth, axis)
    return argsort(x, axis, order=order)


def _check_kth(name: str, x: ArrayLike, kth: Any, axis: int | None) -> None:
    shape = shape_of(as_arraylike(x))
    length = math.prod(shape) if axis is None else shape[axis_index(axis, len(shape))]
    for place in kth if isinstance(kth, (tuple, list, np.ndarray)) else (kth,):
        if not -length <= integer(place, f"np.{name}: kth") < length:
            raise ValueError(located(f"np.{name}: kth is from {-length} to {length - 1}, got {place}"))


def _lines(x: ArrayLike, axis: Any, keepdims: bool) -> tuple[ArrayLike, Callable[[Any], Any]]:
    """`x` as (..., n) with the elements over `axis` last; and what gives a result (...) the shape asked for."""
    x = as_arraylike(x)
    shape = shape_of(x)
    axes = axes_tuple(axis, len(shape))
    kept = [i for i in range(len(shape)) if i not in axes]
    count = math.prod(shape[i] for i in axes)
    lines = reshaped(transposed(x, (*kept, *axes)), (*(shape[i] for i in kept), count))
    full = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return lines, lambda result: reshaped(result, full) if keepdims else result


def median(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The middle of the sorted elements over `axis`, or the mean of the two; NaN if any is, and of no elements.

    Integers give float64. The derivative is that of the elements in the middle.
    """
    lines, shaped = _lines(_as_floats(x), axis, keepdims)
    count = shape_of(lines)[-1]
    if not count:
        return shaped(mean(lines, -1))
    line = emit(sorting.sort, lines, axis=len(shape_of(lines)) - 1, descending=False)
    middle = getitem(line, (..., count // 2))
    if count % 2 == 0:
        middle = e.multiply(e.add(getitem(line, (..., count // 2 - 1)), middle), dtype_of(lines).type(0.5))
    largest = getitem(line, (..., count - 1))
    return shaped(where(e.isnan(largest), largest, middle))


def nanmedian(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`median` of the elements that are not NaN; NaN where there is none."""
    lines, shaped = _lines(_as_floats(x), axis, keepdims)
    return shaped(_of_known(lines, [0.5], _PLACES["linear"], dtype_of(lines))[0])


def _as_floats(x: ArrayLike) -> ArrayLike:
    x = as_arraylike(x)
    return cast(x, float_dtype(dtype_of(x)))


Place = Callable[[Any, Any], Any]
"""From the number of elements and the quantile, the place among the sorted elements, counted from 0."""


def _between(alpha: float, beta: float) -> Place:
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _averaged(place: Any) -> Any:
    """`place`, and where it is whole the middle to the next."""
    return e.add(e.ceil(place), where(e.isclose(place, e.round(place), 0, 0), 0.5, 0.0))


def _to_odd(place: Any) -> Any:
    """The next whole place, and where `place` is whole the nearest odd one."""
    return e.add(e.ceil(place), where(equal(e.remainder(place, 2), 0), 1.0, 0.0))


# Hyndman and Fan 1996, "Sample quantiles in statistical packages", with NumPy's names.
_PLACES: dict[str, Place] = {
    "linear": _between(1, 1),
    "hazen": _between(0.5, 0.5),
    "weibull": _between(0, 0),
    "interpolated_inverted_cdf": _between(0, 1),
    "median_unbiased": _between(1 / 3, 1 / 3),
    "normal_unbiased": _between(3 / 8, 3 / 8),
    "inverted_cdf": lambda n, q: e.ceil(n * q - 1),
    "averaged_inverted_cdf": lambda n, q: _averaged(n * q - 1),
    "closest_observation": lambda n, q: _to_odd(n * q - 1.5),
    "lower": lambda n, q: e.floor((n - 1) * q),
    "higher": lambda n, q: e.ceil((n - 1) * q),
    "midpoint": lambda n, q: (e.floor((n - 1) * q) + e.ceil((n - 1) * q)) * 0.5,
    "nearest": lambda n, q: e.round((n - 1) * q),
}


_OF_ELEMENTS = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")
"""Methods that give one of the elements, and so integers for integers."""
_WHOLE = [_PLACES[name] for name in _OF_ELEMENTS]


def _quantiles(name: str, x: ArrayLike, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool) -> Any:
    if method not in _PLACES:
        raise ValueError(located(f"np.{name}: method is one of {', '.join(_PLACES)}, got {method!r}"))
    x = as_arraylike(x)
    lines, shaped = _lines(x if method in _OF_ELEMENTS else _as_floats(x), axis, keepdims)
    of_lines = float_dtype(dtype_of(lines))
    is_number = isinstance(q, (int, float))
    q = as_arraylike(q)
    dtype = of_lines if is_number else float_dtype(dtype_of(q))  # in which NumPy computes places
    if not isinstance(q, Tracer) and not ((q >= 0) & (q <= 1)).all():
        raise ValueError(located(f"np.{name}: quantiles are from 0 to 1, and percentiles to 100"))
    flat = reshaped(cast(q, dtype), (math.prod(shape_of(q)),))
    each = [getitem(flat, i) for i in range(shape_of(flat)[0])]
    compute = _of_known if skip_nan else _of_all
    found = [shaped(part) for part in compute(lines, each, _PLACES[method], dtype)]
    if not shape_of(q):
        return found[0]
    rest = shape_of(found[0]) if found else ()
    return reshaped(stack(found), (*shape_of(q), *rest))


def _of_all(lines: ArrayLike, quantiles: list[Any], place: Place, dtype: DType) -> list[Any]:
    """For each quantile that of each line (..., n); NaN where a line has one."""
    count = shape_of(lines)[-1]
    if not count:
        return [mean(lines, -1) for _ in quantiles]
    line = sort(lines)
    found = [_at(line, place, float(count), q, count - 1, dtype) for q in quantiles]
    if not is_float(dtype_of(line)):
        return found
    largest = getitem(line, (..., count - 1))
    return [where(e.isnan(largest), largest, part) for part in found]


def _of_known(lines: ArrayLike, quantiles: list[Any], place: Place, dtype: DType) -> list[Any]:
    """As `_of_all`, of the elements that are not NaN; NaN where there is none."""
    if not shape_of(lines)[-1]:
        return [mean(lines, -1) for _ in quantiles]
    line = sort(lines)
    known = cast(count_nonzero(equal(line, line), axis=-1), dtype)
    last = e.maximum(e.subtract(known, 1), 0)
    return [_at(line, place, known, q, last, dtype) for q in quantiles]


def _at(line: ArrayLike, place_of: Place, count: Any, q: Any, last: Any, dtype: DType) -> Any:
    """`line` (..., n) at the place of the quantile `q` of `count` elements, 0 to `last`, or between two of them."""
    rows = shape_of(line)[:-1]
    place = e.minimum(e.maximum(cast(as_arraylike(place_of(count, q)), dtype), 0), last)
    if place_of in _WHOLE:
        return _taken(line, rows, place)
    below = e.floor(place)
    lower, upper = (_taken(line, rows, at) for at in (below, e.minimum(below + 1, last)))
    part = place - below
    # From the nearer end, so that the elements themselves come out exactly.
    step = upper - lower
    mixed = where(less(part, 0.5), lower + step * part, upper - step * (1 - part))
    return where(equal(part, 0), lower, mixed)


def _taken(line: ArrayLike, rows: tuple[int, ...], at: Any) -> Any:
    index = e.astype(at, "int64")
    if not shape_of(index):
        return getitem(line, (..., index))
    return getitem(take_along_axis(line, expand_dims(index, -1), -1), (..., 0))


def quantile(
    x: ArrayLike,
    /,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """The quantiles `q`, from 0 to 1, of the elements over `axis`: (*q.shape, ...); NaN where an element is.

    `method` says how a place between two elements is read, by NumPy's names: "linear", "lower", "higher", "midpoint",
    "nearest", "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen",
    "weibull", "median_unbiased", "normal_unbiased". The derivative is that of the elements it is read from. Raises
    `ValueError` for a `q` that is known and out of range, or another method.
    """
    return _quantiles("quantile", x, q, axis, method, keepdims, False)


def nanquantile(
    x: ArrayLike,
    /,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """`quantile` of the elements that are not NaN; NaN where there is none."""
    return _quantiles("nanquantile", x, q, axis, method, keepdims, True)


def percentile(
    x: ArrayLike,
    /,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """`quantile` of `q` from 0 to 100."""
    return _quantiles("percentile", x, e.divide(as_arraylike(q), 100), axis, method, keepdims, False)


def nanpercentile(
    x: ArrayLike,
    /,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """`nanquantile` of `q` from 0 to 100."""
    return _quantiles("nanpercentile", x, e.divide(as_arraylike(q), 100), axis, method, keepdims, True)


def top_k(operand: ArrayLike, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The `k` largest elements along `axis`, from the largest on, and their indices (int64), as `jax.lax.top_k`.

    Of equal elements the first comes first; NaN counts as larger than all numbers. The derivative goes back to where
    each element came from. Raises `ValueError` where there are fewer than `k` elements.
    """
    x = as_arraylike(operand)
    place, count = axis_index(axis, len(shape_of(x))), integer(k, "top_k: k")
    if not 0 <= count <= shape_of(x)[place]:
        raise ValueError(located(f"top_k: k is from 0 to {shape_of(x)[place]}, got {k}"))
    order = emit(sorting.argsort, x, axis=place, descending=True)
    indices = getitem(order, (*(slice(None) for _ in range(place)), slice(0, count)))
    return take_along_axis(x, indices, place), indices


def lexsort(keys: Any, /, axis: int = -1) -> Any:
    """The indices (int64) that sort by several keys (keys, ...), of which the last one comes first."""
    listed = [as_arraylike(key) for key in keys]
    if not listed:
        raise ValueError(located("np.lexsort: there is no key to sort by"))
    place = axis_index(axis, len(shape_of(listed[0])))
    order = argsort(listed[0], place)
    for key in listed[1:]:
        order = take_along_axis(order, argsort(take_along_axis(key, order, place), place), place)
    return order
