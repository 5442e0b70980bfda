"""Torch's `inplace=True`: what was given holds the result from here on, and its views do too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tracing.errors import TracingError, located
from ..tracing.mutable_arrays import write
from ..tracing.tracer import Tracer, current_trace, fresh


def written_in_place(what: str, x: Any, result: Any) -> Any:
    """`x`, which holds `result` from here on. An argument of the program stays what it is: where it is read again, that
    is an error. Raises `TracingError` for what holds no arrays, or belongs to the program around a loop.
    """
    if result is x:
        return x
    if isinstance(x, np.ndarray) and isinstance(result, np.ndarray):
        x[...] = result
        return x
    if not isinstance(x, Tracer) or x.owner is not current_trace():
        why = "an array of the program around this loop" if isinstance(x, Tracer) else type(x).__name__
        raise TracingError(located(f"{what} cannot write into {why}; leave inplace away, and use what comes back"))
    if x.memory is not None and x.memory.read_only:
        again = f"{what} has changed this array in place, but {x.memory.read_only}"
        x.memory.stale = located(f"{again}; read what {what} gave, or leave inplace away")
        return fresh(result)
    write(x.owner, x, result.value)
    return x


def in_place_where_said(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` of a layer, whose input holds the result where the layer's `inplace` says so."""

    @functools.wraps(forward)
    def call(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        result = forward(self, input, *args, **kwargs)
        in_place = self.__dict__.get("inplace", False)
        return written_in_place(type(self).__name__, input, result) if in_place else result

    return call
