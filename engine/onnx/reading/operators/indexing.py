"""Operators that read elements at places that are given as integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import array_api as xp
from ..operator import Call, operator


def counted_from_the_start(indices: Any, length: int) -> Any:
    """Places along an axis, where those below 0 count from its end."""
    return xp.where(indices < 0, indices + length, indices)


@operator("Gather")
def gather(call: Call, x: Any, indices: Any, *, axis: int = 0) -> Any:
    return xp.take(x, indices, axis=axis)


@operator("GatherElements")
def gather_elements(call: Call, x: Any, indices: Any, *, axis: int = 0) -> Any:
    at = axis % x.ndim
    if all(n == m for i, (n, m) in enumerate(zip(x.shape, indices.shape)) if i != at):
        return xp.take_along_axis(x, counted_from_the_start(indices, x.shape[at]), axis=at)
    kept = tuple(slice(None) if i == at else slice(0, n) for i, n in enumerate(indices.shape))
    return xp.take_along_axis(x[kept], counted_from_the_start(indices, x.shape[at]), axis=at)


@operator("GatherND")
def gather_nd(call: Call, x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    depth = indices.shape[-1]
    batch = tuple(x.shape[:batch_dims])
    rest = tuple(x.shape[batch_dims + depth :])
    places = flat_places(indices, tuple(x.shape[batch_dims : batch_dims + depth]))
    count = math.prod(x.shape[batch_dims : batch_dims + depth])
    rows = np.arange(math.prod(batch)).reshape(*batch, *(1,) * (indices.ndim - 1 - batch_dims)) * count
    table = xp.reshape(x, (math.prod(batch) * count, *rest))
    return xp.reshape(xp.take(table, places + rows, axis=0), (*indices.shape[:-1], *rest))


def flat_places(indices: Any, lengths: tuple[int, ...]) -> Any:
    """The places in row-major order of index tuples, along the last axis, into an array of these lengths."""
    total: Any = 0
    for i, length in enumerate(lengths):
        total = total * length + counted_from_the_start(indices[..., i], length)
    return total


@operator("OneHot", known=(1,))
def one_hot(call: Call, indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    count = call.number(depth, "the depth")
    at = axis % (indices.ndim + 1)
    places = xp.expand_dims(counted_from_the_start(xp.astype(indices, "int64"), count), axis=at)
    steps = np.arange(count).reshape((count,) + (1,) * (indices.ndim - at))
    return xp.where(places == steps, values[1], values[0])


@operator("Compress", known=(1,))
def compress(call: Call, x: Any, condition: Any, *, axis: int | None = None) -> Any:
    """How many are true decides a shape, so that the condition must be known."""
    places = np.flatnonzero(call.known(condition, "the condition"))
    return xp.take(xp.reshape(x, (-1,)) if axis is None else x, places, axis=0 if axis is None else axis)
