"""Reductions over axes: sums, means, extremes, logic, norms, running sums and products."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import DType, Op, is_complex, is_inexact, part_dtype
from ...ir.ops import elementwise as ew
from ...ir.ops import reduction
from ..tracing.keywords import tells_keywords
from ..tracing.promotion import float_dtype, sum_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, emit, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axes_tuple,
    axis_index,
    cast,
    common_shape,
    described,
    dtype_argument,
    dtype_of,
    exact_scalar,
    reshaped,
    shape_of,
    stretched,
)
from .comparison import truth
from .complex_numbers import parts
from .manipulation import broadcast_to, pad


def _kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _reduce(op: Op, x: ArrayLike, axes: tuple[int, ...], keepdims: bool) -> Any:
    shape = shape_of(x)
    result = emit(op, x, axes=axes) if axes else x
    return reshaped(result, _kept_shape(shape, axes)) if keepdims else result


def _left_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _filled(like: ArrayLike, shape: tuple[int, ...], value: float | bool) -> Any:
    """An array of `shape`, of the dtype of `like`, and traced where that is."""
    trace = trace_of([like])
    return trace.full(value, shape, dtype_of(like)) if trace else np.full(shape, value, dtype_of(like))


def _length(x: ArrayLike, axes: tuple[int, ...]) -> int:
    return math.prod(shape_of(x)[a] for a in axes)


def _only_where(x: ArrayLike, where: Any, neutral: float | bool, name: str) -> ArrayLike:
    """`x` with `neutral` where `where` is False."""
    mask = as_arraylike(where)
    if dtype_of(mask).kind != "b":
        raise TypeError(located(f"np.{name}: where is bool, got {described(mask)}; write x != 0"))
    shape = common_shape(f"np.{name}", [x, mask])
    return e.where(stretched(mask, shape), x, dtype_of(x).type(neutral))


def _total(
    op: Op, bools: Any, combine: Any, x: ArrayLike, axis: Any, dtype: Any, keepdims: bool, initial: Any, where: Any
) -> Any:
    """A sum or a product, which begins at `initial` and leaves out what is not `where`."""
    x = as_arraylike(x)
    wanted = sum_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype)
    name, neutral = ("sum", 0) if op is reduction.reduce_sum else ("prod", 1)
    x = cast(x, wanted)
    if where is not True:
        x = _only_where(x, where, neutral, name)
    if wanted.kind == "b":
        result = bools(x, axis, keepdims=keepdims)
    else:
        result = _reduce(op, x, axes_tuple(axis, len(shape_of(x))), keepdims)
    return result if initial is None else combine(result, _fitting(initial, wanted))


def _fitting(initial: ArrayLike, dtype: DType) -> ArrayLike:
    """What a reduction begins at, as `dtype`. Raises `OverflowError` for a Python integer that does not fit."""
    return exact_scalar(initial, dtype) if type(initial) is int else cast(as_arraylike(initial), dtype)


def sum(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Any:
    """The sum over `axis`, of `initial` and the elements that are `where`; integers are summed in int64."""
    return _total(reduction.reduce_sum, any, e.add, x, axis, dtype, keepdims, initial, where)


def prod(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Any:
    """The product over `axis`, of `initial` and the elements that are `where`; integers are multiplied in int64."""
    return _total(reduction.reduce_prod, all, e.multiply, x, axis, dtype, keepdims, initial, where)


def mean(
    x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: ArrayLike = True
) -> Any:
    """The mean over `axis` of the elements that are `where`; integers give float64. Of no elements it is NaN.

    With a `dtype` of integers the sum is one of integers, and the mean is truncated.
    """
    x = as_arraylike(x)
    wanted = float_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype)
    total = sum(x, axis, wanted, keepdims=keepdims, where=where)
    if where is True:
        count: ArrayLike = _length(x, axes_tuple(axis, len(shape_of(x))))
    else:
        counted = broadcast_to(as_arraylike(where), common_shape("np.mean", [x, as_arraylike(where)]))
        count = cast(sum(counted, axis, keepdims=keepdims), wanted)
    return cast(e.divide(total, count), wanted)


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
    if correction is not None and ddof != 0:
        raise ValueError(located("np.var, np.std: ddof and correction are the same; give one of them"))
    x = as_arraylike(x)
    wanted = float_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype)
    if not is_inexact(wanted):
        raise TypeError(located(f"np.var, np.std: dtype is float32 or float64, got {wanted}"))
    x = cast(x, wanted)
    axes = axes_tuple(axis, len(shape_of(x)))
    deviation = e.subtract(x, mean(x, axes, keepdims=True))
    total = _reduce(reduction.reduce_sum, _squared_size(deviation), axes, keepdims)
    return e.divide(total, builtins.max(_length(x, axes) - (ddof if correction is None else correction), 0))


def _squared_size(x: ArrayLike) -> Any:
    """`|x| ** 2`, as real numbers."""
    if not is_complex(dtype_of(x)):
        return e.square(x)
    re, im = parts(x)
    return e.add(e.square(re), e.square(im))


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
    return e.sqrt(var(x, axis, dtype, ddof=ddof, correction=correction, keepdims=keepdims))


def _extreme(op: Op, x: ArrayLike, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    name, better = ("max", e.maximum) if op is reduction.reduce_max else ("min", e.minimum)
    x = as_arraylike(x)
    bound = None if initial is None else _fitting(initial, dtype_of(x))
    if where is not True:
        if bound is None:
            raise ValueError(located(f"np.{name} with where= needs initial=, the {name} of no elements"))
        if isinstance(bound, Tracer):
            raise TracingError(located(f"np.{name} with where= needs an initial= that is known while tracing"))
        x = _only_where(x, where, bound.item(), name)
    axes = axes_tuple(axis, len(shape_of(x)))
    if _length(x, axes) == 0:
        if bound is None:
            raise ShapeError(located(f"np.{name} of no elements: {described(x)} over axis {axis} has no {name}"))
        shape = _kept_shape(shape_of(x), axes) if keepdims else _left_shape(shape_of(x), axes)
        return broadcast_to(bound, shape) if isinstance(bound, Tracer) else _filled(x, shape, bound.item())
    result = _reduce(op, x, axes, keepdims)
    return result if bound is None else better(result, bound)


def max(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Any:
    """The largest over `axis`, of `initial` and the elements that are `where`; NaN if any is."""
    return _extreme(reduction.reduce_max, x, axis, keepdims, initial, where)


def min(
    x: ArrayLike,
    /,
    axis: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Any:
    """The smallest over `axis`, of `initial` and the elements that are `where`; NaN if any is."""
    return _extreme(reduction.reduce_min, x, axis, keepdims, initial, where)


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


def _logic(op: Op, of_none: bool, x: ArrayLike, axis: Any, keepdims: bool, where: Any) -> Any:
    x = truth(x)
    if where is not True:
        x = _only_where(x, where, of_none, "any" if op is reduction.reduce_max else "all")
    shape = shape_of(x)
    axes = axes_tuple(axis, len(shape))
    if _length(x, axes) == 0:
        return _filled(x, _kept_shape(shape, axes) if keepdims else _left_shape(shape, axes), of_none)
    return _reduce(op, x, axes, keepdims)


def any(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False, where: ArrayLike = True) -> Any:
    """Whether any element over `axis` that is `where` is nonzero."""
    return _logic(reduction.reduce_max, False, x, axis, keepdims, where)


def all(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False, where: ArrayLike = True) -> Any:
    """Whether all elements over `axis` that are `where` are nonzero."""
    return _logic(reduction.reduce_min, True, x, axis, keepdims, where)


def count_nonzero(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The number (int64) of nonzero elements over `axis`."""
    return sum(truth(x), axis, keepdims=keepdims)


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


def _running(op: Op, x: ArrayLike, axis: int | None, dtype: Any, **attrs: Any) -> Any:
    x = as_arraylike(x)
    x = cast(x, sum_dtype(dtype_of(x)) if dtype is None else dtype_argument(dtype))
    if axis is None:
        x, axis = reshaped(x, (math.prod(shape_of(x)),)), 0
    return emit(op, x, axis=axis_index(axis, len(shape_of(x))), **attrs)


def cumsum(x: ArrayLike, /, axis: int | None = None, dtype: Any = None) -> Any:
    """The sums of all elements up to each along `axis`, or of all elements in order."""
    return _running(reduction.cumsum, x, axis, dtype, reverse=False)


def cumprod(x: ArrayLike, /, axis: int | None = None, dtype: Any = None) -> Any:
    """The products of all elements up to each along `axis`, or of all elements in order; integers give int64.

    The derivatives are right at zeros too.
    """
    return _running(reduction.cumprod, x, axis, dtype)


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """`cumsum` under the Array API's name; `axis` may be left out for 1-d arrays only."""
    return _cumulative(cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """`cumprod` under the Array API's name; `axis` may be left out for 1-d arrays only."""
    return _cumulative(cumprod, 1, x, axis, dtype, include_initial)


def _cumulative(
    function: Callable[..., Any], initial: int, x: ArrayLike, axis: int | None, dtype: Any, include_initial: bool
) -> Any:
    x = as_arraylike(x)
    if axis is None and len(shape_of(x)) != 1:
        name = "cumulative_sum" if function is cumsum else "cumulative_prod"
        raise ShapeError(located(f"np.{name} needs an axis for {described(x)}"))
    result = function(x, 0 if axis is None else axis, dtype)
    if not include_initial:
        return result
    place = axis_index(0 if axis is None else axis, len(shape_of(x)))
    widths = [(1, 0) if i == place else (0, 0) for i in range(len(shape_of(x)))]
    return pad(result, widths, constant_values=initial)


@tells_keywords
def norm(x: ArrayLike, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The 2-norm over `axis` (the Frobenius norm over two axes); for vectors also 1, inf, -inf and other powers.

    The derivative at a vector of zeros is 0, and so it is at an element of 0 where its power has none.
    """
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    axes = axes_tuple(axis, len(shape_of(x)))
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return e.sqrt(sum(_squared_size(x), axes, keepdims=keepdims))
    if len(axes) != 1 or isinstance(ord, str):
        raise TracingError(located(f"np.linalg.norm with ord={ord!r} over {len(axes)} axes is not traced; ord=None is"))
    if ord == math.inf:
        largest = max if math.prod(shape_of(x)[a] for a in axes) else sum  # of no elements it is 0
        return largest(e.abs(x), axes, keepdims=keepdims)
    if ord == -math.inf:
        return min(e.abs(x), axes, keepdims=keepdims)
    if ord == 0:
        return sum(cast(truth(x), part_dtype(dtype_of(x))), axes, keepdims=keepdims)
    if ord == 1:
        return sum(e.abs(x), axes, keepdims=keepdims)
    return e.root_of_powers(sum(e.power_flat_at_zero(e.abs(x), ord), axes, keepdims=keepdims), ord)
