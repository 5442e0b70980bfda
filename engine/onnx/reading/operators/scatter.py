"""Operators that write elements to places that are given as integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import array_api as xp
from ..operator import Call, operator
from .indexing import counted_from_the_start, flat_places


def _written(call: Call, x: Any, places: tuple[Any, ...], updates: Any, reduction: str) -> Any:
    at = xp.at(x)[places]
    ways = {"none": at.set, "add": at.add, "mul": at.multiply, "max": at.max, "min": at.min}
    if reduction not in ways:
        raise call.refuse(f"reduction is one of {', '.join(ways)}, got {reduction!r}")
    return ways[reduction](updates)


@operator("ScatterElements")
def scatter_elements(call: Call, x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    at = axis % x.ndim
    places: list[Any] = [
        counted_from_the_start(indices, x.shape[at])
        if i == at
        else np.arange(n).reshape((1,) * i + (n,) + (1,) * (x.ndim - 1 - i))
        for i, n in enumerate(indices.shape)
    ]
    return _written(call, x, tuple(places), updates, reduction)


@operator("ScatterND")
def scatter_nd(call: Call, x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    depth = indices.shape[-1]
    lengths, rest = tuple(x.shape[:depth]), tuple(x.shape[depth:])
    rows = xp.reshape(flat_places(indices, lengths), (-1,))
    table = xp.reshape(x, (math.prod(lengths), *rest))
    written = _written(call, table, (rows,), xp.reshape(updates, (rows.shape[0], *rest)), reduction)
    return xp.reshape(written, x.shape)


@operator("TensorScatter")
def tensor_scatter(
    call: Call, past: Any, update: Any, first: Any = None, *, axis: int = -2, mode: str = "linear"
) -> Any:
    """Each entry of the batch is written along `axis` from its own place on, with `circular` around its end."""
    at = axis % past.ndim
    starts = np.zeros(past.shape[0], np.int64) if first is None else first
    steps = np.arange(update.shape[at])
    columns = xp.reshape(starts, (-1, 1)) + steps
    columns = columns % past.shape[at] if mode == "circular" else columns
    moved, new = xp.moveaxis(past, at, 1), xp.moveaxis(update, at, 1)
    rows = np.arange(past.shape[0])[:, None]
    return xp.moveaxis(xp.at(moved)[rows, columns].set(new), 1, at)
