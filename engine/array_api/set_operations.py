"""Arrays as sets. Of traced ones the number of elements is not known: `size` says it, as in JAX.

Where there are fewer, the further entries are `fill_value`, by default the smallest; where there are more, the largest
are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, Tracer, TracingError, located
from .broadcasting import as_arraylike, cast, dtype_of, key_of, shape_of
from .comparison import logical_and, logical_not, logical_xor, not_equal, where
from .counting import unique
from .found_places import chosen, known_size
from .indexing import getitem
from .manipulation import concatenate, ravel
from .reductions import any as any_of
from .reductions import argmax
from .searching import isin
from .sorting import sort


def union1d(ar1: ArrayLike, ar2: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The elements of either array, each once, sorted."""
    both = _both(ar1, ar2)
    if size is None and any(isinstance(x, Tracer) for x in both):
        known_size("union1d", None, lambda: None)
    return unique(concatenate(both), size=size, fill_value=fill_value)


def intersect1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    return_indices: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The elements of both arrays, each once, sorted. `assume_unique` is a hint. Raises `TracingError` for
    `return_indices` of traced arrays.
    """
    x, y = _both(ar1, ar2)
    if return_indices:
        if isinstance(x, Tracer) or isinstance(y, Tracer) or size is not None:
            instead = "write np.searchsorted(np.sort(x), common)"
            raise TracingError(located(f"np.intersect1d: return_indices is not traced; {instead}"))
        return np.intersect1d(x, y, assume_unique, return_indices=True)
    values = sort(x)
    return _set("intersect1d", values, logical_and(_first(values), isin(values, y)), size, fill_value)


def setdiff1d(
    ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, *, size: int | None = None, fill_value: Any = None
) -> Any:
    """The elements of `ar1` that are not in `ar2`, each once and sorted; with `assume_unique` as they come."""
    x, y = _both(ar1, ar2)
    values = x if assume_unique else sort(x)
    alone = logical_not(isin(values, y))
    return _set("setdiff1d", values, alone if assume_unique else logical_and(_first(values), alone), size, fill_value)


def setxor1d(
    ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, *, size: int | None = None, fill_value: Any = None
) -> Any:
    """The elements of one array alone, each once, sorted. `assume_unique` is a hint."""
    x, y = _both(ar1, ar2)
    values = sort(concatenate([x, y]))
    alone = logical_xor(isin(values, x), isin(values, y))
    return _set("setxor1d", values, logical_and(_first(values), alone), size, fill_value)


def _both(ar1: ArrayLike, ar2: ArrayLike) -> tuple[Any, Any]:
    x, y = ravel(as_arraylike(ar1)), ravel(as_arraylike(ar2))
    dtype = result_dtype(key_of(x), key_of(y))
    return cast(x, dtype), cast(y, dtype)


def _first(values: Any) -> Any:
    """Whether each of the sorted values differs from the one before."""
    first = np.ones(min(1, shape_of(values)[0]), bool)
    return concatenate([first, not_equal(getitem(values, slice(1, None)), getitem(values, slice(None, -1)))])


def _set(name: str, values: Any, keep: Any, size: int | None, fill_value: Any) -> Any:
    size = known_size(name, size, lambda: None if isinstance(keep, Tracer) else int(np.count_nonzero(keep)))
    if fill_value is None:
        none = dtype_of(values).type(0)
        there = shape_of(values)[0] > 0
        fill_value = where(any_of(keep), getitem(values, argmax(keep)), none) if there else none
    return chosen(values, keep, size, fill_value)
