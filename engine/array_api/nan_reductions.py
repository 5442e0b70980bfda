"""Reductions that leave out NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import is_float
from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike
from . import elementwise as e
from . import reductions as r
from .broadcasting import as_arraylike, cast, dtype_of
from .comparison import equal, logical_not, where


def _without(x: ArrayLike, neutral: float) -> tuple[ArrayLike, Any]:
    """`x` with `neutral` in place of NaN, and which elements are numbers; `None` where all of them are."""
    x = as_arraylike(x)
    if not is_float(dtype_of(x)):
        return x, None
    known = logical_not(e.isnan(x))
    return where(known, x, dtype_of(x).type(neutral)), known


def nansum(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """`sum` of the elements that are not NaN."""
    return r.sum(_without(x, 0)[0], axis, dtype, keepdims=keepdims)


def nanprod(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """`prod` of the elements that are not NaN."""
    return r.prod(_without(x, 1)[0], axis, dtype, keepdims=keepdims)


def nancumsum(x: ArrayLike, /, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumsum` where NaN counts as 0."""
    return r.cumsum(_without(x, 0)[0], axis, dtype)


def nancumprod(x: ArrayLike, /, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumprod` where NaN counts as 1."""
    return r.cumprod(_without(x, 1)[0], axis, dtype)


def nanmean(x: ArrayLike, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
    """`mean` of the elements that are not NaN; NaN where there is none."""
    filled, known = _without(x, 0)
    if known is None:
        return r.mean(filled, axis, dtype, keepdims=keepdims)
    total = r.sum(filled, axis, dtype, keepdims=keepdims)
    return total / cast(r.count_nonzero(known, axis, keepdims=keepdims), dtype_of(total))


def nanvar(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    correction: float | None = None,
) -> Any:
    """`var` of the elements that are not NaN; NaN where there are no more than `ddof` of them."""
    ddof = ddof if correction is None else correction
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)) if dtype is None else np.dtype(dtype))
    known = logical_not(e.isnan(x))
    count = cast(r.count_nonzero(known, axis, keepdims=True), dtype_of(x))
    mean = r.sum(where(known, x, 0), axis, keepdims=True) / e.maximum(count, 1)
    squares = r.sum(e.square(where(known, x - mean, 0)), axis, keepdims=keepdims)
    free = cast(r.count_nonzero(known, axis, keepdims=keepdims), dtype_of(x)) - ddof
    return where(free > 0, squares / where(free > 0, free, 1), math.nan)


def nanstd(
    x: ArrayLike,
    /,
    axis: Any = None,
    dtype: Any = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    correction: float | None = None,
) -> Any:
    """The square root of `nanvar`; its derivative is 0 where all elements are equal."""
    variance = nanvar(x, axis, dtype, ddof, keepdims=keepdims, correction=correction)
    flat = equal(variance, 0)
    return where(flat, 0, e.sqrt(where(flat, 1, variance)))


def nanmax(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`max` of the elements that are not NaN; NaN where there is none."""
    filled, known = _without(x, -math.inf)
    found = r.max(filled, axis, keepdims=keepdims)
    return found if known is None else where(r.any(known, axis, keepdims=keepdims), found, math.nan)


def nanmin(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`min` of the elements that are not NaN; NaN where there is none."""
    filled, known = _without(x, math.inf)
    found = r.min(filled, axis, keepdims=keepdims)
    return found if known is None else where(r.any(known, axis, keepdims=keepdims), found, math.nan)


def nanargmax(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """`argmax` among the elements that are not NaN; 0 where there is none, where NumPy raises."""
    return r.argmax(_without(x, -math.inf)[0], axis, keepdims=keepdims)


def nanargmin(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """`argmin` among the elements that are not NaN; 0 where there is none, where NumPy raises."""
    return r.argmin(_without(x, math.inf)[0], axis, keepdims=keepdims)
