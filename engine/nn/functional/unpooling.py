"""Max unpooling: the largest elements back at the places where max pooling found them, as torch has it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.ops import indexing
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.custom_vjp import custom_vjp
from ...tracing.tracer import ShapeError, TracingError, emit, located
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
    places = checked_index(xp.reshape(places, (images, math.prod(x.shape[-ndim:]))), math.prod(lengths), what)
    result = _placed(math.prod(lengths), xp.reshape(x, places.shape), places)
    return xp.reshape(result, (*leading, *lengths))


@functools.partial(custom_vjp, nondiff_argnums=0)
def _placed(count: int, x: Any, places: Any) -> Any:
    """Rows of `count` zeros, with the values of x (images, n) at `places`; the last of several at one place stays."""
    rows = np.arange(x.shape[0])[:, None]
    return xp.at(xp.zeros((x.shape[0], count), x.dtype))[rows, places].set(x)


def _placed_forward(count: int, x: Any, places: Any) -> Any:
    return _placed.fun(count, x, places), places


def _gradient_of_placed(count: int, places: Any, cotangent: Any) -> Any:
    # torch's: where windows overlap, values that were found twice, and are the same, both have the place's gradient.
    return emit(indexing.gather, cotangent, places, axis=1, batch=1), None


_placed.defvjp(_placed_forward, _gradient_of_placed)


def max_unpool1d(
    input: Any,
    indices: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Any:
    """Zeros (N, C, L) or (C, L) with the values of `input` at `indices` along the last axis, both of
    `max_pool1d(..., return_indices=True)`. The last of several at one place stays, and all of them have the gradient of
    that place, as in torch: where windows overlap they are one element, found twice.

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
