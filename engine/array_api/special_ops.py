"""Ops on floats as functions of SciPy's: operands are promoted as by its ufuncs, and broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import DType, Op, is_complex, is_float
from ..tracing.keywords import tells_keywords
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, as_operand, emit, located, trace_of
from .broadcasting import common_shape, described, dtype_of, fitted, key_of


def float_dtype_of(operands: Sequence[ArrayLike]) -> DType:
    """The dtype that SciPy computes in: that of floats alone, float64 where an integer is among the operands. Python's
    numbers are weak, as in NumPy.
    """
    keys = [key for key in map(key_of, operands) if isinstance(key, np.dtype)]
    if not keys or not all(map(is_float, keys)):
        return np.dtype("float64")
    return result_dtype(*keys)


def as_floats(name: str, *arguments: ArrayLike) -> list[Any]:
    """The arguments of the function `name`, promoted, and in one shape. Raises `TypeError` for complex numbers."""
    operands = [as_operand(x) for x in arguments]
    for x in operands:
        if is_complex(dtype_of(x)):
            raise TypeError(located(f"gl.special.{name} takes real numbers, got {described(x)}; write it of x.real"))
    dtype, shape = float_dtype_of(operands), common_shape(f"gl.special.{name}", operands)
    trace = trace_of(operands)
    return [fitted(x, dtype, shape, trace) for x in operands]


def unary(name: str, op: Op) -> Callable[[ArrayLike], Any]:
    """A function of one array."""

    def function(x: ArrayLike, /) -> Any:
        return emit(op, *as_floats(name, x))

    return _named(function, name, f"{op.doc[:1].upper()}{op.doc[1:]}.")


def binary(name: str, op: Op, doc: str) -> Callable[[ArrayLike, ArrayLike], Any]:
    """A function of two arrays."""

    def function(a: ArrayLike, b: ArrayLike, /) -> Any:
        return emit(op, *as_floats(name, a, b))

    return _named(function, name, doc)


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return tells_keywords(function)
