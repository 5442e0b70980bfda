"""What functions on images and signals check first: the axes of their input, and numbers given for each axis."""

from __future__ import annotations

import math
import operator
from typing import Any

from ....ir import is_float
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, located

Numbers = tuple[int, ...]

_SHAPES = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)", 3: "(N, C, D, H, W) or (C, D, H, W)"}


def spatial_input(what: str, input: Any, ndim: int) -> Any:
    """`input` as an array of floats of shape (N, C, ...) or (C, ...) with `ndim` axes behind the channels."""
    x = as_arraylike(input)
    if x.ndim not in (ndim + 1, ndim + 2):
        raise ShapeError(located(f"{what}: the input is {_SHAPES[ndim]}, got {described(x)}"))
    if not is_float(x.dtype):
        raise TracingError(located(f"{what}: takes floats, got {described(x)}; write .astype('float32')"))
    return x


def numbers_of(what: str, name: str, value: Any, ndim: int, least: int | None = None) -> Numbers:
    """`value` as `ndim` whole numbers: one for all axes, or one for each."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * ndim
    given = given * ndim if len(given) == 1 else given
    try:
        numbers = tuple(operator.index(n) for n in given)
    except TypeError:
        numbers = ()
    if len(numbers) != ndim or (least is not None and min(numbers) < least):
        count = f"a whole number or {ndim} of them" if ndim > 1 else "a whole number"
        bound = "" if least is None else f", {least} or more"
        raise ValueError(located(f"{what}: {name} is {count}{bound}, got {value!r}"))
    return numbers


def fitting_groups(*channels: int) -> str:
    """Which numbers of groups divide all the `channels`, in words."""
    most = math.gcd(*channels)
    *some, last = [str(n) for n in range(1, most + 1) if most % n == 0] or ["1"]
    return f"{', '.join(some)} or {last} would do" if some else f"only {last} would do"
