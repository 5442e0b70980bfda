"""Element-wise functions: arithmetic, exponentials, trigonometry, rounding, comparison, logic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import DType, Op, finfo, is_complex, is_float, is_inexact
from ...ir.ops import elementwise as ew
from ...ir.ops import reduction
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, Tracer, TracingError, as_operand, emit, fresh, located, trace_of
from .broadcasting import (
    apply,
    as_arraylike,
    cast,
    common_shape,
    dtype_argument,
    dtype_of,
    exact_scalar,
    fitted,
    key_of,
    loop_dtypes,
    read_only,
    shape_of,
    stretched,
)
from .comparison import equal, greater, less, less_equal, logical_and, logical_or, not_equal, where
from .complex_functions import OF_COMPLEX, whole_power
from .complex_functions import power as power_of
from .complex_numbers import is_complex_array, joined, parts
from .namespace_info import check_device

Unary = Callable[[ArrayLike], Any]
Binary = Callable[[ArrayLike, ArrayLike], Any]


def _unary(name: str, op: Op, ufunc: np.ufunc, real_only: bool = False) -> Unary:
    of_complex = None if real_only else OF_COMPLEX.get(ufunc)

    def function(x: ArrayLike, /) -> Any:
        if of_complex is not None and is_complex_array(x := as_operand(x)):
            return of_complex(as_arraylike(x))
        return apply(op, ufunc, x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{op.doc[:1].upper()}{op.doc[1:]}."
    return function


def _binary(name: str, op: Op, ufunc: np.ufunc, bool_op: Op | None = None) -> Binary:
    def function(x1: ArrayLike, x2: ArrayLike, /) -> Any:
        return apply(op, ufunc, x1, x2, bool_op=bool_op)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{op.doc[:1].upper()}{op.doc[1:]}; the arrays are promoted and broadcast."
    return function


# Arithmetic.

add = _binary("add", ew.add, np.add, ew.or_)
subtract = _binary("subtract", ew.sub, np.subtract)
multiply = _binary("multiply", ew.mul, np.multiply, ew.and_)
divide = true_divide = _binary("divide", ew.div, np.true_divide)
floor_divide = _binary("floor_divide", ew.floordiv, np.floor_divide)
remainder = mod = _binary("remainder", ew.mod, np.remainder)
maximum = _binary("maximum", ew.maximum, np.maximum, ew.or_)
minimum = _binary("minimum", ew.minimum, np.minimum, ew.and_)
negative = _unary("negative", ew.neg, np.negative)


def positive(x: ArrayLike, /) -> Any:
    """`+x`: the array itself. Raises `TracingError` for bool."""
    x = as_operand(x)
    loop_dtypes(np.positive, [x])
    return as_arraylike(x)


_abs = _unary("abs", ew.abs_, np.absolute)


def abs(x: ArrayLike, /) -> Any:
    """The absolute value; the derivative at 0 is 0."""
    x = as_arraylike(x)
    return x if dtype_of(x).kind in "bu" else _abs(x)


absolute = abs
fabs = _unary("fabs", ew.abs_, np.fabs)


sign = _unary("sign", ew.sign, np.sign)


def square(x: ArrayLike, /) -> Any:
    """`x * x`."""
    x = as_arraylike(x)
    return multiply(x, x)


def reciprocal(x: ArrayLike, /) -> Any:
    """`1 / x`. Raises `TracingError` for integers, of which NumPy truncates the result."""
    x = as_arraylike(x)
    if not is_inexact(dtype_of(x)):
        raise TracingError(located(f"np.reciprocal takes floats, got {dtype_of(x)}; write 1 / x"))
    return divide(1, x)


def divmod(x1: ArrayLike, x2: ArrayLike, /) -> tuple[Any, Any]:
    """`(x1 // x2, x1 % x2)`."""
    return floor_divide(x1, x2), remainder(x1, x2)


def fmod(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The remainder with the sign of `x1`, as C's."""
    x1, x2 = as_operand(x1), as_operand(x2)
    dtype = loop_dtypes(np.fmod, [x1, x2])[0]
    x1, x2 = (cast(x, dtype) if isinstance(x, (Tracer, np.ndarray)) else exact_scalar(x, dtype) for x in (x1, x2))
    if not is_float(dtype):
        # Of the least integer there is no absolute value.
        floored = remainder(x1, x2)
        return where(logical_and(floored, not_equal(less(x1, 0), less(x2, 0))), subtract(floored, x2), floored)
    below = less(x1, 0)
    # Not abs and sign, whose derivative at 0 is 0: the remainder's is 1 there too.
    rest = remainder(where(below, negative(x1), x1), abs(x2))
    # A zero keeps its sign: -0 - 0 is -0.
    signed_zero = subtract(x1, emit(ew.stop_gradient, rest))
    return where(equal(x1, 0), signed_zero, where(below, negative(rest), rest))


def fmax(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The larger; where one is NaN, the other."""
    x1, x2 = as_operand(x1), as_operand(x2)
    return where(isnan(x1), x2, where(isnan(x2), x1, maximum(x1, x2)))


def fmin(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The smaller; where one is NaN, the other."""
    x1, x2 = as_operand(x1), as_operand(x2)
    return where(isnan(x1), x2, where(isnan(x2), x1, minimum(x1, x2)))


def pow(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """`x1 ** x2`.

    An exponent known while tracing of 0, 1, 2, 3, 4, 0.5, -0.5 or -1 is written with products, roots and divisions; a
    power between 0 and 1 is a root, whose derivative at 0 is 0. An
    integer to a negative integer power raises `ValueError`, as in NumPy: while tracing where the exponent is known,
    otherwise the program stops before it changes anything.
    """
    x1, x2 = as_operand(x1), as_operand(x2)
    dtype = loop_dtypes(np.power, [x1, x2])[0]
    exponent = None if isinstance(x2, Tracer) or (isinstance(x2, np.ndarray) and x2.ndim) else np.asarray(x2).item()
    if dtype.kind in "iu" and not isinstance(x2, Tracer) and np.any(np.asarray(x2) < 0):
        raise ValueError(located("integers to negative integer powers are not allowed; write x.astype('float64') ** y"))
    if is_complex(dtype):
        return _complex_power(x1, x2, dtype, exponent)
    if isinstance(x1, Tracer) and exponent is not None:
        special = _special_power(cast(x1, dtype), exponent)
        if special is not None:
            return special
    if dtype.kind == "i" and isinstance(x2, Tracer) and x2.dtype.kind == "i":
        x2 = emit(ew.check_exponent, x2)
    return apply(ew.pow, np.power, x1, x2)


power = pow


_MOST_PRODUCTS = 99
"""The power of a complex number that is made by squares and products, at most, as in NumPy."""


def _complex_power(x1: ArrayLike, x2: ArrayLike, dtype: DType, exponent: Any) -> Any:
    if exponent is not None and exponent == 0:
        return full_of(as_arraylike(x1), 1, dtype)
    if exponent is not None and exponent.imag == 0 and exponent.real in range(-_MOST_PRODUCTS, _MOST_PRODUCTS + 1):
        return whole_power(cast(as_arraylike(x1), dtype), int(exponent.real))
    shape, trace = common_shape("np.power", [x1, x2]), trace_of([x1, x2])
    return power_of(fitted(x1, dtype, shape, trace), fitted(x2, dtype, shape, trace))


def _special_power(x: ArrayLike, exponent: float) -> ArrayLike | None:
    if exponent == 0:
        return full_of(x, 1, dtype_of(x))
    if exponent == 1:
        return x
    if exponent == 2:
        return multiply(x, x)
    if exponent == 3:
        return multiply(multiply(x, x), x)
    if exponent == 4:
        return square(multiply(x, x))
    if not is_float(dtype_of(x)):
        return None
    if exponent == 0.5:
        return sqrt(x)
    if exponent == -0.5:
        # As powers: infinite at -0 too, and 0 at -inf.
        return divide(1, sqrt(add(where(equal(x, -math.inf), math.inf, x), 0.0)))
    if 0 < exponent < 1:
        # As a root: its derivative at 0 is 0.
        zero = equal(x, 0)
        return where(zero, 0, apply(ew.pow, np.power, where(zero, 1, x), exponent))
    return divide(1, x) if exponent == -1 else None


def float_power(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """`x1 ** x2` in float64."""
    return pow(cast(as_arraylike(x1), np.dtype("float64")), x2)


def hypot(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """`sqrt(x1 ** 2 + x2 ** 2)` without overflow on the way; the derivative at (0, 0) is 0."""
    dtype = loop_dtypes(np.hypot, [as_operand(x1), as_operand(x2)])[0]
    a, b = cast(as_arraylike(x1), dtype), cast(as_arraylike(x2), dtype)
    # A side that is infinite says all, whatever the other one is, and has all of the derivative.
    a_ends, b_ends = isinf(a), isinf(b)
    endless = logical_or(a_ends, b_ends)
    both = multiply(add(abs(a), abs(b)), math.sqrt(0.5))
    infinite = where(a_ends, where(b_ends, both, abs(a)), abs(b))
    a, b = where(endless, 0, a), where(endless, 0, b)
    largest = maximum(abs(a), abs(b))
    usable = greater(largest, 0)
    # The root does not depend on the scale, and so neither do its derivatives.
    scale = emit(ew.stop_gradient, where(usable, largest, 1.0))
    length = multiply(scale, sqrt(add(square(divide(a, scale)), square(divide(b, scale)))))
    return where(endless, infinite, length)


def logaddexp(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """`log(exp(x1) + exp(x2))` without overflow, nor in its derivatives."""
    dtype = loop_dtypes(np.logaddexp, [as_operand(x1), as_operand(x2)])[0]
    a, b = cast(as_arraylike(x1), dtype), cast(as_arraylike(x2), dtype)
    difference, first = subtract(a, b), greater(a, b)
    # Equal infinities have no difference; each has half the derivative.
    same = logical_and(equal(a, b), isnan(difference))
    smaller = where(same, 0.0, where(first, negative(difference), difference))
    # One condition chooses the sides of the larger and of the difference: each side is smooth as a whole, at ties too.
    return where(same, multiply(0.5, add(a, b)), add(where(first, a, b), log1p(exp(smaller))))


def deg2rad(x: ArrayLike, /) -> Any:
    """Degrees as radians; integers give floats."""
    return multiply(cast(as_arraylike(x), loop_dtypes(np.deg2rad, [as_operand(x)])[0]), math.pi / 180)


def rad2deg(x: ArrayLike, /) -> Any:
    """Radians as degrees; integers give floats."""
    return multiply(cast(as_arraylike(x), loop_dtypes(np.rad2deg, [as_operand(x)])[0]), 180 / math.pi)


radians, degrees = deg2rad, rad2deg

# Exponentials, roots, logarithms.

# Its derivative at 0 is 0, as those of lengths and deviations are, where that of the root alone would be infinite.
sqrt = _unary("sqrt", ew.sqrt, np.sqrt)


def power_flat_at_zero(x: ArrayLike, exponent: float) -> Any:
    """`x ** exponent` for a number other than 0, with a derivative of 0 at 0 where that of the power is infinite."""
    if 0 < exponent <= 1 or exponent >= 2:
        return pow(x, exponent)
    zero = equal(x, 0)
    return where(zero, 0 if exponent > 0 else math.inf, pow(where(zero, 1, x), exponent))


def root_of_powers(total: ArrayLike, exponent: float) -> Any:
    """`total ** (1 / exponent)`: the length of a vector from the sum of its elements' powers.

    The derivative at length 0 is 0, whether that is a sum of 0 or, of negative powers, an infinite one.
    """
    if exponent == 1:
        return total
    if exponent == 2:
        return sqrt(total)
    zero = equal(total, 0 if exponent > 0 else math.inf)
    return where(zero, 0, pow(where(zero, 1, total), 1 / exponent))


exp = _unary("exp", ew.exp, np.exp)
expm1 = _unary("expm1", ew.expm1, np.expm1)
log = _unary("log", ew.log, np.log)
log2 = _unary("log2", ew.log2, np.log2)
log10 = _unary("log10", ew.log10, np.log10)
log1p = _unary("log1p", ew.log1p, np.log1p)
tanh = _unary("tanh", ew.tanh, np.tanh)
# SciPy's, whose dtypes are those of tanh.
erf = _unary("erf", ew.erf, np.tanh, real_only=True)
expit = _unary("expit", ew.sigmoid, np.tanh, real_only=True)


def exp2(x: ArrayLike, /) -> Any:
    """`2 ** x`."""
    x = as_arraylike(x)
    if is_complex_array(x):
        return OF_COMPLEX[np.exp2](x)
    return pow(2.0, cast(x, loop_dtypes(np.exp2, [x])[0]))


# Trigonometry.

sin = _unary("sin", ew.sin, np.sin)
cos = _unary("cos", ew.cos, np.cos)
tan = _unary("tan", ew.tan, np.tan)
asin = arcsin = _unary("asin", ew.asin, np.arcsin)
acos = arccos = _unary("acos", ew.acos, np.arccos)
atan = arctan = _unary("atan", ew.atan, np.arctan)
sinh = _unary("sinh", ew.sinh, np.sinh)
cosh = _unary("cosh", ew.cosh, np.cosh)
asinh = arcsinh = _unary("asinh", ew.asinh, np.arcsinh)
acosh = arccosh = _unary("acosh", ew.acosh, np.arccosh)
atanh = arctanh = _unary("atanh", ew.atanh, np.arctanh)
atan2 = arctan2 = _binary("atan2", ew.atan2, np.arctan2)

# Rounding. Integers are whole already and stay what they are.


def _rounding(name: str, op: Op, ufunc: np.ufunc) -> Unary:
    def function(x: ArrayLike, /) -> Any:
        x = as_arraylike(x)
        return apply(op, ufunc, x) if is_float(loop_dtypes(ufunc, [x])[0]) else x

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{op.doc[:1].upper()}{op.doc[1:]}; integers stay as they are."
    return function


floor = _rounding("floor", ew.floor, np.floor)
ceil = _rounding("ceil", ew.ceil, np.ceil)
trunc = fix = _rounding("trunc", ew.trunc, np.trunc)
rint = _unary("rint", ew.rint, np.rint)


def round(x: ArrayLike, /, decimals: int = 0) -> Any:
    """`x` rounded to `decimals`, halves to even; integers stay for `decimals >= 0`, and bool gives float32."""
    x = as_arraylike(x)
    if dtype_of(x).kind == "b":
        x = rint(x)
    if is_complex(dtype_of(x)):
        re, im = parts(x)
        return joined(round(re, decimals), round(im, decimals))
    if not is_float(dtype_of(x)):
        if decimals >= 0:
            return x
        raise TracingError(
            located("np.round of integers to tens is not traced; write x // 10 * 10 or convert to floats")
        )
    if decimals == 0:
        return rint(x)
    if decimals > 0:
        return divide(rint(multiply(x, 10.0**decimals)), 10.0**decimals)
    return multiply(rint(divide(x, 10.0**-decimals)), 10.0**-decimals)


around = round

# Comparison.


def _classified(x: ArrayLike, of_integers: bool, of_floats: Callable[[ArrayLike], Any]) -> Any:
    x = as_arraylike(x)
    if is_complex(dtype_of(x)):
        return (logical_and if of_integers else logical_or)(*map(of_floats, parts(x)))
    if is_float(dtype_of(x)):
        return of_floats(x)
    return full_of(x, of_integers, np.dtype(bool))


def full_of(x: ArrayLike, value: float, dtype: DType) -> Any:
    """An array of the shape of `x` filled with `value`: traced where `x` is."""
    trace = trace_of([x])
    return trace.full(value, shape_of(x), dtype) if trace else np.full(shape_of(x), value, dtype)


def isnan(x: ArrayLike, /) -> Any:
    """Whether an element is NaN."""
    return _classified(x, False, lambda x: not_equal(x, x))


def isinf(x: ArrayLike, /) -> Any:
    """Whether an element is infinite."""
    return _classified(x, False, lambda x: equal(abs(x), math.inf))


def isfinite(x: ArrayLike, /) -> Any:
    """Whether an element is neither infinite nor NaN."""
    return _classified(x, True, lambda x: less(abs(x), math.inf))


def isclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether `|a - b| <= atol + rtol * |b|`; infinities are close where equal. Integers are compared as float64."""
    a, b = as_arraylike(a), as_arraylike(b)
    b = cast(b, result_dtype(key_of(b), float))
    close = less_equal(abs(subtract(a, b)), add(atol, multiply(rtol, abs(b))))
    result = logical_or(equal(a, b), logical_and(close, isfinite(b)))
    return logical_or(result, logical_and(isnan(a), isnan(b))) if equal_nan else result


def _all_true(x: ArrayLike) -> Any:
    return emit(reduction.reduce_min, x, axes=tuple(range(len(shape_of(x))))) if shape_of(x) else x


def allclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all elements are close (`isclose`), as an array of bool without axes."""
    close = isclose(a, b, rtol, atol, equal_nan)
    return _all_true(close) if math.prod(shape_of(close)) else full_of(0, True, np.dtype(bool))


def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Any:
    """Whether shapes and elements are equal, as an array of bool without axes."""
    a1, a2 = as_arraylike(a1), as_arraylike(a2)
    if shape_of(a1) != shape_of(a2) or math.prod(shape_of(a1)) == 0:
        return full_of(0, shape_of(a1) == shape_of(a2), np.dtype(bool))
    same = equal(a1, a2)
    return _all_true(logical_or(same, logical_and(isnan(a1), isnan(a2))) if equal_nan else same)


# Bits and logic.

bitwise_and = _binary("bitwise_and", ew.and_, np.bitwise_and)
bitwise_or = _binary("bitwise_or", ew.or_, np.bitwise_or)
bitwise_xor = _binary("bitwise_xor", ew.xor, np.bitwise_xor)
bitwise_invert = bitwise_not = invert = _unary("bitwise_invert", ew.invert, np.invert)
bitwise_left_shift = left_shift = _binary("bitwise_left_shift", ew.shift_left, np.left_shift)
bitwise_right_shift = right_shift = _binary("bitwise_right_shift", ew.shift_right, np.right_shift)


# Selection.


def clip(
    x: ArrayLike,
    /,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
    *,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
) -> Any:
    """`x` with everything below `min` raised to it and above `max` lowered to it; either may be absent.

    A Python integer below all integers of the dtype of `x` is no lower bound, one above them no upper bound. The
    derivative is 1 at the bounds, which are not passed there, and goes to a bound that is.
    """
    if (a_min is not None or a_max is not None) and (min is not None or max is not None):
        raise ValueError(located("np.clip: a_min and min are the same, and so are a_max and max; give one of them"))
    low, high = min if a_min is None else a_min, max if a_max is None else a_max
    result = as_arraylike(x)
    if dtype_of(result).kind in "iu":
        limits = np.iinfo(dtype_of(result))
        low = None if type(low) is int and low < limits.min else low
        high = None if type(high) is int and high > limits.max else high
    bounds = [as_operand(bound) for bound in (low, high) if bound is not None]
    dtype = result_dtype(key_of(result), *map(key_of, bounds))
    result = cast(result, dtype)
    if low is not None:
        result = where(_passed(less(result, low), low), low, result)
    return result if high is None else where(_passed(greater(result, high), high), high, result)


def _passed(passed: ArrayLike, bound: ArrayLike) -> ArrayLike:
    """Where a bound takes the place of what it bounds: where it is passed, or NaN."""
    if not is_float(dtype_of(as_arraylike(bound))) or (type(bound) in (int, float) and bound == bound):
        return passed
    return logical_or(passed, isnan(bound))


def nan_to_num(
    x: ArrayLike, /, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """`x` with NaN replaced by `nan` and infinities by large finite numbers."""
    if not copy and isinstance(x, Tracer):
        raise TracingError(located("np.nan_to_num with copy=False writes to x; write x = np.nan_to_num(x)"))
    x = as_arraylike(x)
    if is_complex(dtype_of(x)):
        return joined(*(nan_to_num(part, nan=nan, posinf=posinf, neginf=neginf) for part in parts(x)))
    if not is_float(dtype_of(x)):
        return x
    limits = finfo(dtype_of(x))
    high, low = float(limits.max) if posinf is None else posinf, float(limits.min) if neginf is None else neginf
    finite = where(equal(x, math.inf), high, where(equal(x, -math.inf), low, x))
    return where(isnan(x), nan, finite)


def heaviside(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """0 below 0, 1 above, `x2` at 0."""
    dtype = loop_dtypes(np.heaviside, [as_operand(x1), as_operand(x2)])[0]
    x = cast(as_arraylike(x1), dtype)
    step = cast(greater(x, 0), dtype)
    return where(isnan(x), x, where(equal(x, 0), cast(as_arraylike(x2), dtype), step))


def astype(x: ArrayLike, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Any:
    """`x` as another dtype: floats are truncated to integers, and nonzero is True.

    NaN, and what an int32 or int64 does not hold, become its least number; a uint8 is the low byte of that int32.
    """
    check_device(device)
    result = cast(as_arraylike(x), dtype_argument(dtype))
    return fresh(result) if copy and result is x else result


def broadcast_arrays(*arrays: ArrayLike) -> tuple[Any, ...]:
    """The arrays in their common shape."""
    operands = [as_arraylike(x) for x in arrays]
    if not operands:
        return ()
    shape = common_shape("np.broadcast_arrays", operands)
    return tuple(read_only(stretched(x, shape)) for x in operands)
