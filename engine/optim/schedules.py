"""Learning rates that change with the step: callables from the number of steps done to a rate.

For example `AdamW(WarmUp(Cosine(3e-4, steps=10_000), steps=500))`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


def rate(lr: float | Schedule, step: int) -> float:
    """The learning rate for the update after `step` steps were done."""
    return float(lr(step)) if callable(lr) else float(lr)


@dataclass(frozen=True)
class Constant:
    """Always `lr`."""

    lr: float

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class StepDecay:
    """`lr`, multiplied by `factor` after each `every` steps."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is at least 1 step, got {self.every}")

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """From `lr` down to `final` along half a cosine in `steps` steps, and `final` from there on.

    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", without restarts.
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is at least 1, got {self.steps}")

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
        if self.steps < 0:
            raise ValueError(f"steps is at least 0, got {self.steps}")

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return rate(self.after, step - self.steps)
        return rate(self.after, 0) * (step + 1) / self.steps


@dataclass(frozen=True)
class OneCycle:
    """Up from `lr / first` to `lr` in the part `rising` of `steps` steps, then down to `lr / first / last`, both along
    half a cosine.

    As torch's `OneCycleLR`; Smith and Topin 2019, "Super-convergence".
    """

    lr: float
    steps: int
    rising: float = 0.3
    first: float = 25.0
    last: float = 1e4

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.rising <= 1:
            raise ValueError(f"steps is at least 1 and rising from 0 to 1, got {self.steps} and {self.rising}")

    def __call__(self, step: int) -> float:
        low, end = self.lr / self.first, max(self.steps - 1, 1)
        top = self.rising * self.steps - 1
        if step < top:
            return low + (self.lr - low) * (1 - math.cos(math.pi * step / top)) / 2
        final = low / self.last
        done = min((step - top) / (end - top), 1.0) if end > top else 1.0
        return final + (self.lr - final) * (1 + math.cos(math.pi * done)) / 2
