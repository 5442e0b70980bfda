"""Reductions over axes: sums, means, extremes, logic, norms, running sums."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ...ir import Op
from ...ir.ops import elementwise as ew
from ...ir.ops import reduction
from ..promotion import float_dtype, sum_dtype
from ..tracer import ArrayLike, ShapeError, TracingError, emit, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axes_tuple,
    axis_index,
    cast,
    described,
    dtype_argument,
    dtype_of,
    reshaped,
    shape_of,
)
from .manipulation import pad


def _kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _reduce(op: Op, x: ArrayLike, axes: tuple[int, ...], keepdims: bool) -> Any:
    shape = shape_of(x)
    result = emit(op, x, axes=axes) if axes else x
    return reshaped(result, _kept_shape(shape, axes)) if keepdims else result


def _length(x: ArrayLike, axes: tuple[int, ...]) -> int:
    return math.prod(shape_of(x)[a] for a in axes)


def sum(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """The sum over `axis`; integers are summed in int64."""
    x = as_arraylike(x)
    x = cast(x, sum_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    return _reduce(reduction.reduce_sum, x, axes_tuple(axis, len(shape_of(x))), keepdims)


def prod(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """The product over `axis`; integers are multiplied in int64."""
    x = as_arraylike(x)
    x = cast(x, sum_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    return _reduce(reduction.reduce_prod, x, axes_tuple(axis, len(shape_of(x))), keepdims)


def mean(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """The mean over `axis`; integers give float64. Of no elements it is NaN."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    axes = axes_tuple(axis, len(shape_of(x)))
    return e.divide(_reduce(reduction.reduce_sum, x, axes, keepdims), _length(x, axes))


def average(x: ArrayLike, /, axis: Any = None, weights: ArrayLike | None = None, *, keepdims: bool = False) -> Any:
    """The mean over `axis`, weighted by `weights` (of the shape of `x`, or 1-d along one axis)."""
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    x, weights = as_arraylike(x), as_arraylike(weights)
    ndim = len(shape_of(x))
    if shape_of(weights) != shape_of(x):
        if len(shape_of(weights)) != 1 or axis is None or shape_of(weights)[0] != shape_of(x)[axis_index(axis, ndim)]:
            raise ShapeError(
                located(f"np.average: weights {described(weights)} do not fit {described(x)} along axis {axis}")
            )
        weights = reshaped(weights, tuple(n if i == axis_index(axis, ndim) else 1 for i, n in enumerate(shape_of(x))))
    total = sum(e.multiply(x, weights), axis, keepdims=keepdims)
    whole = cast(weights, float_dtype(dtype_of(total)))
    if shape_of(whole) != shape_of(x):
        whole = e.multiply(whole, e.full_of(x, 1, dtype_of(whole)))
    return e.divide(total, sum(whole, axis, keepdims=keepdims))


def var(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
) -> Any:
    """The mean squared deviation over `axis`, of `n - ddof` (`correction` is the same); integers give float64."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    axes = axes_tuple(axis, len(shape_of(x)))
    deviation = e.subtract(x, mean(x, axes, keepdims=True))
    total = _reduce(reduction.reduce_sum, e.square(deviation), axes, keepdims)
    return e.divide(total, builtins.max(_length(x, axes) - (ddof if correction is None else correction), 0))


def std(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
) -> Any:
    """The square root of `var`; its derivative where all elements are equal is 0."""
    return e.root_flat_at_zero(var(x, axis, dtype, ddof=ddof, correction=correction, keepdims=keepdims))


def _extreme(op: Op, name: str, x: ArrayLike, axis: Any, keepdims: bool) -> Any:
    x = as_arraylike(x)
    axes = axes_tuple(axis, len(shape_of(x)))
    if _length(x, axes) == 0:
        raise ShapeError(located(f"np.{name} of no elements: {described(x)} over axis {axis} has no {name}"))
    return _reduce(op, x, axes, keepdims)


def max(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest over `axis`; NaN if any is."""
    return _extreme(reduction.reduce_max, "max", x, axis, keepdims)


def min(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The smallest over `axis`; NaN if any is."""
    return _extreme(reduction.reduce_min, "min", x, axis, keepdims)


amax, amin = max, min


def ptp(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest less the smallest over `axis`."""
    return e.subtract(max(x, axis, keepdims=keepdims), min(x, axis, keepdims=keepdims))


def _arg(op: Op, name: str, x: ArrayLike, axis: Any, keepdims: bool) -> Any:
    x = as_arraylike(x)
    shape = shape_of(x)
    if axis is None:
        flat, place, kept = reshaped(x, (math.prod(shape),)), 0, (1,) * len(shape)
    else:
        flat, place = x, axis_index(axis, len(shape))
        kept = _kept_shape(shape, (place,))
    if shape_of(flat)[place] == 0:
        raise ShapeError(located(f"np.{name} of no elements: {described(x)} over axis {axis}"))
    result = emit(op, flat, axis=place)
    return reshaped(result, kept) if keepdims else result


def argmax(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The index (int64) of the first largest along `axis`, or among all elements."""
    return _arg(reduction.argmax, "argmax", x, axis, keepdims)


def argmin(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """The index (int64) of the first smallest along `axis`, or among all elements."""
    return _arg(reduction.argmin, "argmin", x, axis, keepdims)


def _logic(op: Op, of_none: bool, x: ArrayLike, axis: Any, keepdims: bool) -> Any:
    x = e.truth(x)
    shape = shape_of(x)
    axes = axes_tuple(axis, len(shape))
    if _length(x, axes) == 0:
        result = _kept_shape(shape, axes) if keepdims else tuple(n for i, n in enumerate(shape) if i not in axes)
        trace = trace_of([x])
        return trace.full(of_none, result, np.dtype(bool)) if trace else np.full(result, of_none)
    return _reduce(op, x, axes, keepdims)


def any(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether any element over `axis` is nonzero."""
    return _logic(reduction.reduce_max, False, x, axis, keepdims)


def all(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether all elements over `axis` are nonzero."""
    return _logic(reduction.reduce_min, True, x, axis, keepdims)


def count_nonzero(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The number (int64) of nonzero elements over `axis`."""
    return sum(e.truth(x), axis, keepdims=keepdims)


def logsumexp(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` over `axis` without overflow."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    axes = axes_tuple(axis, len(shape_of(x)))
    largest = emit(ew.stop_gradient, max(x, axes, keepdims=True))
    # Where all are -inf, or one is inf, there is nothing to shift by.
    shift = e.where(e.isfinite(largest), largest, 0.0)
    total = _reduce(reduction.reduce_sum, e.exp(e.subtract(x, shift)), axes, keepdims)
    # Nothing but -inf has the derivative 0, where the logarithm's is infinite.
    nothing = e.equal(total, 0)
    result = e.where(nothing, -math.inf, e.log(e.where(nothing, 1, total)))
    return e.add(result, reshaped(shift, shape_of(total)))


def cumsum(x: ArrayLike, /, axis: int | None = None, dtype: Any = None) -> Any:
    """The sums of all elements up to each along `axis`, or of all elements in order."""
    x = as_arraylike(x)
    x = cast(x, sum_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    if axis is None:
        x, axis = reshaped(x, (math.prod(shape_of(x)),)), 0
    return emit(reduction.cumsum, x, axis=axis_index(axis, len(shape_of(x))), reverse=False)


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """`cumsum` under the Array API's name; `axis` may be left out for 1-d arrays only."""
    x = as_arraylike(x)
    if axis is None and len(shape_of(x)) != 1:
        raise ShapeError(located(f"np.cumulative_sum needs an axis for {described(x)}"))
    result = cumsum(x, 0 if axis is None else axis, dtype)
    if not include_initial:
        return result
    place = axis_index(0 if axis is None else axis, len(shape_of(x)))
    return pad(result, [(1, 0) if i == place else (0, 0) for i in range(len(shape_of(x)))])


def norm(x: ArrayLike, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The 2-norm over `axis` (the Frobenius norm over two axes); for vectors also 1, inf, -inf and other powers.

    The derivative at a vector of zeros is 0, and so it is at an element of 0 where its power has none.
    """
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    axes = axes_tuple(axis, len(shape_of(x)))
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return e.root_flat_at_zero(sum(e.square(x), axes, keepdims=keepdims))
    if len(axes) != 1 or isinstance(ord, str):
        raise TracingError(located(f"np.linalg.norm with ord={ord!r} over {len(axes)} axes is not traced; ord=None is"))
    if ord == math.inf:
        return max(e.abs(x), axes, keepdims=keepdims)
    if ord == -math.inf:
        return min(e.abs(x), axes, keepdims=keepdims)
    if ord == 0:
        return sum(cast(e.truth(x), dtype_of(x)), axes, keepdims=keepdims)
    if ord == 1:
        return sum(e.abs(x), axes, keepdims=keepdims)
    return e.root_of_powers(sum(e.power_flat_at_zero(e.abs(x), ord), axes, keepdims=keepdims), ord)
