"""What functions of layers say to the policy of mixed precision: what is float32, and whose results are activations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from .mixed_precision import MixedPrecision
from .precisions import rounded_dtype
from .tracer import Trace, Tracer, current_trace

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def in_precision(precision: str, trace: Trace, stored: Iterable[Any] = (), everywhere: bool = False) -> Iterator[None]:
    """What is traced inside has this precision. `stored` are parameters and buffers of a model; `everywhere`, as of
    `MixedPrecision`.
    """
    dtype = rounded_dtype(precision)
    if dtype is None:
        yield
        return
    before, trace.precision = trace.precision, MixedPrecision(dtype, everywhere)
    trace.precision.set_constants(array.value for array in stored if isinstance(array, Tracer))
    try:
        yield
    finally:
        trace.precision = before


def in_this_precision(fn: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """`fn`, all of which has a precision where it is traced."""
    if rounded_dtype(precision) is None:
        return fn

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        assert trace is not None
        with in_precision(precision, trace, everywhere=True):
            return fn(*args, **kwargs)

    return call


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


def rounded_once(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which computes in float32, and whose result, the first of several, is an activation: a normalization,
    an activation function. What it makes of parameters alone stays float32.
    """
    inside = float32_inside(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        result = inside(*args, **kwargs)
        if policy() is None:
            return result
        return (_rounded(result[0]), *result[1:]) if isinstance(result, tuple) else _rounded(result)

    return call


def activation(result: Any) -> Any:
    """A result rounded to the precision of activations, also where it is made of parameters alone."""
    return result if policy() is None else _rounded(result, constants=True)


def _rounded(result: Any, constants: bool = False) -> Any:
    active = policy()
    assert active is not None
    if not isinstance(result, Tracer) or not active.rounds(result.value, constants):
        return result
    trace = result.owner
    trace.builder.origin = trace.origin()
    return Tracer(trace, active.rounded(trace.builder, result.value))
