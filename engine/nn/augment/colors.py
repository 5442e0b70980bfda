"""Images with noise, and blurred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import described
from ...tracing import random
from ...tracing.keywords import tells_keywords
from ...tracing.tracer import ShapeError, located
from ..functional.padding import pad
from ..functional.spatial import numbers_of
from .images import Range, drawn_for_each, for_each, images, range_of


@tells_keywords
def gaussian_noise(input: Any, mean: float = 0.0, sigma: Range = 0.1, clip: Sequence[float] | None = None) -> Any:
    """Each element plus a normal number of its own; the standard deviation is `sigma`, or of a range for each image.

    What leaves the range `clip` is brought back to its ends; (0, 1) is torchvision's.
    """
    x = images("gaussian_noise", input)
    deviation = drawn_for_each(x, *range_of("gaussian_noise", "sigma", sigma, least=0))
    noisy = x + (random.normal(x.shape, x.dtype) * for_each(deviation) + mean)
    return noisy if clip is None else xp.clip(noisy, *range_of("gaussian_noise", "clip", clip))


@tells_keywords
def gaussian_blur(input: Any, kernel_size: int | Sequence[int], sigma: Range = (0.1, 2.0)) -> Any:
    """Each image blurred by a Gaussian of `kernel_size` (H, W) pixels, odd numbers; the standard deviation is `sigma`,
    or of a range for each image. Edges are mirrored. Raises `ShapeError` where they are shorter than half the kernel.
    """
    x = images("gaussian_blur", input)
    sizes = numbers_of("gaussian_blur", "kernel_size", kernel_size, 2, 1)
    if any(n % 2 == 0 for n in sizes):
        raise ValueError(located(f"gaussian_blur: kernel_size is odd, got {kernel_size!r}"))
    if any(n // 2 >= length for n, length in zip(sizes, x.shape[2:])):
        raise ShapeError(located(f"gaussian_blur: a kernel of {sizes} is too large for {described(x)}"))
    deviation = drawn_for_each(x, *range_of("gaussian_blur", "sigma", sigma, least=1e-6))
    for axis, size in zip((2, 3), sizes):
        x = _blurred(x, deviation, axis, size)
    return x


def _blurred(x: Any, deviation: Any, axis: int, size: int) -> Any:
    """`x` blurred along one axis: the sum of what it is moved by each pixel of the kernel."""
    half, length = size // 2, x.shape[axis]
    places = np.arange(-half, half + 1).astype(x.dtype)
    weights = xp.exp(-0.5 * xp.square(places / xp.expand_dims(deviation, 1)))
    weights = weights / xp.sum(weights, axis=1, keepdims=True)
    wide = pad(x, (half, half) if axis == 3 else (0, 0, half, half), "reflect")
    total: Any = 0.0
    for k in range(size):
        moved = wide[:, :, k : k + length] if axis == 2 else wide[..., k : k + length]
        total = total + moved * for_each(weights[:, k])
    return total
