"""Fractional max pooling: windows of one size at places drawn at random, as torch has it.

Graham 2014, "Fractional max-pooling".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing import random
from ...tracing.tracer import ShapeError, located
from .pooling import pooled_side_by_side, with_indices
from .spatial import Numbers, numbers_of, spatial_input


def _sizes(what: str, x: Any, size: Numbers, output_size: Any, output_ratio: Any) -> Numbers:
    """How many windows there are along each axis."""
    ndim = len(size)
    if (output_size is None) == (output_ratio is None):
        raise ValueError(located(f"{what}: takes one of output_size and output_ratio"))
    lengths = x.shape[-ndim:]
    if output_size is None:
        ratios = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * ndim
        if len(ratios) != ndim or not all(0 < ratio < 1 for ratio in ratios):
            raise ValueError(located(f"{what}: output_ratio is between 0 and 1, got {output_ratio!r}"))
        output_size = tuple(int(n * ratio) for n, ratio in zip(lengths, ratios))
    counts = numbers_of(what, "output_size", output_size, ndim, least=1)
    if any(count + k - 1 > n for count, k, n in zip(counts, size, lengths)):
        raise ShapeError(located(f"{what}: {counts} windows of {size} do not fit {described(x)}"))
    return counts


def _begins(sample: Any, length: int, count: int, size: int) -> Any:
    """Where `count` windows of `size` begin in each of the rows of `sample`, numbers in [0, 1): int64."""
    last = np.full((*sample.shape, 1), length - size)
    if count == 1:
        return last
    apart = np.asarray((length - size) / (count - 1), sample.dtype)
    sample = xp.expand_dims(sample, -1)
    places = xp.trunc((np.arange(count - 1).astype(sample.dtype) + sample) * apart) - xp.trunc(sample * apart)
    return xp.concatenate([xp.astype(places, "int64"), last], axis=-1)


def _fractional_max_pool_nd(
    ndim: int,
    input: Any,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Any,
) -> Any:
    what = f"fractional_max_pool{ndim}d"
    x = spatial_input(what, input, ndim)
    size = numbers_of(what, "kernel_size", kernel_size, ndim, least=1)
    counts = _sizes(what, x, size, output_size, output_ratio)
    leading = x.shape[:-ndim]
    wanted = (*(leading if len(leading) == 2 else (1, *leading)), ndim)
    samples = random.uniform(wanted, x.dtype) if samples is None else as_arraylike(samples)
    if tuple(samples.shape) != wanted:
        raise ShapeError(located(f"{what}: _random_samples have shape {wanted}, got {described(samples)}"))
    samples = xp.reshape(samples, (*leading, ndim))
    taken: list[Any] = []
    for i, (count, k) in enumerate(zip(counts, size)):
        # torch draws for an image the column first, and for a volume the depth.
        sample = samples[..., ndim - 1 - i if ndim == 2 else i]
        begins = _begins(sample, x.shape[len(leading) + i], count, k)
        places = xp.expand_dims(begins, -1) + np.arange(k)
        taken.append(xp.reshape(places, (*leading, count * k)))
    return pooled_side_by_side(what, x, taken, counts, return_indices)


def fractional_max_pool2d(
    input: Any,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """The largest of each of `output_size` windows of `kernel_size` over (N, C, H, W) or (C, H, W), whose places are
    drawn at random for each image and channel; `output_ratio` gives the number of windows as a part of the length.

    `_random_samples` (N, C, 2) in [0, 1) are drawn if not given. With `return_indices` also the place of each in its
    flattened image, int64. Raises `ShapeError` where the windows do not fit, `RuntimeError` where there is no key to
    draw from, see `gl.random.key`.
    """
    return _fractional_max_pool_nd(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Any,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """As `fractional_max_pool2d`, over volumes (N, C, D, H, W) or (C, D, H, W), with samples (N, C, 3)."""
    return _fractional_max_pool_nd(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


fractional_max_pool2d_with_indices = with_indices(fractional_max_pool2d)
fractional_max_pool3d_with_indices = with_indices(fractional_max_pool3d)
