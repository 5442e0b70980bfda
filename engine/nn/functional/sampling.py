"""Images and volumes read at places that are computed: grids of an affine map, and sampling at a grid."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ....ir.ops import indexing
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described, integer
from ...tracing.tracer import ShapeError, TracingError, emit, located
from .resizing import cubic_weights

_MODES = ("bilinear", "nearest", "bicubic")
_PADDING_MODES = ("zeros", "border", "reflection")
_SHAPES = {
    2: ("(N, C, H, W)", "(N, H', W', 2)", "(N, 2, 3)"),
    3: ("(N, C, D, H, W)", "(N, D', H', W', 3)", "(N, 3, 4)"),
}
"""For images and volumes the shapes of the input, of a grid, and of affine maps."""


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Any:
    """For each pixel of images of `size` (N, C, H, W) the place (x, y) that the affine map `theta` (N, 2, 3) takes it
    to: (N, H, W, 2), for `grid_sample`. For volumes (N, C, D, H, W) maps are (N, 3, 4), and places (x, y, z).

    Places run from -1 to 1, which are the centers of the outer pixels with `align_corners`, and their edges otherwise.
    """
    maps, lengths = as_arraylike(theta), tuple(integer(n, "affine_grid: size") for n in size)[2:]
    axes = len(lengths)
    if axes not in _SHAPES or maps.ndim != 3 or tuple(maps.shape) != (size[0], axes, axes + 1):
        images, volumes = (f"{maps} for a size {sizes}" for sizes, _, maps in _SHAPES.values())
        raise ShapeError(located(f"affine_grid: theta is {images}, or {volumes}, got {described(maps)}, {tuple(size)}"))
    if not is_float(maps.dtype):
        raise TracingError(located(f"affine_grid: theta holds floats, got {described(maps)}"))
    if 0 in (size[0], *lengths):
        raise ShapeError(located(f"affine_grid: there are no pixels in images of size {tuple(size)}"))
    centers = [_centers(n, bool(align_corners), maps.dtype) for n in lengths]
    base = np.stack([*reversed(np.meshgrid(*centers, indexing="ij")), np.ones(lengths, maps.dtype)], -1)
    places = xp.matmul(base.reshape(1, -1, axes + 1), xp.matrix_transpose(maps))
    return xp.reshape(places, (size[0], *lengths, axes))


def _centers(n: int, align_corners: bool, dtype: Any) -> Any:
    """The centers of `n` pixels between -1 and 1."""
    ends = np.linspace(-1, 1, n, dtype=dtype) if n > 1 else np.zeros(n, dtype)
    return ends if align_corners else ends * dtype.type((n - 1) / n)


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    """Images (N, C, H, W) at the places `grid` (N, H', W', 2), as of `affine_grid`: (N, C, H', W'). Volumes
    (N, C, D, H, W) have places (N, D', H', W', 3).

    `mode` is "bilinear", for volumes by all three axes, "nearest", or for images "bicubic". Outside there are zeros,
    the nearest pixel of the "border", or the "reflection" of what is inside. Both arguments have derivatives, but for
    the grid of "nearest". Raises `ShapeError`, `TracingError` or `ValueError` for anything else.
    """
    x, places = as_arraylike(input), as_arraylike(grid)
    if mode not in _MODES or padding_mode not in _PADDING_MODES:
        listed = f"mode is one of {', '.join(_MODES)}, padding_mode one of {', '.join(_PADDING_MODES)}"
        raise ValueError(located(f"grid_sample: {listed}, got {mode!r} and {padding_mode!r}"))
    axes = x.ndim - 2
    fits = axes in _SHAPES and places.ndim == x.ndim and places.shape[-1] == axes and places.shape[0] == x.shape[0]
    if not fits or 0 in x.shape[2:]:
        images, volumes = (f"the input is {shape} and the grid {grids}" for shape, grids, _ in _SHAPES.values())
        raise ShapeError(located(f"grid_sample: {images}, or {volumes}; got {described(x)} and {described(places)}"))
    if not is_float(x.dtype) or places.dtype != x.dtype:
        raise TracingError(located(f"grid_sample: takes floats of one dtype, got {described(x)}, {described(places)}"))
    if mode == "bicubic" and axes != 2:
        raise ValueError(located(f"grid_sample: mode='bicubic' is for images, got {described(x)}; write 'bilinear'"))
    corners = bool(align_corners)
    # In the order of the input's axes; a place is given as (x, y, z).
    pixels = [_to_pixels(places[..., axes - 1 - i], n, corners) for i, n in enumerate(x.shape[2:])]
    if mode == "bicubic":
        return _cubic(x, pixels, padding_mode, corners)
    pixels = [_outside(place, n, padding_mode, corners) for place, n in zip(pixels, x.shape[2:])]
    if mode == "nearest":
        return _at(x, [xp.rint(place) for place in pixels])
    sides: list[tuple[tuple[Any, Any], ...]] = []
    for place in pixels:
        before = xp.floor(place)
        behind = place - before
        sides.append(((before, 1 - behind), (before + 1, behind)))
    return _weighted(x, sides)


def _weighted(x: Any, taps: Sequence[Sequence[tuple[Any, Any]]]) -> Any:
    """Σ weight x over all choices of one tap, a whole number and its weight, for each axis of `taps`."""
    total: Any = 0.0
    for chosen in itertools.product(*taps):
        weight = functools.reduce(operator.mul, (weight for _, weight in chosen))
        total = total + _at(x, [place for place, _ in chosen]) * xp.expand_dims(weight, 1)
    return total


def _cubic(x: Any, pixels: Sequence[Any], padding_mode: str, corners: bool) -> Any:
    """By the cubic convolution of Keys 1981, a = -0.75, of the four pixels around along each axis."""
    taps: list[list[tuple[Any, Any]]] = []
    for place, n in zip(pixels, x.shape[2:]):
        before = xp.floor(place)
        weights = cubic_weights(place - before)
        taps.append([(_outside(before + i - 1, n, padding_mode, corners), weight) for i, weight in enumerate(weights)])
    return _weighted(x, taps)


def _to_pixels(place: Any, n: int, align_corners: bool) -> Any:
    return (place + 1) * ((n - 1) / 2) if align_corners else ((place + 1) * n - 1) / 2


def _outside(place: Any, n: int, padding_mode: str, align_corners: bool) -> Any:
    """A place along an axis of `n` pixels, brought inside as the mode says."""
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        low, span = (0.0, float(n - 1)) if align_corners else (-0.5, float(n))
        distance = xp.abs(place - low)
        if span == 0:
            return place * 0
        turns = xp.floor(distance / span)
        rest = distance - turns * span
        place = low + xp.where(turns % 2 == 0, rest, span - rest)
    return xp.clip(place, 0, n - 1)


def _at(x: Any, places: Sequence[Any]) -> Any:
    """The pixels (N, C, ...) at whole numbers, an array (N, ...) for each axis; 0 where there is none."""
    n, channels, *lengths = x.shape
    shape = tuple(places[0].shape)
    inside: Any = None
    index: Any = 0
    for place, length in zip(places, lengths):
        within = (place >= 0) & (place <= length - 1)
        inside = within if inside is None else inside & within
        # As integers first: what is no number becomes one that is brought inside.
        index = index * length + xp.clip(xp.astype(place, "int64"), 0, length - 1)
    flat = xp.reshape(x, (n, channels, math.prod(lengths)))
    found = emit(indexing.gather, flat, xp.reshape(index, (n, math.prod(shape[1:]))), axis=2, batch=1)
    return xp.where(xp.expand_dims(inside, 1), xp.reshape(found, (n, channels, *shape[1:])), 0)
