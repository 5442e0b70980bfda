"""Images that are cut, turned over, rotated, moved and resized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.ops import dynamic_slice
from ... import array_api as xp
from ...array_api.broadcasting import described
from ...tracing import random
from ...tracing.keywords import tells_keywords
from ...tracing.tracer import ShapeError, emit, located
from ..functional.padding import pad
from ..functional.sampling import affine_grid, grid_sample
from ..functional.spatial import numbers_of
from .images import Range, drawn_for_each, for_each, images, probability, range_of


@tells_keywords
def random_horizontal_flip(input: Any, p: float = 0.5) -> Any:
    """Each image turned over left to right with probability `p`."""
    return _flipped("random_horizontal_flip", input, p, 3)


@tells_keywords
def random_vertical_flip(input: Any, p: float = 0.5) -> Any:
    """Each image turned over upside down with probability `p`."""
    return _flipped("random_vertical_flip", input, p, 2)


def _flipped(what: str, input: Any, p: float, axis: int) -> Any:
    x = images(what, input)
    turned = random.bernoulli(probability(what, p), (x.shape[0],))
    return xp.where(for_each(turned), xp.flip(x, axis), x)


@tells_keywords
def random_crop(
    input: Any,
    size: int | Sequence[int],
    padding: int | Sequence[int] = 0,
    fill: float = 0,
    padding_mode: str = "constant",
) -> Any:
    """A window of `size` (H, W) of each image, at a place of its own, after `padding` on all sides.

    `padding` is one width, (left and right, top and bottom), or (left, top, right, bottom), as in torchvision;
    `padding_mode` is one of `nn.functional.pad`, with `fill` for "constant". Raises `ShapeError` where the window is
    larger than the padded image.
    """
    x = images("random_crop", input)
    height, width = numbers_of("random_crop", "size", size, 2, 1)
    widths = numbers_of("random_crop", "padding", padding, _widths(padding), 0)
    left, top, right, bottom = widths * (4 // len(widths))
    if any(widths):
        x = pad(x, (left, right, top, bottom), padding_mode, fill if padding_mode == "constant" else None)
    if height > x.shape[2] or width > x.shape[3]:
        raise ShapeError(located(f"random_crop: a window of {(height, width)} is larger than {described(x)}"))
    for axis, length in ((2, height), (3, width)):
        room = x.shape[axis] - length
        if room:
            start = random.randint((x.shape[0],), 0, room + 1)
            x = emit(dynamic_slice.dynamic_slice, x, start, size=length, axis=axis, batch=1)
    return x


def _widths(padding: int | Sequence[int]) -> int:
    """How many widths a padding has."""
    return len(padding) if isinstance(padding, (tuple, list)) and len(padding) in (2, 4) else 1


@tells_keywords
def random_rotation(input: Any, degrees: Range, mode: str = "bilinear", fill: float = 0) -> Any:
    """Each image rotated about its center, counter-clockwise, by an angle of its own: from -degrees to degrees, or of a
    range (least, most). What comes from outside is `fill`; `mode` is that of `nn.functional.grid_sample`.
    """
    return _affine("random_rotation", input, degrees, (0, 0), (1, 1), mode, fill)


@tells_keywords
def random_affine(
    input: Any,
    degrees: Range = 0,
    translate: Sequence[float] = (0, 0),
    scale: Sequence[float] = (1, 1),
    mode: str = "bilinear",
    fill: float = 0,
) -> Any:
    """Each image rotated as by `random_rotation`, resized about its center and moved, by numbers of its own.

    `translate` is the most by which it is moved, (across, down), as parts of width and height; `scale` the range of
    factors. What comes from outside is `fill`; `mode` is that of `nn.functional.grid_sample`.
    """
    return _affine("random_affine", input, degrees, translate, scale, mode, fill)


def _affine(
    what: str, input: Any, degrees: Range, translate: Sequence[float], scale: Range, mode: str, fill: float
) -> Any:
    x = images(what, input)
    height, width = x.shape[2:]
    across, down = translate
    angle = drawn_for_each(x, *range_of(what, "degrees", degrees, about_zero=True)) * (math.pi / 180)
    zoom = drawn_for_each(x, *range_of(what, "scale", scale, least=1e-6))
    moves = [drawn_for_each(x, *range_of(what, "translate", part, about_zero=True)) * 2 for part in (across, down)]
    cosine, sine = xp.cos(angle) / zoom, xp.sin(angle) / zoom
    # Where a pixel of the result comes from; from -1 to 1 along both sides of an image that is no square.
    ratio = height / max(width, 1)
    rows = [[cosine, -sine * ratio], [sine / ratio, cosine]]
    maps = xp.stack([xp.stack([a, b, -a * moves[0] - b * moves[1]], axis=1) for a, b in rows], axis=1)
    return _sampled(x, maps, (height, width), mode, fill)


@tells_keywords
def random_resized_crop(
    input: Any,
    size: int | Sequence[int],
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    mode: str = "bilinear",
) -> Any:
    """A rectangle of each image in the size `size` (H, W): of a part of its area in the range `scale`, whose width and
    height have a ratio in the range `ratio`, at a place of its own. A side that would be longer than the image is as
    long as the image. Szegedy et al. 2015, "Going deeper with convolutions".
    """
    x = images("random_resized_crop", input)
    sizes = numbers_of("random_resized_crop", "size", size, 2, 1)
    height, width = x.shape[2:]
    area = drawn_for_each(x, *range_of("random_resized_crop", "scale", scale, least=1e-6)) * (height * width)
    low, high = range_of("random_resized_crop", "ratio", ratio, least=1e-6)
    shape = xp.exp(drawn_for_each(x, math.log(low), math.log(high)))
    # Parts of the whole width and height, and where their centers may be.
    wide = xp.minimum(xp.sqrt(area * shape) / width, 1)
    high_ = xp.minimum(xp.sqrt(area / shape) / height, 1)
    places = [(1 - part) * drawn_for_each(x, -1, 1) for part in (wide, high_)]
    zero = xp.zeros_like(wide)
    rows = [xp.stack([wide, zero, places[0]], axis=1), xp.stack([zero, high_, places[1]], axis=1)]
    return _sampled(x, xp.stack(rows, axis=1), sizes, mode, 0, "border")


def _sampled(x: Any, maps: Any, sizes: Sequence[int], mode: str, fill: float, padding_mode: str = "zeros") -> Any:
    grid = affine_grid(maps, (x.shape[0], x.shape[1], *sizes), align_corners=False)
    level = np.asarray(fill, x.dtype)
    if fill == 0:
        return grid_sample(x, grid, mode, padding_mode, align_corners=False)
    return grid_sample(x - level, grid, mode, padding_mode, align_corners=False) + level
