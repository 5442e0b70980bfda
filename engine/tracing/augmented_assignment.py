"""`x += y` on traced arrays: the array and its views have new values, as in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array_methods import ArrayMethods, array_namespace
from .errors import ShapeError, TracingError, located
from .mutable_arrays import write

_REBIND = "write x = x + y instead of x += y"


class AugmentedAssignment(ArrayMethods):
    """The augmented assignments of a traced array."""

    __slots__ = ()

    def __iadd__(self, other: Any) -> Any:
        return _written(self, self + other, "+=")

    def __isub__(self, other: Any) -> Any:
        return _written(self, self - other, "-=")

    def __imul__(self, other: Any) -> Any:
        return _written(self, self * other, "*=")

    def __itruediv__(self, other: Any) -> Any:
        return _written(self, self / other, "/=")

    def __ifloordiv__(self, other: Any) -> Any:
        return _written(self, self // other, "//=")

    def __imod__(self, other: Any) -> Any:
        return _written(self, self % other, "%=")

    def __ipow__(self, other: Any) -> Any:
        return _written(self, self**other, "**=")

    def __imatmul__(self, other: Any) -> Any:
        return _written(self, self @ other, "@=")

    def __iand__(self, other: Any) -> Any:
        return _written(self, self & other, "&=")

    def __ior__(self, other: Any) -> Any:
        return _written(self, self | other, "|=")

    def __ixor__(self, other: Any) -> Any:
        return _written(self, self ^ other, "^=")

    def __ilshift__(self, other: Any) -> Any:
        return _written(self, self << other, "<<=")

    def __irshift__(self, other: Any) -> Any:
        return _written(self, self >> other, ">>=")


def _written(x: Any, result: Any, sign: str) -> Any:
    """`x` after `x += other`, `result` being `x + other`: `x` itself with a new value, as are its views, or for a
    scalar the result, as in NumPy. Raises `TracingError` or `ShapeError` where NumPy refuses, or what would be written
    to is not the program's.
    """
    from .tracer import current_trace, fresh

    memory = x.memory
    if not x.shape and memory is None:
        return result
    trace = current_trace()
    if trace is None or trace is not x.owner:
        reason = "it is of the program around this loop"
        raise TracingError(located(f"{sign} would write to an array that is not to be written to: {reason}; {_REBIND}"))
    if memory is not None and memory.read_only:
        if not x.shape and not x.path:
            # NumPy changes an array of the caller, and no scalar: which of them it is is not known here.
            memory.stale = located(f"after {sign} this argument is another one if it is an array; {_REBIND}")
            return fresh(result)
        message = f"{sign} would write to an array that is not to be written to: {memory.read_only}"
        raise TracingError(located(f"{message}; {_REBIND}"))
    if result.shape != x.shape:
        raise ShapeError(located(f"{sign}: the result has shape {result.shape}, the array that it is for {x.shape}"))
    if not np.can_cast(result.dtype, x.dtype, "same_kind"):
        raise TracingError(
            located(
                f"{sign} gives {result.dtype}, which an array of {x.dtype} does not hold; write x = x {sign[:-1]} y"
            )
        )
    if result.dtype != x.dtype:
        result = array_namespace().astype(result, x.dtype)
    write(trace, x, result.value)
    return x
