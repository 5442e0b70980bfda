"""Orders and largest elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import array_api as xp
from ..table import aten


def _order(x: Any, dim: int, descending: bool) -> Any:
    if not descending:
        return xp.argsort(x, axis=dim, stable=True)
    # The first of equal ones stays the first.
    length = x.shape[dim]
    return xp.subtract(length - 1, xp.flip(xp.argsort(xp.flip(x, dim), axis=dim, stable=True), dim))


def _sorted(x: Any, dim: int, descending: bool) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, descending)
    return xp.take_along_axis(x, order, dim), order


@aten("sort.default")
def sort(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """x in order along an axis, and the places that its elements had."""
    return _sorted(x, dim, descending)


@aten("sort.stable")
def sort_stable(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """x in order along an axis, and the places that its elements had."""
    return _sorted(x, dim, descending)


@aten("argsort.default", whole=True)
def argsort(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """The places of the elements in order."""
    return _order(x, dim, descending)


@aten("topk.default")
def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest or smallest along an axis, and their places."""
    if not x.ndim:
        return x, np.zeros((), np.int64)
    order = _order(x, dim, largest)
    first = order[(slice(None),) * (dim % x.ndim) + (slice(0, k),)]
    return xp.take_along_axis(x, first, dim), first
