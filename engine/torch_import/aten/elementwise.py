"""Element by element: arithmetic, comparisons, functions and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...nn import functional as F
from ...tracing.transforms import stop_gradient
from ..promotion import as_floats, common_dtype, converted, promoted
from ..table import aten

_BOOL = np.dtype("bool")


# Arithmetic.


def _scaled(x: Any, alpha: Any) -> Any:
    return x if alpha == 1 else xp.multiply(x, alpha)


@aten("add.Tensor", "add.Scalar")
def add(x: Any, y: Any, alpha: Any = 1) -> Any:
    """x + alpha y."""
    x, y = promoted(x, y)
    return xp.logical_or(x, y) if common_dtype(x, y) == _BOOL else xp.add(x, _scaled(y, alpha))


@aten("sub.Tensor", "sub.Scalar")
def sub(x: Any, y: Any, alpha: Any = 1) -> Any:
    """x - alpha y."""
    x, y = promoted(x, y)
    return xp.subtract(x, _scaled(y, alpha))


@aten("rsub.Scalar", "rsub.Tensor")
def rsub(x: Any, y: Any, alpha: Any = 1) -> Any:
    """y - alpha x."""
    return sub(y, x, alpha)


@aten("mul.Tensor", "mul.Scalar")
def mul(x: Any, y: Any) -> Any:
    """X y."""
    x, y = promoted(x, y)
    return xp.logical_and(x, y) if common_dtype(x, y) == _BOOL else xp.multiply(x, y)


@aten("div.Tensor", "div.Scalar")
def div(x: Any, y: Any) -> Any:
    """The quotient, which is a float."""
    x, y = as_floats(x, y)
    return xp.divide(x, y)


@aten("div.Tensor_mode", "div.Scalar_mode")
def div_mode(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    """The quotient, rounded down, towards zero, or not."""
    if rounding_mode is None:
        return div(x, y)
    if is_float(common_dtype(x, y)):
        return (xp.floor if rounding_mode == "floor" else xp.trunc)(div(x, y))
    x, y = promoted(x, y)
    if rounding_mode == "floor":
        return xp.floor_divide(x, y)
    return xp.multiply(xp.floor_divide(xp.abs(x), xp.abs(y)), xp.multiply(xp.sign(x), xp.sign(y)))


@aten("floor_divide.default", "floor_divide.Scalar")
def floor_divide(x: Any, y: Any) -> Any:
    """The quotient, rounded down."""
    return div_mode(x, y, "floor")


@aten("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor")
def remainder(x: Any, y: Any) -> Any:
    """The remainder, of the sign of y."""
    x, y = promoted(x, y)
    return xp.remainder(x, y)


@aten("fmod.Tensor", "fmod.Scalar")
def fmod(x: Any, y: Any) -> Any:
    """The remainder, of the sign of x."""
    x, y = promoted(x, y)
    return xp.fmod(x, y)


@aten("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(x: Any, y: Any) -> Any:
    """x to the power y."""
    x, y = promoted(x, y)
    return xp.power(x, y)


def _binary(function: Callable[..., Any], *names: str) -> None:
    aten(*names)(lambda x, y: function(*promoted(x, y)))


def _float_binary(function: Callable[..., Any], *names: str) -> None:
    aten(*names)(lambda x, y: function(*as_floats(x, y)))


_binary(xp.maximum, "maximum.default")
_binary(xp.minimum, "minimum.default")
_binary(xp.fmax, "fmax.default")
_binary(xp.fmin, "fmin.default")
_float_binary(xp.arctan2, "atan2.default")
_float_binary(xp.hypot, "hypot.default")
_float_binary(xp.logaddexp, "logaddexp.default")
_float_binary(xp.logaddexp2, "logaddexp2.default")
_float_binary(xp.copysign, "copysign.Tensor", "copysign.Scalar")
_binary(xp.heaviside, "heaviside.default")


@aten("clamp.default", "clamp.Tensor")
def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    """x, at least `min` and at most `max`; the derivative is 0 outside, and 1 at the bounds."""
    bounds = [bound for bound in (min, max) if bound is not None]
    dtype = common_dtype(x, *bounds)
    result = converted(x, dtype)
    if min is not None:
        low = converted(min, dtype)
        result = xp.where(xp.less(result, low), low, result)
    if max is not None:
        high = converted(max, dtype)
        result = xp.where(xp.greater(result, high), high, result)
    return result


@aten("clamp_min.default", "clamp_min.Tensor")
def clamp_min(x: Any, min: Any) -> Any:
    """x, at least `min`."""
    return clamp(x, min)


@aten("clamp_max.default", "clamp_max.Tensor")
def clamp_max(x: Any, max: Any) -> Any:
    """x, at most `max`."""
    return clamp(x, None, max)


@aten("lerp.Scalar", "lerp.Tensor", whole=True)
def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight (end - start)."""
    start, end, weight = promoted(start, end, weight)
    return xp.add(start, xp.multiply(weight, xp.subtract(end, start)))


@aten("addcmul.default", whole=True)
def addcmul(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value y z."""
    x, y, z = promoted(x, y, z)
    return xp.add(x, _scaled(xp.multiply(y, z), value))


@aten("addcdiv.default", whole=True)
def addcdiv(x: Any, y: Any, z: Any, value: Any = 1) -> Any:
    """x + value y / z."""
    x, y, z = promoted(x, y, z)
    return xp.add(x, _scaled(xp.divide(y, z), value))


# Comparisons and logic.


for _function, _name in (
    (xp.equal, "eq"),
    (xp.not_equal, "ne"),
    (xp.less, "lt"),
    (xp.less_equal, "le"),
    (xp.greater, "gt"),
    (xp.greater_equal, "ge"),
):
    _binary(_function, f"{_name}.Tensor", f"{_name}.Scalar")

for _function, _name in (
    (xp.bitwise_and, "bitwise_and"),
    (xp.bitwise_or, "bitwise_or"),
    (xp.bitwise_xor, "bitwise_xor"),
    (xp.left_shift, "bitwise_left_shift"),
    (xp.right_shift, "bitwise_right_shift"),
):
    _binary(_function, f"{_name}.Tensor", f"{_name}.Tensor_Scalar", f"{_name}.Scalar", f"{_name}.Scalar_Tensor")
for _function, _name in ((xp.left_shift, "__lshift__"), (xp.right_shift, "__rshift__")):
    _binary(_function, f"{_name}.Tensor", f"{_name}.Scalar")


def truth(x: Any) -> Any:
    """Whether each element is not 0."""
    return x if x.dtype == _BOOL else xp.not_equal(x, 0)


for _function, _name in (
    (xp.logical_and, "logical_and"),
    (xp.logical_or, "logical_or"),
    (xp.logical_xor, "logical_xor"),
):
    aten(f"{_name}.default")(lambda x, y, function=_function: function(truth(x), truth(y)))


@aten("logical_not.default")
def logical_not(x: Any) -> Any:
    """Whether each element is 0."""
    return xp.logical_not(truth(x))


@aten("bitwise_not.default")
def bitwise_not(x: Any) -> Any:
    """All bits flipped."""
    return xp.logical_not(x) if x.dtype == _BOOL else xp.bitwise_not(x)


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    x, y = promoted(x, y)
    return xp.where(truth(condition), x, y)


@aten("masked_fill.Scalar", "masked_fill.Tensor", whole=True)
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """x, with `value` where the mask holds."""
    return xp.where(mask, converted(value, x.dtype), x)


# Functions of floats.


def _unary(function: Callable[[Any], Any], *names: str, whole: bool = False) -> None:
    aten(*names, whole=whole)(lambda x: function(as_floats(x)[0]))


for _name in (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "reciprocal",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "erf",
):
    _unary(getattr(xp, _name), f"{_name}.default")

_unary(F.sigmoid, "sigmoid.default")
_unary(lambda x: xp.divide(1, xp.sqrt(x)), "rsqrt.default")
_unary(F.silu, "silu.default", whole=True)
_unary(F.mish, "mish.default", whole=True)
_unary(F.selu, "selu.default", whole=True)
_unary(F.hardswish, "hardswish.default", whole=True)
_unary(F.hardsigmoid, "hardsigmoid.default", whole=True)
_unary(F.logsigmoid, "log_sigmoid.default", whole=True)
_unary(F.relu6, "relu6.default", whole=True)


def _same_kind(function: Callable[[Any], Any], *names: str) -> None:
    aten(*names)(lambda x: function(x))


for _function, _name in ((xp.abs, "abs"), (xp.negative, "neg"), (xp.sign, "sign"), (xp.sign, "sgn"), (F.relu, "relu")):
    _same_kind(_function, f"{_name}.default")
for _function, _name in ((xp.floor, "floor"), (xp.ceil, "ceil"), (xp.trunc, "trunc"), (xp.rint, "round")):
    aten(f"{_name}.default")(lambda x, function=_function: function(x) if is_float(x.dtype) else x)
for _function, _name in ((xp.isnan, "isnan"), (xp.isinf, "isinf"), (xp.isfinite, "isfinite")):
    _same_kind(_function, f"{_name}.default")


@aten("round.decimals", whole=True)
def round_decimals(x: Any, decimals: int) -> Any:
    """x, rounded to so many decimals."""
    return xp.round(x, decimals) if is_float(x.dtype) else x


@aten("signbit.default")
def signbit(x: Any) -> Any:
    """Whether each element has the sign of a negative number, as -0.0 has."""
    return xp.signbit(x) if is_float(x.dtype) else xp.less(x, 0)


@aten("ldexp.Tensor", whole=True)
def ldexp(x: Any, exponent: Any) -> Any:
    """x times 2 to the power `exponent`."""
    (x,) = as_floats(x)
    return xp.multiply(x, xp.exp2(converted(exponent, x.dtype)))


@aten("square.default", whole=True)
def square(x: Any) -> Any:
    """x squared."""
    return xp.multiply(x, x)


@aten("gelu.default", whole=True)
def gelu(x: Any, approximate: Any = "none") -> Any:
    """Hendrycks and Gimpel 2016."""
    return F.gelu(x, approximate)


@aten("hardtanh.default")
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x, between two bounds."""
    return F.hardtanh(x, min_val, max_val)


@aten("leaky_relu.default", whole=True)
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x, or `negative_slope` x below 0."""
    return F.leaky_relu(x, negative_slope)


@aten("elu.default", whole=True)
def elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """scale x, or scale alpha (exp(input_scale x) - 1) below 0."""
    below = xp.expm1(xp.multiply(xp.minimum(x, 0), input_scale))
    return xp.where(xp.greater(x, 0), _scaled(x, scale), xp.multiply(below, alpha * scale))


@aten("celu.default", whole=True)
def celu(x: Any, alpha: float = 1.0) -> Any:
    """Barron 2017."""
    return F.celu(x, alpha)


@aten("softplus.default", whole=True)
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, x above the threshold."""
    return F.softplus(x, beta, threshold)


@aten("softshrink.default", whole=True)
def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, nearer to 0 by `lambd`."""
    return F.softshrink(x, lambd)


@aten("hardshrink.default", whole=True)
def hardshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, or 0 within `lambd`."""
    return F.hardshrink(x, lambd)


@aten("threshold.default", whole=True)
def threshold(x: Any, threshold: float, value: float) -> Any:
    """x above the threshold, else a value."""
    return F.threshold(x, threshold, value)


@aten("prelu.default", whole=True)
def prelu(x: Any, weight: Any) -> Any:
    """He et al. 2015."""
    return F.prelu(x, weight)


@aten("rrelu_with_noise_functional.default", whole=True)
def rrelu_with_noise(
    x: Any, _: Any, lower: float = 0.125, upper: float = 1 / 3, training: bool = False, **__: Any
) -> Any:
    """x, or less of it below 0, how much is drawn in training; Xu et al. 2015."""
    return F.rrelu(x, lower, upper, training), None


@aten("glu.default", whole=True)
def glu(x: Any, dim: int = -1) -> Any:
    """Dauphin et al. 2017."""
    return F.glu(x, dim)


# Dtypes and copies.


@aten("_to_copy.default", "to.dtype", "to.dtype_layout")
def to_copy(x: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
    """x as another dtype."""
    return x if dtype is None else converted(x, dtype)


@aten("clone.default", "alias.default", "lift_fresh_copy.default", "contiguous.default", "lift_fresh.default")
def clone(x: Any) -> Any:
    """x."""
    return x


@aten("copy.default", whole=True)
def copy(x: Any, source: Any, non_blocking: bool = False) -> Any:
    """`source` in the shape and the dtype of x."""
    return xp.broadcast_to(converted(source, x.dtype), x.shape)


@aten("detach.default", whole=True)
def detach(x: Any) -> Any:
    """x, of which nothing is derived."""
    return stop_gradient(x) if is_float(x.dtype) else x


@aten("nan_to_num.default", whole=True)
def nan_to_num(x: Any, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers for what is none."""
    if not is_float(x.dtype):
        return x
    largest = float(np.finfo(x.dtype).max)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    result = xp.where(xp.isnan(x), 0.0 if nan is None else nan, x)
    result = xp.where(xp.equal(result, math.inf), high, result)
    return xp.where(xp.equal(result, -math.inf), low, result)
