"""What a schedule is, the rate that it gives, and checks of its arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ...tracing.errors import located
from ...tracing.numbers import as_rate, as_real, as_whole
from .spelling import Spelled

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
        raise ValueError(
            located(f"the learning rate for step {step} is {given!r}; it must be a finite number of 0 or more")
        )
    return value


class Scaled(Spelled, ABC):
    """A schedule that takes the rate of one step from that of the step before, as `Chained` needs it."""

    lr: float

    @abstractmethod
    def next(self, rate: float, step: int) -> float:
        """The rate of `step`, where the schedules before it in a chain left `rate`."""


def check_rates(schedule: Any, *names: str) -> None:
    """Make rates Python's numbers. Raises `TypeError` for what is no number, `ValueError` for one that is negative,
    infinite or not a number.
    """
    for name in names:
        value = as_real(getattr(schedule, name))
        kind = type(schedule).__name__
        if value is None:
            what = f"{name} is a number" + (" or a schedule" if name == "after" else "")
            raise TypeError(located(f"{kind}: {what}, got {getattr(schedule, name)!r}"))
        if as_rate(value) is None:
            raise ValueError(located(f"{kind}: {name} is a finite number of 0 or more, got {value!r}"))
        object.__setattr__(schedule, name, value)


def check_numbers(schedule: Any, **limits: tuple[float, float]) -> None:
    """Make numbers Python's. Raises `ValueError` where one is not from the first to the second limit, both included, or
    is infinite.
    """
    for name, (low, high) in limits.items():
        value = as_real(getattr(schedule, name))
        if value is None or not low <= value <= high or math.isinf(value):
            what = "a finite number"
            if low > -math.inf:
                what = f"{low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
            raise ValueError(located(f"{type(schedule).__name__}: {name} is {what}, got {getattr(schedule, name)!r}"))
        object.__setattr__(schedule, name, value)


def check_steps(schedule: Any, name: str, least: int) -> None:
    """Make a number of steps Python's. Raises `ValueError` where it is not whole or below `least`."""
    value = as_whole(getattr(schedule, name))
    if value is None or value < least:
        unit = " step" if name == "every" else ""
        raise ValueError(located(f"{name} is at least {least}{unit}, and whole, got {getattr(schedule, name)!r}"))
    object.__setattr__(schedule, name, value)


def check_function(schedule: Any, name: str) -> None:
    """Raises `TypeError` where an argument is no function."""
    given = getattr(schedule, name)
    if not callable(given):
        raise TypeError(located(f"{type(schedule).__name__}: {name} is a function, got {type(given).__name__}"))


def one_of(schedule: Any, name: str, given: Any, other: str, also: Any, default: Any) -> Any:
    """What an argument of two names is. Raises `TypeError` where both are given, and where neither is."""
    if also is None:
        if given is None and default is None:
            raise TypeError(located(f"{type(schedule).__name__}: {name} is missing"))
        return default if given is None else given
    if given is not None:
        raise TypeError(located(f"{type(schedule).__name__}: {other} is {name} by another name; give one of them"))
    return also
