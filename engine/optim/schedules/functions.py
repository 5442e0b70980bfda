"""Schedules by functions of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .schedule import Scaled, check_function, check_rates
from .spelling import Spelled
from .traced_steps import refuse_traced


@dataclass(frozen=True)
class Lambda(Spelled):
    """`lr lr_lambda(step)`, as torch's `LambdaLR`."""

    lr: float
    lr_lambda: Callable[[int], float]

    def __post_init__(self) -> None:
        check_rates(self, "lr")
        check_function(self, "lr_lambda")

    def __call__(self, step: int) -> float:
        return self.lr * self.lr_lambda(step)


@dataclass(frozen=True)
class Multiplicative(Scaled):
    """`lr lr_lambda(1) lr_lambda(2) ... lr_lambda(step)`, as torch's `MultiplicativeLR`.

    `lr_lambda` must give the same factor whenever it is called with the same step.
    """

    lr: float
    lr_lambda: Callable[[int], float]

    def __post_init__(self) -> None:
        check_rates(self, "lr")
        check_function(self, "lr_lambda")

    def __call__(self, step: int) -> float:
        return followed(self, step, lambda rate, i: self.lr if rate is None else self.next(rate, i))

    def next(self, rate: float, step: int) -> float:
        return rate * self.lr_lambda(step) if step else rate


def followed(schedule: object, step: int, advance: Callable[[float | None, int], float]) -> float:
    """The rate of `step` where each follows from that of the step before (`None` before step 0). The last one is kept,
    so that training asks for one more step at a time; any other is followed from the beginning.
    """
    refuse_traced(step, schedule)
    rate: float | None
    done, rate = getattr(schedule, "_followed", (-1, None))
    if done > step:
        done, rate = -1, None
    for i in range(done + 1, step + 1):
        rate = advance(rate, i)
    assert rate is not None, "steps are counted from 0"
    object.__setattr__(schedule, "_followed", (step, rate))
    return rate
