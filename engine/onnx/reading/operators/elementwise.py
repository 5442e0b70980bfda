"""Operators element by element: arithmetic, comparisons, logic, bits, casts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .....ir import is_float
from .....ir.types import FLOAT32
from .... import array_api as xp
from ....tracing.tracer import Tracer
from ...dtypes import dtype_of
from ..operator import Call, operator

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": xp.abs,
    "Acos": xp.acos,
    "Acosh": xp.acosh,
    "Asin": xp.asin,
    "Asinh": xp.asinh,
    "Atan": xp.atan,
    "Atanh": xp.atanh,
    "BitwiseNot": xp.bitwise_invert,
    "Ceil": xp.ceil,
    "Cos": xp.cos,
    "Cosh": xp.cosh,
    "Erf": xp.erf,
    "Exp": xp.exp,
    "Floor": xp.floor,
    "Identity": lambda x: x,
    "IsNaN": xp.isnan,
    "Log": xp.log,
    "Neg": xp.negative,
    "Not": xp.logical_not,
    "Reciprocal": lambda x: 1 / x,
    "Round": xp.rint,
    "Sign": xp.sign,
    "Sin": xp.sin,
    "Sinh": xp.sinh,
    "Sqrt": xp.sqrt,
    "Tan": xp.tan,
    "Tanh": xp.tanh,
}

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": xp.add,
    "And": xp.logical_and,
    "BitwiseAnd": xp.bitwise_and,
    "BitwiseOr": xp.bitwise_or,
    "BitwiseXor": xp.bitwise_xor,
    "Equal": xp.equal,
    "Greater": xp.greater,
    "GreaterOrEqual": xp.greater_equal,
    "Less": xp.less,
    "LessOrEqual": xp.less_equal,
    "Mul": xp.multiply,
    "Or": xp.logical_or,
    "Sub": xp.subtract,
    "Xor": xp.logical_xor,
}

_OF_MANY: dict[str, Callable[[Any, Any], Any]] = {"Max": xp.maximum, "Min": xp.minimum, "Sum": xp.add}


def _enter_unary(name: str, function: Callable[[Any], Any]) -> None:
    operator(name)(lambda call, x: function(x))


def _enter_binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    operator(name)(lambda call, x, y: function(x, y))


def _enter_of_many(name: str, function: Callable[[Any, Any], Any]) -> None:
    operator(name)(lambda call, *inputs: functools.reduce(function, inputs))


for _name, _unary in _UNARY.items():
    _enter_unary(_name, _unary)
for _name, _binary in _BINARY.items():
    _enter_binary(_name, _binary)
for _name, _reduced in _OF_MANY.items():
    _enter_of_many(_name, _reduced)


@operator("Mean")
def mean(call: Call, *inputs: Any) -> Any:
    return functools.reduce(xp.add, inputs) / len(inputs)


@operator("Div")
def div(call: Call, x: Any, y: Any) -> Any:
    """Integers are divided towards zero."""
    if is_float(x.dtype):
        return x / y
    quotient = xp.floor_divide(xp.abs(x), xp.abs(y)) if x.dtype.kind == "i" else xp.floor_divide(x, y)
    return quotient * (xp.sign(x) * xp.sign(y)) if x.dtype.kind == "i" else quotient


@operator("Mod")
def mod(call: Call, x: Any, y: Any, *, fmod: int = 0) -> Any:
    """The sign is that of the divisor, with `fmod` that of the dividend."""
    return xp.fmod(x, y) if fmod else xp.remainder(x, y)


@operator("Pow")
def power(call: Call, x: Any, y: Any) -> Any:
    """The result has the dtype of the base."""
    if is_float(x.dtype) and not isinstance(y, Tracer) and y.size == 1 and y.ndim <= x.ndim:
        return xp.pow(x, y.item())  # a square is a product
    if x.dtype == y.dtype:
        return xp.pow(x, y)
    if is_float(y.dtype):
        wide = FLOAT32 if x.dtype.itemsize <= y.dtype.itemsize <= 4 else np.dtype("float64")
        return xp.astype(xp.pow(xp.astype(x, wide), xp.astype(y, wide)), x.dtype)
    return xp.pow(x, xp.astype(y, x.dtype))


@operator("BitShift")
def bit_shift(call: Call, x: Any, y: Any, *, direction: str) -> Any:
    return xp.bitwise_left_shift(x, y) if direction == "LEFT" else xp.bitwise_right_shift(x, y)


@operator("Where")
def where(call: Call, condition: Any, x: Any, y: Any) -> Any:
    return xp.where(condition, x, y)


@operator("Clip")
def clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    """Where `low` is above `high`, all is `high`."""
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


@operator("IsInf")
def is_inf(call: Call, x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    if detect_negative and detect_positive:
        return xp.isinf(x)
    if not (detect_negative or detect_positive):
        return xp.zeros(x.shape, "bool")
    return x == (np.inf if detect_positive else -np.inf)


@operator("Cast")
def cast(call: Call, x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """`saturate` and `round_mode` are of narrow floats, which are not supported."""
    return xp.astype(x, dtype_of(to, f"{call.node.label}: the result"))


@operator("CastLike")
def cast_like(call: Call, x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    return xp.astype(x, like.dtype)
