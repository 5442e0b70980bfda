"""Schedules along half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ... import array_api as xp
from ...tracing.tracer import Tracer
from .schedule import Scaled, check_rates, check_steps, one_of
from .spelling import Spelled
from .traced_steps import cos, least

_MOST_STEPS = 2**48


@dataclass(frozen=True, init=False)
class Cosine(Scaled):
    """From `lr` down to `final` along half a cosine in `steps` steps, and `final` from there on.

    As torch's `CosineAnnealingLR`, of which `steps` is the `T_max` and `final` the `eta_min`, by these names too; that
    one rises again past its end. Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts",
    without restarts.
    """

    lr: float
    steps: int
    final: float

    def __init__(
        self,
        lr: float,
        steps: int | None = None,
        final: float | None = None,
        *,
        T_max: int | None = None,
        eta_min: float | None = None,
    ) -> None:
        object.__setattr__(self, "lr", lr)
        object.__setattr__(self, "steps", one_of(self, "steps", steps, "T_max", T_max, None))
        object.__setattr__(self, "final", one_of(self, "final", final, "eta_min", eta_min, 0.0))
        check_rates(self, "lr", "final")
        check_steps(self, "steps", 1)

    def __call__(self, step: int) -> float:
        done = least(step / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1 + cos(math.pi * done)) / 2

    def next(self, rate: float, step: int) -> float:
        if not 0 < step <= self.steps:
            return rate
        now, before = (1 + math.cos(math.pi * i / self.steps) for i in (step, step - 1))
        return now / before * (rate - self.final) + self.final


@dataclass(frozen=True)
class CosineWarmRestarts(Spelled):
    """From `lr` down to `eta_min` along half a cosine in `T_0` steps, and again from `lr`, each time in `T_mult` times
    as many, as torch's `CosineAnnealingWarmRestarts`. Loshchilov and Hutter 2017, "SGDR".
    """

    lr: float
    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        check_rates(self, "lr", "eta_min")
        check_steps(self, "T_0", 1)
        check_steps(self, "T_mult", 1)

    def __call__(self, step: int) -> float:
        length: Any = self.T_0
        if self.T_mult == 1:
            step = step % length
        elif isinstance(step, Tracer):
            step, length = self._place(step)
        else:
            while step >= length:
                step -= length
                length *= self.T_mult
        return self.eta_min + (self.lr - self.eta_min) * (1 + cos(math.pi * step / length)) / 2

    def _place(self, step: Any) -> tuple[Any, Any]:
        """The number of steps in the cycle of a traced step, and its length."""
        begin, length = 0, self.T_0
        at: Any = begin
        of_cycle: Any = length
        while begin + length < _MOST_STEPS:
            begin, length = begin + length, length * self.T_mult
            at, of_cycle = xp.where(step >= begin, begin, at), xp.where(step >= begin, length, of_cycle)
        return step - at, of_cycle
