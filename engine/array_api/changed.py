"""What NumPy writes into an array, as an array with the elements changed: `inplace=False` says so, as in JAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tracing.tracer import ArrayLike, ShapeError, TracingError, located
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axis_index,
    broadcasts_to,
    cast,
    described,
    dtype_of,
    reshaped,
    shape_of,
    stretched,
)
from .comparison import truth, where
from .indexed_updates import at
from .indexing import take
from .manipulation import ravel
from .reductions import cumsum


def _refuse_in_place(name: str, arguments: str, inplace: bool) -> None:
    if inplace:
        instead = f"write x = gl.numpy.{name}(x, {arguments}, inplace=False)"
        raise TracingError(located(f"np.{name} writes into an array, which a traced one does not take; {instead}"))


def put_along_axis(
    arr: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: int | None, *, inplace: bool = True
) -> Any:
    """`arr` with `values` at the `indices` along `axis`, or in the flattened array: what `take_along_axis` reads.

    Raises `TracingError` unless `inplace` is False, `ShapeError` where the axes do not fit.
    """
    _refuse_in_place("put_along_axis", "indices, values, axis", inplace)
    arr, indices = as_arraylike(arr), as_arraylike(indices)
    if axis is None:
        flat = put_along_axis(ravel(arr), ravel(indices), ravel(as_arraylike(values)), 0, inplace=False)
        return reshaped(flat, shape_of(arr))
    shape, place = shape_of(arr), axis_index(axis, len(shape_of(arr)))
    wanted = (
        *shape[:place],
        shape_of(indices)[place] if len(shape_of(indices)) == len(shape) else -1,
        *shape[place + 1 :],
    )
    if not broadcasts_to(shape_of(indices), wanted):
        raise ShapeError(
            located(f"np.put_along_axis: {described(arr)} and {described(indices)} do not fit along {axis}")
        )
    places = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]
    key: list[Any] = list(places)
    key[place] = stretched(indices, wanted)
    return at(arr)[tuple(key)].set(stretched(as_arraylike(values), wanted))


def fill_diagonal(a: ArrayLike, val: ArrayLike, wrap: bool = False, *, inplace: bool = True) -> Any:
    """`a` with `val`, a number or as many as it takes, on the diagonal of all axes; `wrap` goes on below a tall matrix.

    Raises `TracingError` unless `inplace` is False, `ShapeError` below two axes, or for axes of several lengths where
    there are more than two.
    """
    _refuse_in_place("fill_diagonal", "val", inplace)
    a = as_arraylike(a)
    shape = shape_of(a)
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(located(f"np.fill_diagonal: a has two axes, or more of one length, got {described(a)}"))
    step = shape[1] + 1 if len(shape) == 2 else 1 + int(np.cumprod(shape[:-1]).sum())
    end = math.prod(shape) if wrap or len(shape) > 2 else min(shape[1] * shape[1], math.prod(shape))
    places = np.arange(0, end, step)
    return _with_cycled(a, places, val)


def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str = "raise", *, inplace: bool = True) -> Any:
    """`a` with the values `v`, again and again, at the indices `ind` of the flattened array. `mode` "wrap" and "clip"
    take an index out of range into it. Raises `TracingError` unless `inplace` is False.
    """
    _refuse_in_place("put", "ind, v", inplace)
    a, places = as_arraylike(a), ravel(as_arraylike(ind))
    size = math.prod(shape_of(a))
    if mode == "wrap":
        places = e.remainder(places, size)
    elif mode == "clip":
        places = e.minimum(e.maximum(places, 0), size - 1)
    return _with_cycled(a, places, v)


def place(arr: ArrayLike, mask: ArrayLike, vals: ArrayLike, *, inplace: bool = True) -> Any:
    """`arr` with the first, second, ... of `vals`, again and again, where `mask` holds, in the order of the elements.
    Raises `TracingError` unless `inplace` is False.
    """
    _refuse_in_place("place", "mask, vals", inplace)
    arr, mask, vals = as_arraylike(arr), truth(as_arraylike(mask)), ravel(as_arraylike(vals))
    rank = reshaped(cumsum(e.astype(ravel(mask), "int64")) - 1, shape_of(mask))
    found = take(cast(vals, dtype_of(arr)), e.remainder(e.maximum(rank, 0), shape_of(vals)[0]))
    return where(mask, found, arr)


def _with_cycled(a: Any, places: Any, values: ArrayLike) -> Any:
    flat = ravel(as_arraylike(values))
    count = shape_of(places)[0]
    taken = take(flat, np.arange(count) % shape_of(flat)[0]) if count else flat
    return reshaped(at(ravel(a))[places].set(taken), shape_of(a)) if count else a
