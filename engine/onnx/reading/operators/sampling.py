"""Images read at places that are computed: `GridSample`, and the grid of an affine map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import array_api as xp
from ..operator import Call, operator

Tap = tuple[Any, Any]
"""A whole number along an axis, as a float, and its weight (`None`: 1)."""


@operator("GridSample")
def grid_sample(
    call: Call, x: Any, grid: Any, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Any:
    """x (n, channels, ...lengths) at grid (n, ...places, axes), whose last axis counts the axes from the last one."""
    mode = mode.removeprefix("bi")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise call.refuse(f"padding_mode is zeros, border or reflection, got {padding_mode!r}")
    lengths = x.shape[2:]
    taps = [
        _taps(call, grid[..., len(lengths) - 1 - i], n, mode, padding_mode, bool(align_corners))
        for i, n in enumerate(lengths)
    ]
    total: Any = None
    for chosen in itertools.product(*taps):
        part = _read(x, [at for at, _ in chosen], padding_mode, bool(align_corners))
        weights = [weight for _, weight in chosen if weight is not None]
        if weights:
            part = part * xp.expand_dims(math.prod(weights[1:], start=weights[0]), 1)
        total = part if total is None else total + part
    return total


def _taps(call: Call, place: Any, n: int, mode: str, padding_mode: str, corners: bool) -> list[Tap]:
    """The neighbours along one axis of places from -1 to 1."""
    at = (place + 1) / 2 * (n - 1) if corners else ((place + 1) * n - 1) / 2
    if mode == "nearest":
        return [(_inside(xp.rint(at), n, padding_mode, corners), None)]
    at = _inside(at, n, padding_mode, corners)
    left = xp.floor(at)
    r = at - left
    if mode == "linear":
        return [(left, 1 - r), (left + 1, r)]
    if mode != "cubic":
        raise call.refuse(f"mode is nearest, linear or cubic, got {mode!r}")
    return [(left + k, _cubic(xp.abs(r - k), near=k in (0, 1))) for k in (-1, 0, 1, 2)]


def _cubic(d: Any, near: bool) -> Any:
    a = -0.75
    return ((a + 2) * d - (a + 3)) * d * d + 1 if near else ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def _inside(at: Any, n: int, padding_mode: str, corners: bool) -> Any:
    if padding_mode == "border":
        return xp.clip(at, 0, n - 1)
    if padding_mode == "zeros":
        return at
    low, span = (0.0, float(n - 1)) if corners else (-0.5, float(n))
    if span == 0:
        return at * 0
    distance = xp.abs(at - low)
    turns = xp.floor(distance / span)
    rest = distance - turns * span
    return low + xp.where(turns % 2 == 0, rest, span - rest)


def _read(x: Any, places: Sequence[Any], padding_mode: str, corners: bool) -> Any:
    """The elements (n, channels, ...) at whole numbers along each axis, 0 where there is none."""
    n, channels, *lengths = x.shape
    inside: Any = None
    flat: Any = 0
    for at, length in zip(places, lengths):
        if padding_mode == "zeros":
            there = (at >= 0) & (at <= length - 1)
            inside = there if inside is None else inside & there
        else:
            at = _inside(at, length, padding_mode, corners)
        # As integers first: what is no number becomes one that is brought inside.
        flat = flat * length + xp.clip(xp.astype(xp.trunc(at), "int64"), 0, length - 1)
    table = xp.reshape(x, (n, channels, math.prod(lengths)))
    shape = flat.shape[1:]
    index = xp.broadcast_to(xp.reshape(flat, (n, 1, -1)), (n, channels, math.prod(shape)))
    found = xp.reshape(xp.take_along_axis(table, index, axis=2), (n, channels, *shape))
    return found if inside is None else xp.where(xp.expand_dims(inside, 1), found, 0)


def read_linearly(x: Any, places: Sequence[Any], combine: Callable[[list[Any]], Any]) -> Any:
    """What `combine` makes of the neighbours of places along each axis, each times its weight, and 0 outside."""
    taps: list[list[Tap]] = []
    for at in places:
        left = xp.floor(at)
        taps.append([(left, 1 - (at - left)), (left + 1, at - left)])
    parts = [
        _read(x, [at for at, _ in chosen], "zeros", False)
        * xp.expand_dims(math.prod((weight for _, weight in chosen[1:]), start=chosen[0][1]), 1)
        for chosen in itertools.product(*taps)
    ]
    return combine(parts)


@operator("AffineGrid", known=(1,))
def affine_grid(call: Call, theta: Any, size: Any, *, align_corners: int = 0) -> Any:
    """For each pixel the place that the affine map `theta` takes it to."""
    n, _, *lengths = call.numbers(size, "size")
    axes = [_centers(length, bool(align_corners), theta.dtype) for length in reversed(lengths)]
    shape = tuple(lengths)
    spread = [np.broadcast_to(center.reshape((-1,) + (1,) * i), shape) for i, center in enumerate(axes)]
    base = np.stack([*spread, np.ones(shape, theta.dtype)], -1).reshape(1, -1, len(lengths) + 1)
    return xp.reshape(xp.matmul(base, xp.matrix_transpose(theta)), (n, *lengths, len(lengths)))


def _centers(n: int, corners: bool, dtype: Any) -> Any:
    ends = np.linspace(-1, 1, n, dtype=dtype) if n > 1 else np.zeros(n, dtype)
    return ends if corners else (ends * dtype.type((n - 1) / n)).astype(dtype)
