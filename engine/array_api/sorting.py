"""Sorting along an axis."""

from __future__ import annotations

import math
from typing import Any

from ...ir import Op
from ...ir.ops import sorting
from ..tracing.tracer import ArrayLike, emit, located
from .broadcasting import as_arraylike, axis_index, reshaped, shape_of


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
