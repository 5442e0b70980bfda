"""What a user declares of a custom op's arrays, as rules of types, and its options as what a program may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import ArrayType, TypeRuleError, as_dtype
from ...ir.types import BFLOAT16, FLOAT32
from ...ir.user_kernel import Options
from .errors import TracingError, located
from .numbers import as_whole
from .promotion import result_dtype
from .tracer import Tracer


def types_rule(what: str, given: Any) -> Callable[..., tuple[ArrayType, ...]]:
    """The types of arrays, from `gl.spec`s or a function that returns them. With `wide` bfloat16 is float32."""

    def rule(*types: ArrayType, options: Options, wide: bool = False) -> tuple[ArrayType, ...]:
        made = _called(what, given, types, options) if callable(given) else given
        found = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        if not found or not all(isinstance(t, ArrayType) for t in found):
            raise TypeRuleError(f"{what}= gives gl.spec(shape, dtype), or a tuple of them, got {made!r}")
        return tuple(_widened(t) if wide else t for t in found)

    return rule


def count_rule(given: Callable[..., Any]) -> Callable[..., int]:
    """A number of operations, from a function of the user's."""

    def rule(*types: ArrayType, options: Options) -> int:
        count = _called("flops", given, types, options)
        whole = as_whole(count)
        if whole is None or whole < 0:
            raise TypeRuleError(f"flops= gives a whole number of 0 or more, got {count!r}")
        return whole

    return rule


def results_of_elements(dtype: Any) -> Callable[..., tuple[ArrayType, ...]]:
    """The type of the result of an elementwise kernel, whose inputs have one shape."""
    fixed = None if dtype is None else _dtype(dtype)

    def rule(*types: ArrayType, options: Options, wide: bool = False) -> tuple[ArrayType, ...]:
        if any(t.shape != types[0].shape for t in types):
            raise TypeRuleError(f"takes arrays of one shape, got {', '.join(map(str, types))}")
        found = ArrayType(types[0].shape, fixed or result_dtype(*(t.dtype for t in types)))
        return (_widened(found) if wide else found,)

    return rule


def _dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, ArrayType) or (callable(dtype) and not isinstance(dtype, type)):
        raise TypeError(
            located('the result of an elementwise kernel is a dtype; write result="float32", or leave it away')
        )
    try:
        return as_dtype(dtype)
    except TypeError as error:
        raise TypeError(located(f"result: {error}")) from None


def _called(what: str, given: Callable[..., Any], types: tuple[ArrayType, ...], options: Options) -> Any:
    try:
        return given(*types, **dict(options))
    except Exception as error:
        listed = ", ".join([*map(str, types), *(f"{name}={value!r}" for name, value in options)])
        raise TypeRuleError(f"{what}= failed for ({listed}): {type(error).__name__}: {error}") from error


def _widened(type: ArrayType) -> ArrayType:
    return ArrayType(type.shape, FLOAT32) if type.dtype == BFLOAT16 else type


def option_value(op: str, name: str, value: Any) -> Any:
    """An option as Python's own number, text, or tuple of them. Raises `TracingError` for a traced one, `TypeError` for
    what cannot be compiled in.
    """
    if isinstance(value, Tracer):
        advice = "give it as an input, by position"
        raise TracingError(
            located(f"{op}: the option {name} must be known while tracing, got a traced array; {advice}")
        )
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple):
        return tuple(option_value(op, name, item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    advice = "write a tuple" if isinstance(value, list) else "give an array as an input, by position"
    raise TypeError(
        located(f"{op}: the option {name} is a number, text or a tuple of them, got {type(value).__name__}; {advice}")
    )
