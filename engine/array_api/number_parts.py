"""Signs, exponents and roots of floating-point numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import BFLOAT16, finfo, is_complex, is_float
from ..tracing.promotion import float_dtype, result_dtype
from ..tracing.tracer import ArrayLike, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, key_of
from .comparison import equal, less, logical_and, logical_not, logical_or, not_equal, where


def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """|x1| with the sign of x2, that of -0.0 too."""
    return where(signbit(x2), e.negative(e.abs(_float_of(x1, x2))), e.abs(_float_of(x1, x2)))


def signbit(x: ArrayLike, /) -> Any:
    """Whether the sign is that of a negative number, as -0.0 has it; a NaN has none here."""
    x = as_arraylike(x)
    if not is_float(dtype_of(x)):
        return less(x, 0)
    # 1 / -0.0 is -inf.
    return less(where(equal(x, 0), e.divide(dtype_of(x).type(1), x), x), 0)


def nextafter(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The number that follows x1 on the way to x2; x2 itself where they are equal.

    Found without looking at bits, as in Rump, Zimmermann, Boldo and Melquiond: "Computing predecessor and successor in
    rounding to nearest" (2009). Raises `TypeError` for bfloat16.
    """
    x1, x2 = _float_of(x1, x2), _float_of(x2, x1)
    dtype = dtype_of(x1)
    if dtype == BFLOAT16:
        raise TypeError(located("np.nextafter: float32 or float64, got bfloat16; write x.astype('float32')"))
    limits = finfo(dtype)
    unit, least = limits.eps / 2, limits.smallest_subnormal
    size = e.abs(x1)
    # Of numbers this small the step would be rounded to a multiple of the least number: it is taken of larger ones.
    scale = where(less(size, least / unit / unit), 1 / unit, dtype.type(1))
    large = e.multiply(size, scale)
    step = e.multiply(large, dtype.type(unit * (1 + 2 * unit)))
    is_least = less(size, least / unit)
    up = where(is_least, e.add(size, least), e.divide(e.add(large, step), scale))
    down = where(is_least, e.subtract(size, least), e.divide(e.subtract(large, step), scale))
    down = where(e.isinf(size), limits.max, down)
    goes_up = equal(less(x1, x2), less(0, x1))
    moved = e.multiply(where(less(x1, 0), -1, dtype.type(1)), where(goes_up, up, down))
    moved = where(equal(x1, 0), where(less(x2, 0), -least, least), moved)
    moved = where(logical_or(e.isnan(x1), e.isnan(x2)), e.add(x1, x2), moved)
    return where(equal(x1, x2), x2, moved)


def _float_of(x: ArrayLike, other: ArrayLike) -> ArrayLike:
    return cast(as_arraylike(x), float_dtype(result_dtype(key_of(x), key_of(other))))


def ldexp(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """x1 times 2 to the power of x2, whole numbers."""
    x1, x2 = as_arraylike(x1), as_arraylike(x2)
    if is_float(dtype_of(x2)):
        raise TypeError(located(f"np.ldexp: exponents are whole numbers, got {described(x2)}"))
    x1 = cast(x1, float_dtype(dtype_of(x1)))
    # In two steps: 2 to the whole power may be beyond what a number holds where the product is not.
    half = e.floor_divide(x2, 2)
    parts = [e.exp2(cast(as_arraylike(n), dtype_of(x1))) for n in (half, e.subtract(x2, half))]
    return e.multiply(e.multiply(x1, parts[0]), parts[1])


def logaddexp2(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """log2(2 ** x1 + 2 ** x2), without overflow inside."""
    two = math.log(2)
    return e.divide(e.logaddexp(e.multiply(x1, two), e.multiply(x2, two)), two)


def cbrt(x: ArrayLike, /) -> Any:
    """The real cube root. Raises `TypeError` for complex numbers."""
    x = as_arraylike(x)
    if is_complex(dtype_of(x)):
        raise TypeError(located(f"np.cbrt: real numbers, got {described(x)}; write x ** (1 / 3)"))
    x = cast(x, float_dtype(dtype_of(x)))
    plain = e.isfinite(x)
    y = where(logical_and(plain, not_equal(x, 0)), x, 1)
    root = e.multiply(e.sign(y), e.pow(e.abs(y), dtype_of(x).type(1 / 3)))
    # A step of Newton's, which mends what the power of a rounded third has lost.
    root = e.subtract(root, e.divide(e.subtract(root, e.divide(y, e.square(root))), 3))
    return where(logical_and(plain, not_equal(x, 0)), root, x)


def isposinf(x: ArrayLike, /) -> Any:
    """Whether an element is +inf."""
    return equal(x, math.inf)


def isneginf(x: ArrayLike, /) -> Any:
    """Whether an element is -inf."""
    return equal(x, -math.inf)


def modf(x: ArrayLike, /) -> tuple[Any, Any]:
    """(fractional part, whole part) of each element, both with its sign."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    whole = e.trunc(x)
    return copysign(where(e.isinf(x), 0, e.subtract(x, whole)), x), whole


def frexp(x: ArrayLike, /) -> tuple[Any, Any]:
    """(m, n) with x = m 2ⁿ, 0.5 <= |m| < 1 and n of int32; 0, infinities and NaN stay as they are, with n = 0."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    has = logical_and(e.isfinite(x), not_equal(x, 0))
    size = where(has, e.abs(x), 1)
    # Numbers that have fewer digits than others, as they are next to 0, are multiplied first.
    number, digits = dtype_of(x).type, finfo(dtype_of(x)).nmant + 1
    few = less(size, float(finfo(dtype_of(x)).smallest_normal))
    lifted = e.multiply(where(has, x, 1), where(few, number(2.0**digits), number(1)))
    exponent = e.floor(e.log2(e.abs(lifted)))
    exponent = cast(exponent, np.dtype("int32"))
    mantissa = ldexp(lifted, e.negative(exponent))
    # The logarithm is rounded: where it was a whole number too large or too small, so is the exponent.
    mantissa, exponent = e.multiply(mantissa, number(0.5)), e.add(exponent, 1)
    low, high = less(e.abs(mantissa), 0.5), logical_not(less(e.abs(mantissa), 1))
    mantissa = e.multiply(mantissa, where(low, number(2), where(high, number(0.5), number(1))))
    exponent = e.subtract(e.add(exponent, where(high, 1, 0)), where(low, 1, 0))
    exponent = e.subtract(exponent, where(few, digits, 0))
    return where(has, mantissa, x), cast(where(has, exponent, 0), np.dtype("int32"))


def spacing(x: ArrayLike, /) -> Any:
    """The distance to the nearest number of larger absolute value, with the sign of `x`; NaN of infinities."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    limits = finfo(dtype_of(x))
    _, exponent = frexp(x)
    least = limits.minexp - limits.nmant  # of the numbers next to 0
    at_least = e.maximum(e.subtract(exponent, limits.nmant + 1), least)
    step = ldexp(dtype_of(x).type(1), where(equal(x, 0), least, at_least))
    return where(e.isfinite(x), copysign(step, x), math.nan)
