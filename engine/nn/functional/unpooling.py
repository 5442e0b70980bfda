"""Max unpooling: the largest elements back at the places where max pooling found them, as torch has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, located
from .spatial import Numbers, numbers_of, spatial_input
from .transformations import checked_index


def _full_size(what: str, x: Any, size: Numbers, stride: Numbers, padding: Numbers, given: Any) -> Numbers:
    """The lengths to unpool to: those `given`, by torch also behind those of batch and channels, or the default."""
    ndim = len(size)
    default = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[-ndim:], stride, padding, size)]
    if given is None:
        return tuple(default)
    lengths = tuple(given)
    lengths = numbers_of(what, "output_size", lengths[2:] if len(lengths) == ndim + 2 else lengths, ndim, least=1)
    if not all(abs(n - d) < s for n, d, s in zip(lengths, default, stride)):
        least, most = ([d + sign * (s - 1) for d, s in zip(default, stride)] for sign in (-1, 1))
        raise ShapeError(located(f"{what}: output_size is between {least} and {most} here, got {lengths}"))
    return lengths


def _max_unpool_nd(
    ndim: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Any:
    what = f"max_unpool{ndim}d"
    x, places = spatial_input(what, input, ndim), as_arraylike(indices)
    if tuple(places.shape) != tuple(x.shape) or places.dtype.kind not in "iu":
        raise TracingError(
            located(
                f"{what}: indices are integers of the input's shape {tuple(x.shape)}, got {described(places)}; "
                f"write values, indices = nn.functional.max_pool{ndim}d(..., return_indices=True)"
            )
        )
    size = numbers_of(what, "kernel_size", kernel_size, ndim, least=1)
    steps = size if stride is None or stride == () else numbers_of(what, "stride", stride, ndim, least=1)
    lengths = _full_size(what, x, size, steps, numbers_of(what, "padding", padding, ndim, least=0), output_size)
    leading, images = x.shape[:-ndim], math.prod(x.shape[:-ndim])
    places = checked_index(xp.reshape(places, (images, -1)), math.prod(lengths), what)
    flat = xp.zeros((images, math.prod(lengths)), x.dtype)
    rows = np.arange(images)[:, None]
    result = xp.at(flat)[rows, places].set(xp.reshape(x, (images, -1)))
    return xp.reshape(result, (*leading, *lengths))


def max_unpool1d(
    input: Any,
    indices: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Any:
    """Zeros (N, C, L) or (C, L) with the values of `input` at `indices` along the last axis, both of
    `max_pool1d(..., return_indices=True)`; the last of several at one place stays, and has the gradient, which torch
    gives to all of them.

    `output_size` chooses among the lengths that are pooled to that of the input. An index outside stops the run with
    `IndexError`. Raises `ShapeError` for an `output_size` that cannot be, `TracingError` for indices of another shape.
    """
    return _max_unpool_nd(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Any,
    indices: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Any:
    """As `max_unpool1d`, for images (N, C, H, W) or (C, H, W) and indices into the flattened image."""
    return _max_unpool_nd(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Any,
    indices: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Any:
    """As `max_unpool1d`, for volumes (N, C, D, H, W) or (C, D, H, W) and indices into the flattened volume."""
    return _max_unpool_nd(3, input, indices, kernel_size, stride, padding, output_size)
