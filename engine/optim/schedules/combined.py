"""Schedules made of others, and the momentum that they cycle."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ... import array_api as xp
from ...tracing.numbers import as_rate, as_real
from ...tracing.tracer import Tracer, located
from .cyclic import Cyclic
from .decay import whole_steps
from .functions import followed
from .one_cycle import OneCycle
from .plateau import ReduceOnPlateau
from .schedule import Scaled, Schedule, check_rates, check_steps
from .spelling import Spelled
from .traced_steps import most


@dataclass(frozen=True)
class WarmUp(Spelled):
    """Up linearly for `steps` steps to what `after` (a rate or a schedule) begins with; then `after`, from its step 0.

    The rates are 1/steps, 2/steps, ... of the first one, so that no step is lost at rate 0.
    """

    after: float | Schedule
    steps: int

    def __post_init__(self) -> None:
        _check_part(self, self.after)
        if not callable(self.after):
            check_rates(self, "after")
        check_steps(self, "steps", 0)

    def __call__(self, step: int) -> float:
        first = _rate(self.after, most(step - self.steps, 0))
        if isinstance(step, Tracer):
            return xp.where(step >= self.steps, first, first * ((step + 1) / max(self.steps, 1)))
        number = as_real(first)
        # What is no number is for `rate` to refuse, which knows the step.
        return first if number is None or step >= self.steps else number * (step + 1) / self.steps


@dataclass(frozen=True)
class Sequential(Spelled):
    """The first of `schedules` up to the first of `milestones`, then the second from its own step 0, and so on, as
    torch's `SequentialLR`. Each carries its rate; there is one more of them than milestones.
    """

    schedules: Iterable[float | Schedule]
    milestones: Iterable[int]

    def __post_init__(self) -> None:
        _check_schedules(self)
        milestones = whole_steps(self, "milestones", self.milestones)
        count = len(tuple(self.schedules))
        if len(milestones) != count - 1:
            raise ValueError(
                located(f"Sequential: {count} schedules have {count - 1} milestones between, got {milestones!r}")
            )
        if milestones != sorted(milestones):
            raise ValueError(located(f"Sequential: milestones are in order, got {milestones!r}"))
        object.__setattr__(self, "milestones", tuple(milestones))

    def __call__(self, step: int) -> float:
        schedules, milestones = tuple(self.schedules), tuple(self.milestones)
        if isinstance(step, Tracer):
            return self._traced(step)
        place = bisect_right(milestones, step)
        return _rate(schedules[place], step - (milestones[place - 1] if place else 0))

    def _traced(self, step: Any) -> Any:
        first, *rest = self.schedules
        result = _rate(first, step)
        for schedule, milestone in zip(rest, self.milestones):
            result = xp.where(step >= milestone, _rate(schedule, xp.maximum(step - milestone, 0)), result)
        return result


@dataclass(frozen=True)
class Chained(Spelled):
    """All `schedules` one after another in each step, as torch's `ChainedScheduler`.

    It begins with the rate of the first. In each step those that multiply the rate (`Constant`, `Step`, `StepDecay`,
    `MultiStep`, `Linear`, `Exponential`, `Polynomial`, `Cosine`, `Multiplicative`) do so to the one that the schedule
    before left; their own rates have no other use. All others, and functions, put their rate in its place.
    """

    schedules: Iterable[float | Schedule]

    def __post_init__(self) -> None:
        _check_schedules(self)

    def __call__(self, step: int) -> float:
        return followed(self, step, self._advance)

    def _advance(self, rate: float | None, step: int) -> float:
        for schedule in self.schedules:
            if isinstance(schedule, Scaled):
                rate = schedule.next(schedule.lr if rate is None else rate, step)
            else:
                rate = _rate(schedule, step)
        assert rate is not None
        return rate


def momentum_of(lr: float | Schedule, own: Any) -> Callable[[Any], Any] | None:
    """What gives the momentum of each step, where the schedule `lr` says that too, as `OneCycle` does; else `None`.

    It takes the number of steps done, traced or not. `own` is the momentum of the optimizer itself, for the parts of a
    `Sequential` before the first that cycles it; in those after one it stays as that left it.
    """
    if isinstance(lr, (OneCycle, Cyclic)):
        return lr.momentum if lr.cycle_momentum else None
    if isinstance(lr, WarmUp):
        after, steps = momentum_of(lr.after, own), lr.steps
        return None if after is None else lambda step: after(xp.maximum(step - steps, 0))
    if isinstance(lr, Chained):
        found = [momentum_of(schedule, own) for schedule in lr.schedules]
        return next((momentum for momentum in reversed(found) if momentum is not None), None)
    if isinstance(lr, Sequential):
        parts = [momentum_of(schedule, own) for schedule in lr.schedules]
        milestones = tuple(lr.milestones)
        return None if not any(parts) else lambda step: _of_parts(parts, milestones, own, step)
    return None


def _of_parts(parts: list[Callable[[Any], Any] | None], milestones: tuple[int, ...], own: Any, step: Any) -> Any:
    result: Any = own
    for begin, end, part in zip((0, *milestones), (*milestones, None), parts):
        if part is None:
            continue
        inside = xp.maximum(step - begin, 0)
        if end is not None:
            inside = xp.minimum(inside, max(end - begin - 1, 0))
        result = xp.where(step >= begin, part(inside), result) if begin else part(inside)
    return result


def _rate(schedule: Any, step: int) -> Any:
    return schedule(step) if callable(schedule) else schedule


def _check_part(schedule: Any, part: Any) -> None:
    """Raises `ValueError` for a part that follows the loss."""
    if isinstance(part, ReduceOnPlateau):
        raise ValueError(
            located(
                f"{type(schedule).__name__} holds schedules of the step alone, and ReduceOnPlateau follows the loss; "
                "give it to the optimizer itself"
            )
        )


def _check_schedules(schedule: Any) -> None:
    """Make the parts of a schedule a tuple. Raises `TypeError` for one that is neither a schedule nor a number,
    `ValueError` for a rate that is negative or infinite and where there is none.
    """
    kind, given = type(schedule).__name__, schedule.schedules
    if callable(given) or not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise TypeError(located(f"{kind}: schedules is a list of schedules, got {given!r}"))
    parts = tuple(given)
    if not parts:
        raise ValueError(located(f"{kind}: there is no schedule in schedules"))
    for part in parts:
        _check_part(schedule, part)
        if not callable(part) and as_real(part) is None:
            raise TypeError(located(f"{kind}: schedules are schedules or rates, got {part!r}"))
        if not callable(part) and as_rate(part) is None:
            raise ValueError(located(f"{kind}: a rate is a finite number of 0 or more, got {part!r}"))
    object.__setattr__(schedule, "schedules", tuple(p if callable(p) else as_real(p) for p in parts))
