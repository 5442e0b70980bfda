"""Comparison, logic and selection, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Op
from ...ir.ops import elementwise as ew
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, TracingError, as_operand, emit, located, trace_of
from .broadcasting import (
    apply,
    as_arraylike,
    cast,
    common_shape,
    dtype_of,
    fitted,
    key_of,
)

Binary = Callable[[ArrayLike, ArrayLike], Any]


def _comparison(name: str, op: Op, ufunc: np.ufunc) -> Binary:
    def function(x1: ArrayLike, x2: ArrayLike, /) -> Any:
        return apply(op, ufunc, *_comparable(as_operand(x1), as_operand(x2)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{op.doc}, as bool; the arrays are promoted and broadcast."
    return function


def _comparable(x1: ArrayLike, x2: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    # A Python integer that the other dtype cannot hold is compared by value, as in NumPy.
    for number, other, order in ((x1, x2, 1), (x2, x1, -1)):
        if type(number) is int and not isinstance(other, (int, float)) and dtype_of(other).kind in "iu":
            limits = np.iinfo(dtype_of(other))
            if not limits.min <= number <= limits.max:
                # Beyond int64 it is above all, or below all, as an infinity is.
                held = -(2**63) <= number < 2**63
                beyond = np.asarray(number if held else math.copysign(math.inf, number))
                pair = (beyond, cast(other, beyond.dtype))
                return pair[::order]  # pyright: ignore[reportReturnType]
    return x1, x2


equal = _comparison("equal", ew.eq, np.equal)
not_equal = _comparison("not_equal", ew.ne, np.not_equal)
less = _comparison("less", ew.lt, np.less)
less_equal = _comparison("less_equal", ew.le, np.less_equal)
greater = _comparison("greater", ew.gt, np.greater)
greater_equal = _comparison("greater_equal", ew.ge, np.greater_equal)


def truth(x: ArrayLike) -> ArrayLike:
    """`x != 0` as bool."""
    return cast(as_arraylike(x), np.dtype(bool))


def logical_and(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """Whether both are nonzero."""
    return apply(ew.and_, np.logical_and, truth(x1), truth(x2))


def logical_or(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """Whether either is nonzero."""
    return apply(ew.or_, np.logical_or, truth(x1), truth(x2))


def logical_xor(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """Whether exactly one is nonzero."""
    return apply(ew.xor, np.logical_xor, truth(x1), truth(x2))


def logical_not(x: ArrayLike, /) -> Any:
    """Whether an element is zero."""
    return emit(ew.invert, truth(x))


def where(condition: ArrayLike, x1: ArrayLike | None = None, x2: ArrayLike | None = None, /) -> Any:
    """`x1` where the condition holds, `x2` elsewhere. Raises `TracingError` for the form with one argument."""
    if x1 is None or x2 is None:
        raise TracingError(
            located("np.where(condition) alone has a shape that depends on values; write np.where(condition, a, b)")
        )
    condition, x1, x2 = truth(condition), as_operand(x1), as_operand(x2)
    dtype = result_dtype(key_of(x1), key_of(x2))
    operands = (condition, x1, x2)
    shape = common_shape("np.where", operands)
    trace = trace_of(operands)
    return emit(
        ew.select,
        fitted(condition, np.dtype(bool), shape, trace),
        fitted(x1, dtype, shape, trace),
        fitted(x2, dtype, shape, trace),
    )
