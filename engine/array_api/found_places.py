"""Where a condition holds, and what is there. How often a traced one holds is not known: `size` says it, as in JAX.

Where there are fewer, the further places are `fill_value`, by default 0; where there are more, the last are left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tracing.tracer import ArrayLike, ShapeError, Tracer, located
from . import elementwise as e
from .broadcasting import as_arraylike, described, dtype_of, integer, shape_of
from .comparison import not_equal, truth, where
from .creation import full
from .indexed_updates import at
from .indexing import getitem
from .manipulation import ravel, stack
from .reductions import cumsum
from .searching import unravel_index


def known_size(name: str, size: Any, count: Any) -> int:
    """The `size` that the user gave, or what `count()` finds where nothing is traced; `TypeError` without both."""
    if size is not None:
        return integer(size, f"np.{name}: size")
    found = count()
    if found is None:
        instead = f"write gl.numpy.{name}(..., size=n), or np.where(condition, a, b)"
        raise TypeError(located(f"np.{name}: the shape of the result depends on values; {instead}"))
    return found


def chosen(values: ArrayLike, keep: ArrayLike, size: int, fill_value: ArrayLike) -> Any:
    """The elements of `values` (n,) where `keep` holds, in their order, (size,), and then `fill_value`."""
    if not shape_of(keep)[0]:
        return full((size,), fill_value, dtype_of(values))
    place = e.minimum(where(keep, cumsum(e.astype(keep, "int64")) - 1, size), size)
    one_more = at(full((size + 1,), fill_value, dtype_of(values)))[place].set(values)
    return getitem(one_more, slice(None, size))


def flatnonzero(a: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Any:
    """The places in the flattened array of elements other than 0, int64. Raises `TypeError` for a traced array without
    `size`.
    """
    holds = truth(ravel(as_arraylike(a)))
    size = known_size("flatnonzero", size, lambda: None if isinstance(holds, Tracer) else int(np.count_nonzero(holds)))
    return chosen(np.arange(shape_of(holds)[0]), holds, size, 0 if fill_value is None else fill_value)


def nonzero(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> tuple[Any, ...]:
    """The indices along each axis of the elements other than 0, int64; `fill_value` may be one for each axis. Raises
    `TypeError` for a traced array without `size`, `ShapeError` without axes.
    """
    a = as_arraylike(a)
    shape = shape_of(a)
    if not shape:
        raise ShapeError(located("np.nonzero takes an array of one axis or more; write np.atleast_1d(x)"))
    count = None if isinstance(a, Tracer) else int(np.count_nonzero(a))
    size = known_size("nonzero", size, lambda: count)
    fills = fill_value if isinstance(fill_value, (tuple, list)) else (fill_value,) * len(shape)
    found = flatnonzero(a, size=size, fill_value=math.prod(shape))
    is_there = not_equal(found, math.prod(shape))
    places = unravel_index(where(is_there, found, 0), shape)
    return tuple(where(is_there, place, 0 if fill is None else fill) for place, fill in zip(places, fills, strict=True))


def argwhere(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The indices of the elements other than 0 as rows, (size, axes). See `nonzero`."""
    a = as_arraylike(a)
    size = known_size("argwhere", size, lambda: None if isinstance(a, Tracer) else int(np.count_nonzero(a)))
    if not shape_of(a):
        return np.zeros((size, 0), np.int64)
    return stack(nonzero(a, size=size, fill_value=fill_value), axis=-1)


def extract(condition: ArrayLike, arr: ArrayLike, *, size: int | None = None, fill_value: ArrayLike = 0) -> Any:
    """The elements of the flattened `arr` where the flattened `condition` holds. Raises `TypeError` for a traced
    condition without `size`, `ShapeError` where they have not as many elements.
    """
    holds, values = truth(ravel(as_arraylike(condition))), ravel(as_arraylike(arr))
    if shape_of(holds) != shape_of(values):
        shown = f"{described(as_arraylike(condition))} and {described(as_arraylike(arr))}"
        raise ShapeError(located(f"np.extract: condition and arr have as many elements, got {shown}"))
    size = known_size("extract", size, lambda: None if isinstance(holds, Tracer) else int(np.count_nonzero(holds)))
    return chosen(values, holds, size, fill_value)
