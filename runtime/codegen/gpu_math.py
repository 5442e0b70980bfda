"""NumPy's functions that CPU kernels take from the C library, for kernels that have none: on a GPU, and emulated.

They are written in the part of Python that kernels are written in, so that they have the same bits wherever they run.
Those of float32 are computed in float64 and rounded once. `arctan`, `arcsin` and `arccos` are those of FreeBSD's msun
(Sun Microsystems, 1993), the hyperbolic ones follow its formulas: all within a few ulp in float64. `fmod` is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir

from .arithmetic import Value
from .natives import Machine, Native, Signature, llvm_type
from .python_to_llvm import Lowering
from .vector_math.functions import VECTOR_MATH

exp, expm1, log, log1p = (VECTOR_MATH[name, "float64"] for name in ("exp", "expm1", "log", "log1p"))

_HALF_PI, _HALF_PI_REST = 1.5707963267948966, 6.123233995736766e-17
_PI = 3.141592653589793
_LN2 = 0.6931471805599453
_LARGE = 268435456.0  # from here on x * x + 1 is x * x


def sinh(x):
    """The hyperbolic sine."""
    a = abs(x)
    if a > 22.0:
        half = exp(0.5 * a)
        return np.copysign(0.5 * half * half, x)
    e = expm1(a)
    return np.copysign(0.5 * (e + e / (e + 1.0)), x)


def cosh(x):
    """The hyperbolic cosine."""
    a = abs(x)
    if a > 22.0:
        half = exp(0.5 * a)
        return 0.5 * half * half
    e = exp(a)
    return 0.5 * e + 0.5 / e


def arcsinh(x):
    """The inverse of `sinh`."""
    a = abs(x)
    if a > _LARGE:
        return np.copysign(log(a) + _LN2, x)
    return np.copysign(log1p(a + a * a / (1.0 + np.sqrt(a * a + 1.0))), x)


def arccosh(x):
    """The inverse of `cosh`; NaN below 1."""
    if x > _LARGE:
        return log(x) + _LN2
    t = x - 1.0
    return log1p(t + np.sqrt(2.0 * t + t * t))


def arctanh(x):
    """The inverse of `tanh`; NaN beyond 1."""
    a = abs(x)
    t = a + a
    return np.copysign(0.5 * log1p(t + t * a / (1.0 - a) if a < 0.5 else t / (1.0 - a)), x)


def arctan(x):
    """The angle whose tangent is x."""
    a = abs(x)
    if a > 1e19:
        return np.copysign(_HALF_PI + _HALF_PI_REST, x)
    high, low, t = 0.0, 0.0, a
    if a >= 2.4375:
        high, low, t = _HALF_PI, _HALF_PI_REST, -1.0 / a
    elif a >= 1.1875:
        high, low, t = 0.982793723247329, 1.3903311031230998e-17, (a - 1.5) / (1.0 + 1.5 * a)
    elif a >= 0.6875:
        high, low, t = 0.7853981633974483, 3.061616997868383e-17, (a - 1.0) / (a + 1.0)
    elif a >= 0.4375:
        high, low, t = 0.4636476090008061, 2.2698777452961687e-17, (2.0 * a - 1.0) / (2.0 + a)
    z = t * t
    w = z * z
    even = w * (-0.19999999999876483 + w * (-0.11111110405462356 + w * (-0.0769187620504483 + w * (
        -0.058335701337905735 + w * -0.036531572744216916))))  # fmt: skip
    odd = z * (0.3333333333333293 + w * (0.14285714272503466 + w * (0.09090887133436507 + w * (
        0.06661073137387531 + w * (0.049768779946159324 + w * 0.016285820115365782)))))  # fmt: skip
    return np.copysign(high - (t * (even + odd) - low - t), x)


def arcsine_rest(z):
    """(arcsin(x) - x) / x for z = x * x, 0 <= z <= 1/4."""
    above = z * (0.16666666666666666 + z * (-0.3255658186224009 + z * (0.20121253213486293 + z * (
        -0.04005553450067941 + z * (0.0007915349942898145 + z * 3.479331075960212e-05)))))  # fmt: skip
    below = 1.0 + z * (
        -2.403394911734414 + z * (2.0209457602335057 + z * (-0.6882839716054533 + z * 0.07703815055590194))
    )
    return above / below


def arcsin(x):
    """The angle whose sine is x; NaN beyond 1."""
    a = abs(x)
    if a < 0.5:
        return x + x * arcsine_rest(x * x)
    z = (1.0 - a) * 0.5
    s = np.sqrt(z)
    return np.copysign(_HALF_PI - (2.0 * (s + s * arcsine_rest(z)) - _HALF_PI_REST), x)


def arccos(x):
    """The angle whose cosine is x; NaN beyond 1."""
    if abs(x) < 0.5:
        return _HALF_PI - (x - (_HALF_PI_REST - x * arcsine_rest(x * x)))
    z = (1.0 - abs(x)) * 0.5
    s = np.sqrt(z)
    angle = 2.0 * (s + s * arcsine_rest(z))
    return _PI - (angle - 2.0 * _HALF_PI_REST) if x < 0.0 else angle


def arctan2(y, x):
    """The angle of the point (x, y), from -pi to pi."""
    if x != x or y != y:
        return x + y
    a, b = abs(y), abs(x)
    angle = 0.0
    if a == b and a > 0.0:  # both may be infinite
        angle = 0.5 * _HALF_PI
    elif a > 0.0:
        angle = _HALF_PI if b == 0.0 else arctan(a / b)
    if np.copysign(1.0, x) < 0.0:
        angle = _PI - (angle - 2.0 * _HALF_PI_REST)
    return np.copysign(angle, y)


def fmod(x, y):
    """The exact rest of x / y rounded towards 0, with the sign of x."""
    if x != x or y != y or abs(x) == np.inf or y == 0.0:
        return np.nan * x
    if abs(y) == np.inf:
        return x
    rest, step = abs(x), abs(y)
    while step <= rest * 0.5:
        step = step + step
    while step >= abs(y):
        if rest >= step:
            rest = rest - step
        step = step * 0.5
    return np.copysign(rest, x)


def _typed(arity: int) -> Callable[[tuple[str, ...]], Signature | None]:
    """float32 of operands that all are float32, else float64 of any reals."""

    def typed(arguments: tuple[str, ...]) -> Signature | None:
        if len(arguments) != arity or not set(arguments) <= {"f32", "f64"}:
            return None
        kind = "f32" if set(arguments) == {"f32"} else "f64"
        return (kind, (kind,) * arity)

    return typed


def _emit_sign(builder: Any, x: Any, sign: Any) -> Any:
    typed = ir.FunctionType(x.type, (x.type, x.type))
    return builder.call(builder.module.declare_intrinsic("llvm.copysign", [x.type], typed), (x, sign))


_SIGN = Machine("a machine with signs", {np.copysign: Native(_emit_sign, _typed(2))})


def _declare(function: Callable[..., float], arity: int) -> Native:
    """The native function whose code is that of a Python function of float64."""

    def emit(builder: Any, *values: Any) -> Any:
        kind = "f32" if values[0].type == llvm_type("f32") else "f64"
        lowering = Lowering(builder, _SIGN)
        result = lowering.inline(function, [lowering.convert(Value(kind, value), "f64") for value in values])
        return lowering.convert(result, kind).llvm

    return Native(emit, _typed(arity))


UNARY = (sinh, cosh, arcsin, arccos, arctan, arcsinh, arccosh, arctanh)
BINARY = (arctan2, fmod)

GPU_MATH: Mapping[Any, Native] = {
    **_SIGN.natives,
    **{getattr(np, function.__name__): _declare(function, 1) for function in UNARY},
    **{getattr(np, function.__name__): _declare(function, 2) for function in BINARY},
}
"""What NumPy's functions are on a machine without a C library."""
