"""The largest and the smallest so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracing.tracer import ArrayLike
from . import elementwise as e
from .broadcasting import as_arraylike, axis_index, shape_of
from .indexing import getitem
from .manipulation import concatenate


def _running(extreme: Callable[..., Any], x: ArrayLike, axis: int) -> Any:
    x = as_arraylike(x)
    place = axis_index(axis, len(shape_of(x)))
    leading = (slice(None),) * place
    # Each step doubles how many elements are looked back on.
    apart = 1
    while apart < shape_of(x)[place]:
        further = extreme(getitem(x, (*leading, slice(apart, None))), getitem(x, (*leading, slice(None, -apart))))
        x = concatenate([getitem(x, (*leading, slice(None, apart))), further], axis=place)
        apart *= 2
    return x


def cummax(x: ArrayLike, /, axis: int = 0) -> Any:
    """The largest of each element and all before it along `axis`, as `np.maximum.accumulate`; NaN from the first on.
    Equal ones share the derivative.
    """
    return _running(e.maximum, x, axis)


def cummin(x: ArrayLike, /, axis: int = 0) -> Any:
    """The smallest of each element and all before it along `axis`, as `np.minimum.accumulate`; NaN from the first on.
    Equal ones share the derivative.
    """
    return _running(e.minimum, x, axis)
