"""Python's arithmetic for schedules, of which a number of steps that is traced makes a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ... import array_api as xp
from ...tracing.tracer import Tracer, located


def of(condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """`yes()` where the condition holds, else `no()`; of a traced one both."""
    if isinstance(condition, Tracer):
        return xp.where(condition, yes(), no())
    return yes() if condition else no()


def least(x: Any, y: Any) -> Any:
    """The smaller of two numbers."""
    return xp.minimum(x, y) if isinstance(x, Tracer) or isinstance(y, Tracer) else min(x, y)


def most(x: Any, y: Any) -> Any:
    """The larger of two numbers."""
    return xp.maximum(x, y) if isinstance(x, Tracer) or isinstance(y, Tracer) else max(x, y)


def cos(x: Any) -> Any:
    """The cosine."""
    return xp.cos(x) if isinstance(x, Tracer) else math.cos(x)


def floor(x: Any) -> Any:
    """The whole number below."""
    return xp.floor(x) if isinstance(x, Tracer) else math.floor(x)


def count(values: Sequence[Any]) -> Any:
    """How many of some conditions hold."""
    total: Any = 0
    for value in values:
        total = total + (xp.astype(value, "int64") if isinstance(value, Tracer) else int(value))
    return total


def refuse_traced(step: Any, schedule: object) -> None:
    """Raises `NotImplementedError` where the number of steps is traced and the rate of a step follows from that of the
    step before.
    """
    if isinstance(step, Tracer):
        kind = type(schedule).__name__
        raise NotImplementedError(
            located(
                f"the rate of {kind} follows from that of the step before, and cannot be computed inside a program; "
                "give it: update(parameters, gradients, state, lr=optimizer.learning_rate(steps))"
            )
        )
