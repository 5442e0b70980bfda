"""What functions of layers say to the policy of mixed precision: what is float32, and whose results are activations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .mixed_precision import MixedPrecision
from .tracer import Tracer, current_trace

P = ParamSpec("P")
R = TypeVar("R")


def policy() -> MixedPrecision | None:
    """The policy of the program that is being traced, if it has one."""
    trace = current_trace()
    return None if trace is None else trace.precision


def float32_inside(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which computes in float32 whatever the precision of the program: a loss, a softmax."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        active = policy()
        if active is None:
            return function(*args, **kwargs)
        with active.float32():
            return function(*args, **kwargs)

    return call


def normalizes(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which computes in float32, and whose result, the first of several, is an activation."""
    inside = float32_inside(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return activation(inside(*args, **kwargs))

    return call


def activation(result: Any) -> Any:
    """A result, the first of several, rounded to the precision of activations; itself where it is float32 by policy."""
    active = policy()
    if active is None:
        return result
    if isinstance(result, tuple):
        return (activation(result[0]), *result[1:])
    if not isinstance(result, Tracer) or not active.rounds(result.value):
        return result
    trace = result.owner
    trace.builder.origin = trace.origin()
    return Tracer(trace, active.rounded(trace.builder, result.value))
