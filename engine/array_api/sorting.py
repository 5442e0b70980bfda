"""Sorting along an axis, and what follows from it: the median, the largest elements."""

from __future__ import annotations

import math
from typing import Any

from ...ir import Op
from ...ir.ops import sorting
from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, axes_tuple, axis_index, cast, dtype_of, integer, reshaped, shape_of, transposed
from .indexing import getitem, take_along_axis
from .reductions import mean


def _check_options(name: str, kind: Any, order: Any, stable: Any) -> None:
    """Refuses what NumPy refuses. Every kind sorts in the same way here, which is stable."""
    if kind is not None:
        if not isinstance(kind, str):
            raise TypeError(located(f"np.{name}: kind is a string, such as 'stable', got {kind!r}"))
        if kind[:1].lower() not in ("q", "h", "s", "m"):
            known = "'quicksort', 'heapsort', 'mergesort' or 'stable'"
            raise ValueError(located(f"np.{name}: kind is {known}, got {kind!r}"))
        if stable is not None:
            raise ValueError(located(f"np.{name}: kind= and stable= say the same; write one of them"))
    if order is not None:
        raise ValueError(located(f"np.{name}: order= names fields, which arrays here do not have"))


def _sorted(op: Op, x: ArrayLike, axis: Any, descending: bool) -> Any:
    if axis is None:
        x, axis = reshaped(x, (math.prod(shape_of(x)),)), 0
    return emit(op, x, axis=axis_index(axis, len(shape_of(x))), descending=bool(descending))


def sort(
    x: ArrayLike,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """The elements along `axis` (None: of all) from the smallest to the largest, or back where `descending`.

    NaN counts as larger than all numbers. Every `kind` is stable: equal elements keep their order. The derivative goes
    back to where each element came from. Raises `ValueError` for another `kind`, `kind` and `stable` together, `order`.
    """
    _check_options("sort", kind, order, stable)
    return _sorted(sorting.sort, as_arraylike(x), axis, descending)


def argsort(
    x: ArrayLike,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """The indices (int64) that put the elements along `axis` (None: all) into the order of `sort`, with its options."""
    _check_options("argsort", kind, order, stable)
    x = as_arraylike(x)
    if not shape_of(x):
        x = reshaped(x, (1,))  # NumPy gives the one index of the one element
    return _sorted(sorting.argsort, x, axis, descending)


def median(x: ArrayLike, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The middle of the sorted elements over `axis`, or the mean of the two; NaN if any is, and of no elements.

    Integers give float64. The derivative is that of the elements in the middle.
    """
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    shape = shape_of(x)
    axes = axes_tuple(axis, len(shape))
    kept = [i for i in range(len(shape)) if i not in axes]
    rows, count = tuple(shape[i] for i in kept), math.prod(shape[i] for i in axes)
    lines = reshaped(transposed(x, (*kept, *axes)), (*rows, count))
    if count:
        line = emit(sorting.sort, lines, axis=len(rows), descending=False)
        middle = getitem(line, (..., count // 2))
        if count % 2 == 0:
            middle = e.multiply(e.add(getitem(line, (..., count // 2 - 1)), middle), dtype_of(x).type(0.5))
        largest = getitem(line, (..., count - 1))
        result = e.where(e.isnan(largest), largest, middle)
    else:
        result = mean(lines, len(rows))
    return reshaped(result, tuple(1 if i in axes else n for i, n in enumerate(shape))) if keepdims else result


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
