"""Schedules that multiply the rate at some steps, or a little at each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...tracing.errors import located
from ...tracing.numbers import as_whole
from .schedule import Scaled, check_numbers, check_rates, check_steps
from .traced_steps import count, least, of

_THIRD = 1 / 3


@dataclass(frozen=True)
class Constant(Scaled):
    """Always `lr`; with a `factor` from 0 to 1 it is `factor lr` for `total_iters` steps and then `lr`, as torch's
    `ConstantLR`, whose defaults, a third and 5, hold for the one of both that is not given.
    """

    lr: float
    factor: float | None = None
    total_iters: int | None = None

    def __post_init__(self) -> None:
        check_rates(self, "lr")
        if self.factor is None and self.total_iters is None:
            return
        object.__setattr__(self, "factor", _THIRD if self.factor is None else self.factor)
        object.__setattr__(self, "total_iters", 5 if self.total_iters is None else self.total_iters)
        check_numbers(self, factor=(0, 1))
        check_steps(self, "total_iters", 1)

    def __call__(self, step: int) -> float:
        factor = self.factor
        if factor is None:
            return self.lr
        return of(step < (self.total_iters or 0), lambda: self.lr * factor, lambda: self.lr)

    def next(self, rate: float, step: int) -> float:
        if self.factor is None or step not in (0, self.total_iters):
            return rate
        if step == 0:
            return rate * self.factor
        return rate / self.factor if self.factor else self.lr  # after a factor of 0 there is nothing to come back to


@dataclass(frozen=True)
class StepDecay(Scaled):
    """`lr`, multiplied by `factor` after each `every` steps."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_rates(self, "lr", "factor")
        check_steps(self, "every", 1)

    def __call__(self, step: int) -> float:
        return self.lr * float(self.factor) ** (step // self.every)

    def next(self, rate: float, step: int) -> float:
        return rate * self.factor if step and step % self.every == 0 else rate


@dataclass(frozen=True)
class Step(Scaled):
    """`lr`, multiplied by `gamma` after each `step_size` steps, as torch's `StepLR`."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_rates(self, "lr", "gamma")
        check_steps(self, "step_size", 1)

    def __call__(self, step: int) -> float:
        return self.lr * float(self.gamma) ** (step // self.step_size)

    def next(self, rate: float, step: int) -> float:
        return rate * self.gamma if step and step % self.step_size == 0 else rate


@dataclass(frozen=True)
class MultiStep(Scaled):
    """`lr`, multiplied by `gamma` at each of the steps `milestones`, as torch's `MultiStepLR`."""

    lr: float
    milestones: Iterable[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_rates(self, "lr", "gamma")
        object.__setattr__(self, "milestones", tuple(sorted(whole_steps(self, "milestones", self.milestones))))

    def __call__(self, step: int) -> float:
        return self.lr * float(self.gamma) ** count([step >= milestone for milestone in self.milestones])

    def next(self, rate: float, step: int) -> float:
        return rate * self.gamma ** tuple(self.milestones).count(step)


@dataclass(frozen=True)
class Linear(Scaled):
    """From `start_factor lr` along a line to `end_factor lr` in `total_iters` steps, where it stays, as torch's
    `LinearLR`.
    """

    lr: float
    start_factor: float = _THIRD
    end_factor: float = 1.0
    total_iters: int = 5

    def __post_init__(self) -> None:
        check_rates(self, "lr")
        check_numbers(self, start_factor=(0, 1), end_factor=(0, 1))
        if not self.start_factor:
            raise ValueError(located("Linear: start_factor is above 0, got 0"))
        check_steps(self, "total_iters", 1)

    def __call__(self, step: int) -> float:
        done = least(self.total_iters, step) / self.total_iters
        return self.lr * (self.start_factor + (self.end_factor - self.start_factor) * done)

    def next(self, rate: float, step: int) -> float:
        if step == 0:
            return rate * self.start_factor
        if step > self.total_iters:
            return rate
        change = self.end_factor - self.start_factor
        return rate * (1.0 + change / (self.total_iters * self.start_factor + (step - 1) * change))


@dataclass(frozen=True)
class Exponential(Scaled):
    """`lr gamma^step`, as torch's `ExponentialLR`."""

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        check_rates(self, "lr", "gamma")

    def __call__(self, step: int) -> float:
        return self.lr * float(self.gamma) ** step

    def next(self, rate: float, step: int) -> float:
        return rate * self.gamma if step else rate


@dataclass(frozen=True)
class Polynomial(Scaled):
    """`lr (1 - step/total_iters)^power`, and 0 from `total_iters` on, as torch's `PolynomialLR`."""

    lr: float
    total_iters: int = 5
    power: float = 1.0

    def __post_init__(self) -> None:
        check_rates(self, "lr")
        check_steps(self, "total_iters", 1)
        check_numbers(self, power=(0, math.inf))

    def __call__(self, step: int) -> float:
        return self.lr * (1.0 - least(self.total_iters, step) / self.total_iters) ** self.power

    def next(self, rate: float, step: int) -> float:
        if not 0 < step <= self.total_iters:
            return rate
        return rate * ((1.0 - step / self.total_iters) / (1.0 - (step - 1) / self.total_iters)) ** self.power


def whole_steps(schedule: Any, name: str, given: Any) -> list[int]:
    """Numbers of steps as Python's. Raises `ValueError` where one is not whole or below 0, `TypeError` for no list."""
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise TypeError(located(f"{type(schedule).__name__}: {name} is a list of steps, got {given!r}"))
    values = list(given)
    steps = [as_whole(value) for value in values]
    if any(step is None or step < 0 for step in steps):
        raise ValueError(located(f"{type(schedule).__name__}: {name} are whole numbers of 0 or more, got {values!r}"))
    return [step for step in steps if step is not None]
