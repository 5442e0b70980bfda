"""Images read at places that are computed: grids of an affine map, and sampling at a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ....ir.ops import indexing
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.errors import UnsupportedError
from ...tracing.tracer import ShapeError, TracingError, emit, located

_MODES = ("bilinear", "nearest")
_PADDING_MODES = ("zeros", "border", "reflection")


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Any:
    """For each pixel of images of `size` (N, C, H, W) the place (x, y) that the affine map `theta` (N, 2, 3) takes it
    to: (N, H, W, 2), for `grid_sample`.

    Places run from -1 to 1, which are the centers of the outer pixels with `align_corners`, and their edges otherwise.
    Volumes, (N, C, D, H, W), raise `UnsupportedError`.
    """
    maps = as_arraylike(theta)
    if len(size) == 5:
        raise UnsupportedError(located("affine_grid: takes sizes (N, C, H, W); volumes are not supported"))
    if len(size) != 4 or maps.ndim != 3 or tuple(maps.shape) != (size[0], 2, 3):
        raise ShapeError(
            located(f"affine_grid: theta is (N, 2, 3) for a size (N, C, H, W), got {described(maps)}, {size}")
        )
    if not is_float(maps.dtype):
        raise TracingError(located(f"affine_grid: theta holds floats, got {described(maps)}"))
    _, _, height, width = size
    x, y = (_centers(n, bool(align_corners), maps.dtype) for n in (width, height))
    ones = np.ones((height, width), maps.dtype)
    base = np.stack([np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width)), ones], -1)
    places = xp.matmul(base.reshape(1, height * width, 3), xp.matrix_transpose(maps))
    return xp.reshape(places, (size[0], height, width, 2))


def _centers(n: int, align_corners: bool, dtype: Any) -> Any:
    """The centers of `n` pixels between -1 and 1."""
    ends = np.linspace(-1, 1, n, dtype=dtype) if n > 1 else np.zeros(n, dtype)
    return ends if align_corners else ends * dtype.type((n - 1) / n)


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    """Images (N, C, H, W) at the places `grid` (N, H', W', 2), as of `affine_grid`: (N, C, H', W').

    `mode` is "bilinear" or "nearest"; outside there are zeros, the nearest pixel of the "border", or the "reflection"
    of what is inside. Both arguments have derivatives, the grid those of "bilinear". Raises `UnsupportedError` for
    `mode="bicubic"` and for volumes.
    """
    x, places = as_arraylike(input), as_arraylike(grid)
    if mode == "bicubic" or x.ndim == 5:
        what = "mode='bicubic'" if mode == "bicubic" else "volumes"
        raise UnsupportedError(located(f"grid_sample: {what} is not supported; write mode='bilinear' for images"))
    if mode not in _MODES or padding_mode not in _PADDING_MODES:
        listed = f"mode is one of {', '.join(_MODES)}, padding_mode one of {', '.join(_PADDING_MODES)}"
        raise ValueError(located(f"grid_sample: {listed}, got {mode!r} and {padding_mode!r}"))
    fits = x.ndim == 4 and places.ndim == 4 and places.shape[-1] == 2 and places.shape[0] == x.shape[0]
    if not fits or 0 in x.shape[2:]:
        what = "the input is (N, C, H, W) and the grid (N, H', W', 2)"
        raise ShapeError(located(f"grid_sample: {what}, got {described(x)} and {described(places)}"))
    if not is_float(x.dtype) or places.dtype != x.dtype:
        raise TracingError(located(f"grid_sample: takes floats of one dtype, got {described(x)}, {described(places)}"))
    height, width = x.shape[2:]
    across, down = (
        _outside(_to_pixels(places[..., i], n, bool(align_corners)), n, padding_mode, bool(align_corners))
        for i, n in ((0, width), (1, height))
    )
    if mode == "nearest":
        return _at(x, xp.rint(down), xp.rint(across))
    top, left = xp.floor(down), xp.floor(across)
    below, right = down - top, across - left
    total: Any = 0.0
    for row, of_row in ((top, 1 - below), (top + 1, below)):
        for column, of_column in ((left, 1 - right), (left + 1, right)):
            total = total + _at(x, row, column) * xp.expand_dims(of_row * of_column, 1)
    return total


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


def _at(x: Any, row: Any, column: Any) -> Any:
    """The pixels (N, C, H', W') at whole numbers (N, H', W'), 0 where there is none."""
    n, channels, height, width = x.shape
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    # As integers first: what is no number becomes one that is brought inside.
    rows, columns = (xp.clip(xp.astype(i, "int64"), 0, end - 1) for i, end in ((row, height), (column, width)))
    flat = xp.reshape(x, (n, channels, height * width))
    places = xp.reshape(rows * width + columns, (n, row.shape[1] * row.shape[2]))
    found = xp.reshape(emit(indexing.gather, flat, places, axis=2, batch=1), (n, channels, *row.shape[1:]))
    return xp.where(xp.expand_dims(inside, 1), found, 0)
