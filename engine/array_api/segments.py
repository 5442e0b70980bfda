"""Reductions over segments: entries of one array are combined where an array of integers says, as in `jax.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import Op, is_float
from ...ir.ops import indexing, scatter
from ..tracing.errors import UnsupportedError
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, integer, shape_of
from .comparison import less, logical_or, where
from .indexing import getitem

_INT64 = np.dtype("int64")


def segment_sum(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: None = None,
    mode: None = None,
) -> Any:
    """The sums of the entries `data[i]` for each value of `segment_ids[i]`, as `jax.ops.segment_sum`.

    The result has `num_segments` entries; a segment that no entry belongs to is 0. Entries of other segments, negative
    ones too, are left away. The number may be left away where the segments are known while tracing: one more than the
    largest. The order does not matter, and the two hints change nothing. Raises `TracingError` where the number is
    needed, `ShapeError` where the segments are no axis of integers as long as the first of `data`.
    """
    return _segments("segment_sum", indexing.scatter_add, 0, data, segment_ids, num_segments, bucket_size, mode)


def segment_prod(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: None = None,
    mode: None = None,
) -> Any:
    """The products of segments; a segment without entries is 1. See `segment_sum`."""
    return _segments("segment_prod", scatter.scatter_mul, 1, data, segment_ids, num_segments, bucket_size, mode)


def segment_max(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: None = None,
    mode: None = None,
) -> Any:
    """The maxima of segments; a segment without entries is -inf, or the least integer. See `segment_sum`."""
    least = _limits(data)[0]
    return _segments("segment_max", scatter.scatter_max, least, data, segment_ids, num_segments, bucket_size, mode)


def segment_min(
    data: ArrayLike,
    segment_ids: ArrayLike,
    num_segments: int | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    bucket_size: None = None,
    mode: None = None,
) -> Any:
    """The minima of segments; a segment without entries is inf, or the largest integer. See `segment_sum`."""
    largest = _limits(data)[1]
    return _segments("segment_min", scatter.scatter_min, largest, data, segment_ids, num_segments, bucket_size, mode)


def segment_mean(data: ArrayLike, segment_ids: ArrayLike, num_segments: int | None = None) -> Any:
    """The means of segments; a segment without entries is 0. See `segment_sum`; not in JAX."""
    x = as_arraylike(data)
    total = segment_sum(x, segment_ids, num_segments)
    ones = np.ones(shape_of(x)[:1], dtype_of(total))
    counts = segment_sum(ones, segment_ids, shape_of(total)[0])
    return e.divide(total, _column(e.maximum(counts, 1), len(shape_of(x))))


def _column(x: ArrayLike, ndim: int) -> ArrayLike:
    return getitem(x, (slice(None), *(None for _ in range(ndim - 1))))


def _limits(data: ArrayLike) -> tuple[float | int, float | int]:
    dtype = dtype_of(as_arraylike(data))
    if is_float(dtype):
        return -np.inf, np.inf
    integers = np.iinfo(_INT64 if dtype.kind == "b" else dtype)
    return int(integers.min), int(integers.max)


def _segments(
    name: str, op: Op, start: float | int, data: ArrayLike, ids: ArrayLike, count: int | None, bucket: Any, mode: Any
) -> Any:
    if bucket is not None or mode is not None:
        raise UnsupportedError(located(f"{name}: bucket_size and mode are not supported; leave them away"))
    x, ids = as_arraylike(data), as_arraylike(ids)
    if dtype_of(x).kind == "b":
        x = cast(x, _INT64)
    if len(shape_of(ids)) != 1 or dtype_of(ids).kind not in "iu" or shape_of(x)[:1] != shape_of(ids):
        what = f"one integer for each entry of the first axis of {described(x)}"
        raise ShapeError(located(f"{name}: segment_ids are {what}, got {described(ids)}"))
    if count is None:
        if isinstance(ids, Tracer):
            raise TracingError(located(f"{name}: the segments are traced, so their number is needed: num_segments="))
        count = int(ids.max(initial=-1)) + 1
    count = integer(count, f"{name}: num_segments")
    if count < 0:
        raise ValueError(located(f"{name}: num_segments is 0 or more, got {count}"))
    # What belongs to no segment goes to an entry of its own.
    wide = cast(ids, _INT64)
    places = where(logical_or(less(wide, 0), less(count - 1, wide)), count, wide)
    begin = np.full((count + 1, *shape_of(x)[1:]), start, dtype_of(x))
    return getitem(emit(op, begin, places, x, axis=0, batch=0), slice(0, count))
