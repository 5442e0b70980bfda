"""Places in sorted arrays, and what is read from them: bins, interpolation, membership."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import is_float
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, key_of, shape_of
from .comparison import equal, greater, less, less_equal, logical_and, logical_not, logical_or, where
from .creation import zeros_like
from .indexing import take
from .manipulation import concatenate, expand_dims, flip, ravel
from .reductions import any as any_of
from .sorting import argsort, sort


def _precedes(a: Any, v: Any, or_equal: bool) -> Any:
    """Whether `a` comes before `v` where NaN is larger than all numbers."""
    result = less_equal(a, v) if or_equal else less(a, v)
    if not is_float(dtype_of(v)):
        return result
    of_nan = e.isnan(v) if or_equal else logical_and(e.isnan(v), logical_not(e.isnan(a)))
    return logical_or(result, of_nan)


def searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None) -> Any:
    """Where in the sorted `a` (n,) the elements of `v` would be inserted, int64 of the shape of `v`: before equal ones,
    or with `side="right"` behind them. `sorter` are the indices that sort `a`.

    Raises `ValueError` for another side, `ShapeError` where `a` has not one axis.
    """
    if side not in ("left", "right"):
        raise ValueError(located(f"np.searchsorted: side is 'left' or 'right', got {side!r}"))
    a, v = as_arraylike(a), as_arraylike(v)
    if len(shape_of(a)) != 1:
        raise ShapeError(located(f"np.searchsorted: a has one axis, got {described(a)}"))
    if sorter is not None:
        a = take(a, sorter)
    dtype = result_dtype(key_of(a), key_of(v))
    a, v = cast(a, dtype), cast(v, dtype)
    length = shape_of(a)[0]
    place = zeros_like(v, "int64")
    if not length or 0 in shape_of(v):
        return place
    # A binary search: a step is taken where all elements that it passes come before.
    step = 1 << (length.bit_length() - 1)
    while step:
        further = place + step
        passed = _precedes(take(a, e.minimum(further, length) - 1), v, side == "right")
        place = where(logical_and(less_equal(further, length), passed), further, place)
        step >>= 1
    return place


def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Any:
    """In which of `bins`, edges that rise or fall, each element lies: i where bins[i-1] <= x < bins[i], or with `right`
    bins[i-1] < x <= bins[i]; 0 before the first and len(bins) behind the last. Edges that are known while tracing must
    be monotonic: `ValueError`; others must rise.
    """
    bins = as_arraylike(bins)
    falls = False
    if not isinstance(bins, Tracer):
        steps = np.diff(bins)
        falls = bool(len(steps) and (steps <= 0).all() and (steps < 0).any())
        if not falls and not (steps >= 0).all():
            raise ValueError(located("np.digitize: bins rise or fall from each to the next"))
    side = "left" if right else "right"
    if falls:
        return shape_of(bins)[0] - searchsorted(flip(bins), x, side)
    return searchsorted(bins, x, side)


def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    period: float | None = None,
) -> Any:
    """The function through the points (`xp`, `fp`), (n,) each with `xp` rising, at `x`: straight between points, `left`
    before the first and `right` behind the last, by default their values. With a `period` the points are those of one
    turn, in any order.

    Derivatives go to all of x, xp and fp. Raises `ShapeError` where xp and fp are not of one axis and length.
    """
    x, xp, fp = as_arraylike(x), as_arraylike(xp), as_arraylike(fp)
    if len(shape_of(xp)) != 1 or shape_of(xp) != shape_of(fp) or not shape_of(xp)[0]:
        raise ShapeError(located(f"np.interp: xp and fp are (n,) with n > 0, got {described(xp)} and {described(fp)}"))
    if period is not None:
        return _periodic(x, xp, fp, period)
    dtype = np.dtype("float64")
    x, xp, fp = cast(x, dtype), cast(xp, dtype), cast(fp, dtype)
    last = shape_of(xp)[0] - 1
    upper = e.minimum(e.maximum(searchsorted(xp, x, "right"), 1), last)
    lower = e.maximum(upper - 1, 0)
    x0, x1, y0, y1 = take(xp, lower), take(xp, upper), take(fp, lower), take(fp, upper)
    width = x1 - x0
    flat = equal(width, 0)
    inside = where(flat, y1, y0 + (x - x0) * ((y1 - y0) / where(flat, 1.0, width)))
    first, end = take(xp, 0), take(xp, last)
    inside = where(equal(x, end), take(fp, last), inside)
    before = take(fp, 0) if left is None else left
    behind = take(fp, last) if right is None else right
    return where(less(x, first), before, where(greater(x, end), behind, inside))


def _periodic(x: Any, xp: Any, fp: Any, period: float) -> Any:
    if not period:
        raise ValueError(located("np.interp: period is a number other than 0"))
    period = abs(period)
    x, xp = e.remainder(x, period), e.remainder(xp, period)
    order = argsort(xp)
    xp, fp = take(xp, order), take(fp, order)
    ends = [concatenate([expand_dims(take(a, -1), 0) - turn, a, expand_dims(take(a, 0), 0) + turn])
            for a, turn in ((xp, period), (fp, 0))]  # fmt: skip
    return interp(x, ends[0], ends[1])


def isin(
    element: ArrayLike, test_elements: ArrayLike, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Any:
    """Whether each element is among `test_elements`, or with `invert` is not. `assume_unique` and `kind` are hints."""
    x, among = as_arraylike(element), ravel(as_arraylike(test_elements))
    count = shape_of(among)[0]
    if count <= 16:
        found = any_of(equal(expand_dims(x, -1), among), axis=-1)
    else:
        dtype = result_dtype(key_of(x), key_of(among))
        among = sort(cast(among, dtype))
        place = e.minimum(searchsorted(among, x), count - 1)
        found = equal(take(among, place), cast(x, dtype))
    return logical_not(found) if invert else found


def unravel_index(indices: ArrayLike, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """For indices into the flattened array of `shape` those along each axis."""
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    if order not in ("C", "F"):
        raise ValueError(located(f"np.unravel_index: order is 'C' or 'F', got {order!r}"))
    rest, found = as_arraylike(indices), []
    walked = lengths if order == "F" else lengths[::-1]
    for length in walked:
        found.append(e.remainder(rest, length))
        rest = e.floor_divide(rest, length)
    return tuple(found if order == "F" else found[::-1])


def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """For indices along each axis those into the flattened array of the lengths `dims`. `mode` says for each axis what
    becomes of one out of range: "wrap", "clip", or "raise", which is checked where the index is used.
    """
    if order not in ("C", "F"):
        raise ValueError(located(f"np.ravel_multi_index: order is 'C' or 'F', got {order!r}"))
    modes = mode if isinstance(mode, tuple) else (mode,) * len(dims)
    walked = list(zip(multi_index, dims, modes, strict=True))
    result: Any = 0
    for index, length, how in walked if order == "C" else reversed(walked):
        index = as_arraylike(index)
        if how == "wrap":
            index = e.remainder(index, length)
        elif how == "clip":
            index = e.minimum(e.maximum(index, 0), length - 1)
        result = e.add(e.multiply(result, length), index)
    return result
