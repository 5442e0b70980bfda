"""Loss scaling: gradients of a loss times a number, so that float16 holds them, and updates that are skipped where it
does not.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...ir import ArrayType
from .. import array_api as xp
from ..tracing.errors import located, warn
from ..tracing.numbers import as_real, as_whole
from ..tracing.precisions import of_products
from .clipping import PLAIN, Totals

SCALING = SCALE, GOOD, SKIPPED = "loss_scale", "good_updates", "skipped_updates"
"""State of a step: the scale, the updates since it last changed, and those that were skipped."""
_SMALLEST = 2.0**-100
Scaling = str | float | Mapping[str, float] | None
"""What `checked_loss_scaling` takes."""


@dataclass(frozen=True)
class LossScaling:
    """The numbers of `torch.amp.GradScaler`, under its names."""

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def init(self) -> dict[str, tuple[ArrayType, float]]:
        """Types and initial values of the state by name."""
        whole = ArrayType((), np.dtype("int64"))
        return {SCALE: (ArrayType((), np.dtype("float32")), self.init_scale), GOOD: (whole, 0.0), SKIPPED: (whole, 0.0)}

    def advance(self, finite: Any, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state after an update whose gradients were all `finite`, or were not. A scale that would not be finite
        stays, and so does one that would vanish.
        """
        scale, good = state[SCALE], state[GOOD] + 1
        grows = good >= self.growth_interval
        larger = scale * np.float32(self.growth_factor)
        larger = xp.where(grows & xp.isfinite(larger), larger, scale)
        smaller = xp.maximum(scale * np.float32(self.backoff_factor), np.float32(_SMALLEST))
        return {
            SCALE: xp.where(finite, larger, smaller),
            GOOD: xp.where(finite & ~grows, good, 0),
            SKIPPED: state[SKIPPED] + xp.where(finite, 0, 1),
        }


def checked_loss_scaling(given: Any, precision: str) -> LossScaling | None:
    """What `loss_scaling=` says: "dynamic", a number that stays, a dict of arguments of `torch.amp.GradScaler`, or
    `None`, which is "dynamic" where products and activations are float16. Raises `ValueError` for anything else, and
    warns of "dynamic" where they are not.
    """
    if given is None:
        return LossScaling() if of_products(precision) == "fp16" else None
    if isinstance(given, str) and given == "dynamic":
        if of_products(precision) != "fp16":
            warn(
                'loss_scaling="dynamic" is for precision="fp16", whose gradients would vanish without it; with '
                f"precision={precision!r} they have the range of float32, and it only holds all of them in memory at "
                "once. Leave it out, or write loss_scaling=1.0 to skip updates that are not finite"
            )
        return LossScaling()
    if isinstance(given, Mapping):
        return _of_arguments(given)
    if _is_above(0, given):
        return LossScaling(float(given), 1.0, 1.0)
    raise ValueError(
        located(
            f'loss_scaling is "dynamic", a number above 0 that stays, or a dict such as dict(init_scale=2.0**10), got '
            f"{given!r}"
        )
    )


def _of_arguments(given: Mapping[Any, Any]) -> LossScaling:
    there = [field.name for field in fields(LossScaling)]
    for name in given:
        if name not in there:
            raise ValueError(located(f"loss_scaling has no {name!r}; it is a dict of {', '.join(there)}"))
    made = LossScaling(**given)
    if not _is_above(0, made.init_scale):
        raise ValueError(located(f"loss_scaling: init_scale is a number above 0, got {made.init_scale!r}"))
    if not _is_above(1, made.growth_factor):
        raise ValueError(located(f"loss_scaling: growth_factor is a number above 1, got {made.growth_factor!r}"))
    if not (_is_above(0, made.backoff_factor) and made.backoff_factor < 1):
        raise ValueError(located(f"loss_scaling: backoff_factor lies between 0 and 1, got {made.backoff_factor!r}"))
    if (as_whole(made.growth_interval) or 0) < 1:
        what = "growth_interval is a whole number of 1 or more"
        raise ValueError(located(f"loss_scaling: {what}, got {made.growth_interval!r}"))
    scale, up, down = (float(value) for value in (made.init_scale, made.growth_factor, made.backoff_factor))
    return LossScaling(scale, up, down, int(made.growth_interval))


def _is_above(least: float, given: Any) -> bool:
    number = None if isinstance(given, (bool, np.bool_, str)) else as_real(given)
    return number is not None and least < number <= float(np.finfo("float32").max) and math.isfinite(number)


def all_finite(gradients: Sequence[Any], totals: Totals = PLAIN) -> Any:
    """Whether every number of some gradients is finite: 0 times each of them adds up to 0 then, by `totals`, which know
    how ranks share them.
    """
    sums = [xp.astype(totals.sum(gradient * 0.0), "float32") for gradient in gradients if gradient.size]
    return xp.isfinite(functools.reduce(operator.add, sums)) if sums else xp.asarray(True)
