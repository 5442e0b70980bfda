"""One cycle of the rate over a whole run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ... import array_api as xp
from ...tracing.tracer import Tracer, located
from .cyclic import check_momenta
from .schedule import check_numbers, check_rates, check_steps, one_of
from .spelling import Spelled


@dataclass(frozen=True, init=False)
class OneCycle(Spelled):
    """Up from `lr / first` to `lr` in the part `rising` of `steps` steps, then down to `lr / first / last`; from there
    on it stays.

    As torch's `OneCycleLR`, of which `steps` is the `total_steps`, `rising` the `pct_start`, `first` the `div_factor`
    and `last` the `final_div_factor`, by these names too. With `three_phase` it goes down to `lr / first` as long as it
    went up, then on to the last rate. `anneal_strategy` is "cos", along half a cosine, or "linear". With
    `cycle_momentum` (which is torch's default) the momentum of SGD, also where it was given as 0, or the first beta of
    Adam, goes the other way: from `max_momentum` down to `base_momentum` and back. Smith and Topin 2019,
    "Super-convergence".
    """

    lr: float
    steps: int
    rising: float
    first: float
    last: float
    three_phase: bool
    anneal_strategy: Literal["cos", "linear"]
    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def __init__(
        self,
        lr: float,
        steps: int | None = None,
        rising: float | None = None,
        first: float | None = None,
        last: float | None = None,
        three_phase: bool = False,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = False,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        *,
        total_steps: int | None = None,
        pct_start: float | None = None,
        div_factor: float | None = None,
        final_div_factor: float | None = None,
    ) -> None:
        given = {
            "lr": lr,
            "steps": one_of(self, "steps", steps, "total_steps", total_steps, None),
            "rising": one_of(self, "rising", rising, "pct_start", pct_start, 0.3),
            "first": one_of(self, "first", first, "div_factor", div_factor, 25.0),
            "last": one_of(self, "last", last, "final_div_factor", final_div_factor, 1e4),
            "three_phase": three_phase,
            "anneal_strategy": anneal_strategy,
            "cycle_momentum": cycle_momentum,
            "base_momentum": base_momentum,
            "max_momentum": max_momentum,
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        check_rates(self, "lr")
        check_steps(self, "steps", 1)
        check_numbers(self, rising=(0, 1), first=(0, math.inf), last=(0, math.inf))
        for name in ("first", "last"):
            if not getattr(self, name):
                raise ValueError(located(f"OneCycle: {name} is above 0, got {getattr(self, name)!r}"))
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(located(f"OneCycle: anneal_strategy is 'cos' or 'linear', got {self.anneal_strategy!r}"))
        if not isinstance(self.three_phase, bool):
            raise ValueError(located(f"OneCycle: three_phase is True or False, got {self.three_phase!r}"))
        check_momenta(self)

    def __call__(self, step: int) -> float:
        low = self.lr / self.first
        ends = (low, self.lr, low, low / self.last) if self.three_phase else (low, self.lr, low / self.last)
        if isinstance(step, Tracer):
            return self._traced(ends, step)
        step = min(step, self.steps - 1)
        part = sum(step > turn for turn in self._turns[:-1])
        return float(self._between(ends, part, step))

    def momentum(self, step: Any) -> Any:
        """The momentum for the update after `step` steps were done, which may be traced."""
        low, high = self.base_momentum, self.max_momentum
        ends = (high, low, high, high) if self.three_phase else (high, low, high)
        return self._traced(ends, step)

    def _traced(self, ends: tuple[float, ...], step: Any) -> Any:
        """The value at a step that may be traced."""
        step = xp.astype(xp.minimum(step, self.steps - 1), "float64")
        parts = [self._between(ends, part, step) for part in range(len(self._turns))]
        result = parts.pop()
        for turn, value in reversed(list(zip(self._turns, parts))):
            result = xp.where(step <= turn, value, result)
        return result

    @property
    def _turns(self) -> tuple[float, ...]:
        """The steps, not always whole, at which each part ends."""
        top, end = self.rising * self.steps - 1.0, self.steps - 1.0
        return (top, 2 * self.rising * self.steps - 2.0, end) if self.three_phase else (top, end)

    def _between(self, ends: tuple[float, ...], part: int, step: Any) -> Any:
        """The value at `step`, which lies in `part`, on the way from `ends[part]` to the next one."""
        begin, turn = (self._turns[part - 1] if part else 0.0), self._turns[part]
        # A part without length is over: torch divides by zero there.
        done = (step - begin) / (turn - begin) if turn != begin else 1.0
        if self.anneal_strategy == "linear":
            return ends[part] + (ends[part + 1] - ends[part]) * done
        cosine = xp.cos(math.pi * done) if not isinstance(done, float) else math.cos(math.pi * done)
        return ends[part + 1] + (ends[part] - ends[part + 1]) / 2 * (cosine + 1)
