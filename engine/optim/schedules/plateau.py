"""The rate that falls where the loss does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ... import array_api as xp
from ...tracing.errors import located
from .schedule import check_numbers, check_rates, check_steps
from .spelling import Spelled

RATE = "plateau_lr"
"""The state that is the rate of the next step."""


@dataclass(frozen=True)
class ReduceOnPlateau(Spelled):
    """`lr`, times `factor` after more than `patience` steps whose loss was no better than the best so far, as torch's
    `ReduceLROnPlateau` that is told the loss of every step.

    Better is below `best (1 - threshold)`, or with the `threshold_mode` "abs" below best - threshold; with the `mode`
    "max" above best (1 + threshold) or best + threshold. After a cut `cooldown` steps are not counted. The rate stays
    at `min_lr` or more, and as it is where a cut would change it by `eps` or less.

    It follows the loss that the step returns, so that patience and cooldown are in steps: those of an epoch times its
    length. The rate, the best loss and both counts are state of the compiled step: `plateau_lr`, `plateau_best`,
    `plateau_bad` and `plateau_cooldown`, saved and loaded with it. It stands alone: no other schedule can hold it.
    """

    lr: float
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_rates(self, "lr", "min_lr")
        check_numbers(self, factor=(0, 1), threshold=(-math.inf, math.inf), eps=(0, math.inf))
        if self.factor == 1:
            raise ValueError(located("ReduceOnPlateau: factor is below 1, got 1"))
        check_steps(self, "patience", 0)
        check_steps(self, "cooldown", 0)
        for name, choices in (("mode", ("min", "max")), ("threshold_mode", ("rel", "abs"))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    located(f"ReduceOnPlateau: {name} is {choices[0]!r} or {choices[1]!r}, got {getattr(self, name)!r}")
                )

    def __call__(self, step: int) -> float:
        return self.lr

    def init(self) -> dict[str, float]:
        """Its state before the first step: float64 scalars."""
        worst = math.inf if self.mode == "min" else -math.inf
        return {RATE: self.lr, "plateau_best": worst, "plateau_bad": 0.0, "plateau_cooldown": 0.0}

    def advance(self, loss: Any, held: Mapping[str, Any]) -> dict[str, Any]:
        """Its state after a step with that loss."""
        rate, best, bad, cooldown = held.values()
        loss = xp.astype(loss, "float64")
        sign = -1.0 if self.mode == "min" else 1.0
        bound = best * (1.0 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        better = loss < bound if self.mode == "min" else loss > bound
        cooling = cooldown > 0
        bad = xp.where(better | cooling, 0.0, bad + 1.0)
        cooldown = xp.where(cooling, cooldown - 1.0, cooldown)
        cut = bad > self.patience
        lower = xp.maximum(rate * self.factor, self.min_lr)
        new = (
            xp.where(cut & (rate - lower > self.eps), lower, rate),
            xp.where(better, loss, best),
            xp.where(cut, 0.0, bad),
            xp.where(cut, float(self.cooldown), cooldown),
        )
        return dict(zip(held, new))
