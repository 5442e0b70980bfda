"""What augmentations check first: images, and ranges of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....ir import is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing import random
from ...tracing.numbers import as_real
from ...tracing.tracer import ShapeError, TracingError, located

Range = float | Sequence[float]


def images(what: str, input: Any) -> Any:
    """`input` as floats (N, C, H, W)."""
    x = as_arraylike(input)
    if x.ndim != 4:
        raise ShapeError(located(f"{what}: images are (N, C, H, W), got {described(x)}; write x[None] for one"))
    if not is_float(x.dtype):
        raise TracingError(located(f"{what}: takes floats, got {described(x)}; write x.astype('float32') / 255"))
    return x


def range_of(
    what: str, name: str, given: Range, about_zero: bool = False, least: float = -math.inf
) -> tuple[float, float]:
    """The ends of a range: a pair, or one number for both, which with `about_zero` is from its negative to itself."""
    ends = [as_real(end) for end in given] if isinstance(given, (tuple, list)) else [as_real(given)]
    if len(ends) == 1 and ends[0] is not None:
        ends = [-ends[0] if about_zero else ends[0], ends[0]]
    low, high = ends if len(ends) == 2 else (None, None)
    if low is None or high is None or not (least <= low <= high) or not math.isfinite(high - low):
        bound = "" if least == -math.inf else f", {least} or more"
        raise ValueError(located(f"{what}: {name} is a number or (least, most){bound}, got {given!r}"))
    return float(low), float(high)


def probability(what: str, p: float) -> float:
    """A number from 0 to 1."""
    number = as_real(p)
    if number is None or not 0 <= number <= 1:
        raise ValueError(located(f"{what}: a probability is from 0 to 1, got {p!r}"))
    return float(number)


def drawn_for_each(x: Any, low: float, high: float) -> Any:
    """A number from a range for each image, (N,)."""
    return random.uniform((x.shape[0],), x.dtype, low, high) if low < high else xp.full((x.shape[0],), low, x.dtype)


def for_each(values: Any) -> Any:
    """Values (N,) that meet images (N, C, H, W)."""
    return xp.reshape(values, (-1, 1, 1, 1))
