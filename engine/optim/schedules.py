"""Learning rates that change with the step: callables from the number of steps done to a rate.

For example `AdamW(WarmUp(Cosine(3e-4, steps=10_000), steps=500))`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .. import array_api as xp
from ..tracing.numbers import as_rate, as_real, as_whole

Schedule = Callable[[int], float]


def rate(lr: float | Schedule, step: int) -> float:
    """The learning rate for the update after `step` steps were done.

    Raises `ValueError`, which names the step, where a schedule gives no number, or one that is negative, infinite or
    not a number.
    """
    try:
        given: Any = lr(step) if callable(lr) else lr
    except OverflowError:
        given = math.inf
    value = as_rate(given)
    if value is None:
        raise ValueError(f"the learning rate for step {step} is {given!r}; it must be a finite number of 0 or more")
    return value


def momentum_of(lr: float | Schedule) -> Callable[[Any], Any] | None:
    """What gives the momentum of each step, where the schedule `lr` says that too, as `OneCycle` does; else `None`.

    It takes the number of steps done, traced or not.
    """
    if isinstance(lr, OneCycle):
        return lr.momentum if lr.cycle_momentum else None
    if isinstance(lr, WarmUp):
        after, steps = momentum_of(lr.after), lr.steps
        return None if after is None else lambda step: after(xp.maximum(step - steps, 0))
    return None


def _check_rate(schedule: Any, *names: str) -> None:
    """Make fields Python's numbers. Raises `TypeError` for what is no number."""
    for name in names:
        value = as_real(getattr(schedule, name))
        if value is None:
            what = f"{name} is a number" + (" or a schedule" if name == "after" else "")
            raise TypeError(f"{type(schedule).__name__}: {what}, got {getattr(schedule, name)!r}")
        object.__setattr__(schedule, name, value)


def _check_steps(schedule: Any, name: str, least: int) -> None:
    """Make a number of steps Python's. Raises `ValueError` where it is not whole or below `least`."""
    value = as_whole(getattr(schedule, name))
    if value is None or value < least:
        unit = " step" if name == "every" else ""
        raise ValueError(f"{name} is at least {least}{unit}, and whole, got {getattr(schedule, name)!r}")
    object.__setattr__(schedule, name, value)


@dataclass(frozen=True)
class Constant:
    """Always `lr`."""

    lr: float

    def __post_init__(self) -> None:
        _check_rate(self, "lr")

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class StepDecay:
    """`lr`, multiplied by `factor` after each `every` steps."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_rate(self, "lr", "factor")
        _check_steps(self, "every", 1)

    def __call__(self, step: int) -> float:
        return self.lr * float(self.factor) ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """From `lr` down to `final` along half a cosine in `steps` steps, and `final` from there on.

    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", without restarts.
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self, "lr", "final")
        _check_steps(self, "steps", 1)

    def __call__(self, step: int) -> float:
        done = min(step / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class WarmUp:
    """Up linearly for `steps` steps to what `after` (a rate or a schedule) begins with; then `after`, from its step 0.

    The rates are 1/steps, 2/steps, ... of the first one, so that no step is lost at rate 0.
    """

    after: float | Schedule
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.after):
            _check_rate(self, "after")
        _check_steps(self, "steps", 0)

    def __call__(self, step: int) -> float:
        first: Any = self.after(max(step - self.steps, 0)) if callable(self.after) else self.after
        number = as_real(first)
        # What is no number is for `rate` to refuse, which knows the step.
        return first if number is None or step >= self.steps else number * (step + 1) / self.steps


@dataclass(frozen=True)
class OneCycle:
    """Up from `lr / first` to `lr` in the part `rising` of `steps` steps, then down to `lr / first / last`; from there
    on it stays.

    As torch's `OneCycleLR`, of which `steps` is the `total_steps`, `rising` the `pct_start`, `first` the `div_factor`
    and `last` the `final_div_factor`. With `three_phase` it goes down to `lr / first` as long as it went up, then on to
    the last rate. `anneal_strategy` is "cos", along half a cosine, or "linear". With `cycle_momentum` the momentum of
    SGD (also where it was given as 0), or the first beta of Adam, goes the other way: from `max_momentum` down to
    `base_momentum` and back. Smith and Topin 2019, "Super-convergence".
    """

    lr: float
    steps: int
    rising: float = 0.3
    first: float = 25.0
    last: float = 1e4
    three_phase: bool = False
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95

    def __post_init__(self) -> None:
        _check_rate(self, "lr", "rising", "first", "last", "base_momentum", "max_momentum")
        steps = as_whole(self.steps)
        if steps is None or steps < 1 or not 0 <= self.rising <= 1:
            raise ValueError(f"steps is at least 1 and rising from 0 to 1, got {self.steps!r} and {self.rising!r}")
        object.__setattr__(self, "steps", steps)
        for name in ("first", "last"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"OneCycle: {name} is above 0, got {getattr(self, name)!r}")
        for name in ("base_momentum", "max_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"OneCycle: {name} is 0 or more and below 1, got {getattr(self, name)!r}")
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycle: anneal_strategy is 'cos' or 'linear', got {self.anneal_strategy!r}")

    def __call__(self, step: int) -> float:
        low = self.lr / self.first
        ends = (low, self.lr, low, low / self.last) if self.three_phase else (low, self.lr, low / self.last)
        step = min(step, self.steps - 1)
        part = sum(step > turn for turn in self._turns[:-1])
        return float(self._between(ends, part, step))

    def momentum(self, step: Any) -> Any:
        """The momentum for the update after `step` steps were done, which may be traced."""
        low, high = self.base_momentum, self.max_momentum
        ends = (high, low, high, high) if self.three_phase else (high, low, high)
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
