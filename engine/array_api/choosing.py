"""Elements chosen by conditions and indices, put into an array, left out of it, or written over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, located
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axis_index,
    cast,
    common_shape,
    described,
    dtype_of,
    reshaped,
    shape_of,
    stretched,
)
from .comparison import where
from .indexing import getitem, take, take_along_axis
from .manipulation import concatenate, expand_dims, moveaxis, ravel, stack


def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Any:
    """For each place the element of the first choice whose condition holds there, else `default`; all broadcast.

    Raises `ValueError` where there are not as many conditions as choices, or none.
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(located("np.select: there are as many conditions as choices, and one at least"))
    for condition in condlist:
        if dtype_of(as_arraylike(condition)).kind != "b":
            raise TypeError(located(f"np.select: conditions are bool, got {described(as_arraylike(condition))}"))
    result: Any = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist)):
        result = where(condition, choice, result)
    return result


def piecewise(x: ArrayLike, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """For each element the value of the function, or the number, of the last condition that holds; one more than there
    are conditions is for all the rest, which is 0 otherwise. Every function is computed for all of `x`.

    The result has the dtype of `x`. Raises `ValueError` where the numbers of conditions and functions do not fit.
    """
    x = as_arraylike(x)
    if isinstance(condlist, (list, tuple)) and all(len(shape_of(as_arraylike(c))) for c in condlist):
        conditions = list(condlist)
    else:  # one condition for a single axis, or one more axis than that of a condition
        whole = as_arraylike(condlist)
        conditions = [whole] if len(shape_of(whole)) < 2 else [getitem(whole, i) for i in range(shape_of(whole)[0])]
    if not isinstance(funclist, (list, tuple)):
        raise TypeError(located(f"np.piecewise: funclist is a list, got {type(funclist).__name__}"))
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(located(f"np.piecewise: {len(conditions)} conditions go with as many functions, or one more"))

    def value(function: Any) -> Any:
        made = function(x, *args, **kw) if callable(function) else function
        return cast(as_arraylike(made), dtype_of(x))

    result: Any = value(funclist[len(conditions)]) if len(funclist) > len(conditions) else value(0)
    for condition, function in zip(conditions, funclist):
        result = where(condition, value(function), result)
    return stretched(result, shape_of(x))


def choose(a: ArrayLike, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """For each index in `a` the element there of the choice of that number; all broadcast. `mode` "wrap" and "clip"
    take an index out of range into it, with "raise" it stops the run.
    """
    a = as_arraylike(a)
    if not isinstance(choices, (list, tuple)) and not shape_of(as_arraylike(choices)):
        raise ShapeError(located(f"np.choose: choices are several arrays, got {described(as_arraylike(choices))}"))
    parts = (
        [as_arraylike(choice) for choice in choices]
        if isinstance(choices, (list, tuple))
        else [getitem(choices, i) for i in range(shape_of(as_arraylike(choices))[0])]
    )
    shape = common_shape("np.choose", [a, *parts])
    together = stack([stretched(part, shape) for part in parts])
    if mode == "wrap":
        a = e.remainder(a, len(parts))
    elif mode == "clip":
        a = e.minimum(e.maximum(a, 0), len(parts) - 1)
    return getitem(take_along_axis(together, reshaped(stretched(a, shape), (1, *shape)), 0), 0)


def compress(condition: Any, a: ArrayLike, axis: int | None = None) -> Any:
    """The elements of `a` along `axis`, or of all, where `condition` (n,) holds, which is known while tracing.

    Raises `TracingError` where it is not: the shape would depend on values.
    """
    if isinstance(condition, Tracer):
        raise TracingError(
            located("np.compress: the shape of the result depends on values; use np.where(condition, a, b)")
        )
    places = np.flatnonzero(np.asarray(condition))
    return take(ravel(as_arraylike(a)), places) if axis is None else take(a, places, axis)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Any:
    """`arr` with `values` behind it along `axis`, or both flattened."""
    parts = [as_arraylike(arr), as_arraylike(values)]
    return concatenate([ravel(part) for part in parts] if axis is None else parts, axis=axis or 0)


def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Any:
    """`arr` without what `obj` names along `axis`, or flattened: an index, indices, a slice or a mask, which are known
    while tracing. Raises `TracingError` where they are not.
    """
    arr, obj = as_arraylike(arr), _known("delete", obj)
    if axis is None:
        arr, axis = ravel(arr), 0
    place = axis_index(axis, len(shape_of(arr)))
    try:
        kept = np.delete(np.arange(shape_of(arr)[place]), obj)
    except IndexError as error:
        raise IndexError(located(f"np.delete: {error}")) from None
    return take(arr, kept, place)


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Any:
    """`arr` with `values` before the places that `obj` names along `axis`, or flattened: an index, indices or a slice,
    which are known while tracing. Raises `TracingError` where they are not.
    """
    arr, obj = as_arraylike(arr), _known("insert", obj)
    if axis is None:
        arr, axis = ravel(arr), 0
    place = axis_index(axis, len(shape_of(arr)))
    moved, values = moveaxis(arr, place, 0), cast(as_arraylike(values), dtype_of(arr))
    is_index = not isinstance(obj, slice) and np.ndim(obj) == 0
    if len(shape_of(values)) == len(shape_of(arr)):
        values = moveaxis(values, place, 0)
    elif not is_index and len(shape_of(arr)) > 1:
        values = moveaxis(
            reshaped(values, (*(1,) * (len(shape_of(arr)) - len(shape_of(values))), *shape_of(values))), place, 0
        )
    count = shape_of(moved)[0]
    if is_index:  # all of the values stand before one place
        obj = [obj] * (shape_of(values)[0] if len(shape_of(values)) == len(shape_of(arr)) else 1)
    if isinstance(obj, (list, tuple)) and np.asarray(obj).dtype == bool:
        obj = np.asarray(obj)  # NumPy asks a mask for its axes, which a list has not
    try:
        added = np.insert(np.zeros(count, int), obj, 1).size - count
    except IndexError as error:
        raise IndexError(located(f"np.insert: {error}")) from None
    order = np.insert(np.arange(count), obj, -1 - np.arange(added))
    if len(shape_of(values)) > len(shape_of(moved)):
        what = f"values of {shape_of(values)} do not go into {shape_of(arr)}"
        raise ShapeError(located(f"np.insert: {what} along axis {axis}"))
    inserted = stretched(values, (added, *shape_of(moved)[1:]))
    return moveaxis(take(concatenate([moved, inserted]), np.where(order < 0, count - 1 - order, order), 0), 0, place)


def _known(name: str, obj: Any) -> Any:
    if isinstance(obj, Tracer):
        raise TracingError(located(f"np.{name}: which elements are meant must be known while tracing"))
    return obj


def resize(a: ArrayLike, new_shape: Any) -> Any:
    """The elements of `a`, again and again, in another shape."""
    shape = (new_shape,) if isinstance(new_shape, int) else tuple(new_shape)
    flat, count = ravel(as_arraylike(a)), math.prod(shape)
    total = shape_of(flat)[0]
    if not total:
        return np.zeros(shape, dtype_of(flat))
    return reshaped(take(flat, np.arange(count) % total), shape)


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Any:
    """`func1d(line, *args, **kwargs)` of every line of `arr` along `axis`, whose axes take the place of that one; it is
    traced once for all lines.
    """
    from ..tracing.vmap import vmap

    arr = as_arraylike(arr)
    place = axis_index(axis, len(shape_of(arr)))
    last = moveaxis(arr, place, -1)
    rows = shape_of(last)[:-1]
    if isinstance(arr, Tracer):
        lines = reshaped(last, (math.prod(rows), shape_of(arr)[place]))
        found = vmap(lambda line: func1d(line, *args, **kwargs))(lines)
        inner = shape_of(found)[1:]
        result = reshaped(found, (*rows, *inner))
    else:
        return np.apply_along_axis(func1d, axis, arr, *args, **kwargs)
    return moveaxis(result, [len(rows) + i for i in range(len(inner))], [place + i for i in range(len(inner))])


def apply_over_axes(func: Callable[[Any, int], Any], a: ArrayLike, axes: Any) -> Any:
    """`func(a, axis)` for one of the `axes` after the other; where it removes the axis, one of length 1 is put there.
    Raises `ShapeError` where it gives other axes.
    """
    result = as_arraylike(a)
    count = len(shape_of(result))
    for axis in axes if isinstance(axes, (tuple, list)) else (axes,):
        place = axis_index(axis, count)
        found = as_arraylike(func(result, place))
        result = found if len(shape_of(found)) == count else expand_dims(found, place)
        if len(shape_of(result)) != count:
            raise ShapeError(located(f"np.apply_over_axes: func removes an axis or none, got {described(found)}"))
    return result
