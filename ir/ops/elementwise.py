"""Element-wise ops: every input and the output have one shape; nothing is broadcast implicitly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..builder import Builder
from ..complex_parts import apart, conversion, equality, inequality, product, quotient
from ..graph import Node, Value
from ..op import (
    OPS,
    Attrs,
    FlopsRule,
    InferRule,
    Op,
    PartsRule,
    Recompute,
    ReferenceRule,
    TypeRuleError,
    VjpRule,
    declare,
    no_flops,
    one_per_output,
    same_attrs,
)
from ..types import (
    BOOL,
    FLOAT32,
    INT32,
    INT64,
    SHORT_NAMES,
    Array,
    ArrayType,
    DType,
    finfo,
    is_complex,
    is_float,
    is_half,
    is_inexact,
    kind_of,
)

FLOATS = "f"
NUMBERS = "fiu"
INTEGERS = "iu"
ORDERED = "fiub"
ANY = "fiubc"
_FIELD, _RING = FLOATS + "c", NUMBERS + "c"
"""What can be divided, and what can be added and multiplied: complex numbers too."""
_KIND_NAMES = {
    FLOATS: "a float",
    _FIELD: "a float",
    NUMBERS: "a number",
    _RING: "a number",
    INTEGERS: "an integer",
    ANY: "any",
    ORDERED: "any",
    "iub": "an integer or bool",
}


def aligned_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    """Every axis of every input is aligned with the same axis of the output."""
    return [list(range(output.ndim)) for _ in inputs]


def _declare(
    name: str,
    infer: InferRule,
    reference: ReferenceRule,
    vjp: VjpRule | None,
    doc: str,
    flops: FlopsRule = one_per_output,
    *,
    can_trap: bool = False,
    recompute: Recompute = Recompute.CHEAP,
    is_identity: bool = False,
    is_transcendental: bool = False,
    only_moves: bool = False,
    is_exact: bool = False,
    parts: PartsRule | None = None,
) -> Op:
    """An element-wise op: a loop computes it as it reads, wherever its operands lie."""
    return declare(
        Op(
            name,
            "elementwise",
            infer,
            reference,
            flops,
            aligned_axes,
            vjp,
            doc,
            only_moves=only_moves,
            is_exact=is_exact or only_moves,
            is_identity=is_identity,
            accepts_strides=True,
            can_trap=can_trap,
            recompute=recompute,
            fusion="elementwise",
            is_transcendental=is_transcendental,
            batch=same_attrs,
            parts=parts,
        )
    )


def _same_shape(types: Sequence[ArrayType]) -> tuple[int, ...]:
    if any(t.shape != types[0].shape for t in types):
        raise TypeRuleError(f"shapes differ: {', '.join(map(str, types))}")
    return types[0].shape


def _infer(arity: int, kinds: str, result: DType | None = None) -> Callable[..., ArrayType]:
    def infer(*types: ArrayType) -> ArrayType:
        if len(types) != arity:
            raise TypeRuleError(f"takes {arity} inputs, got {len(types)}: {', '.join(map(str, types))}")
        shape = _same_shape(types)
        if any(t.dtype != types[0].dtype for t in types):
            raise TypeRuleError(f"dtypes differ: {', '.join(map(str, types))}")
        if kind_of(types[0].dtype) not in kinds:
            raise TypeRuleError(f"takes {_KIND_NAMES[kinds]}, got {types[0]}")
        return ArrayType(shape, result or types[0].dtype)

    return infer


def _keep_dtype(function: Callable[..., Any]) -> Callable[..., Array]:
    def reference(*arrays: Array) -> Array:
        return np.asarray(function(*arrays)).astype(arrays[0].dtype, copy=False)

    return reference


def elementwise_op(
    arity: int,
    name: str,
    kinds: str,
    function: Callable[..., Any],
    vjp: VjpRule | None,
    doc: str,
    result: DType | None = None,
    slow: bool = False,
    is_exact: bool = False,
    parts: PartsRule | None = None,
) -> Op:
    """Declare an element-wise op of `arity` inputs of one dtype of these kinds, and no attributes."""
    reference = _keep_dtype(function) if result is None else function
    infer = _infer(arity, kinds, result)
    return _declare(name, infer, reference, vjp, doc, is_transcendental=slow, is_exact=is_exact, parts=parts)


_unary = partial(elementwise_op, 1)
_binary = partial(elementwise_op, 2)


def _same(name: str, infer: InferRule, reference: ReferenceRule, doc: str, vjp: VjpRule | None, **traits: Any) -> Op:
    """An op that leaves what it reads as it is."""
    return _declare(name, infer, reference, vjp, doc, no_flops, only_moves=True, is_identity=True, **traits)


def _scaled(b: Builder, g: Value, factor: float) -> Value:
    return mul(b, g, b.full_like(g, factor))


def _one_minus(b: Builder, x: Value) -> Value:
    return sub(b, b.full_like(x, 1), x)


def _square(b: Builder, x: Value) -> Value:
    return mul(b, x, x)


# Arithmetic.
def _neg_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return neg(b, g)


def _add_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    return g, g


def _sub_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    return g, neg(b, g)


def _mul_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    return mul(b, g, y), mul(b, g, x)


def _div_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    gx = div(b, g, y)
    return gx, neg(b, mul(b, gx, o))


neg = _unary("neg", _RING, np.negative, _neg_vjp, "-x", is_exact=True, parts=apart)
add = _binary("add", _RING, np.add, _add_vjp, "x + y", parts=apart)
sub = _binary("sub", _RING, np.subtract, _sub_vjp, "x - y", parts=apart)
mul = _binary("mul", _RING, np.multiply, _mul_vjp, "x * y", parts=product)
div = _binary("div", _FIELD, np.divide, _div_vjp, "x / y, true division of floats", parts=quotient)
floordiv = _binary(
    "floordiv",
    NUMBERS,
    np.floor_divide,
    None,
    "floor(x / y); an integer divided by 0 is 0, and the least one divided by -1 is itself",
)


def _mod_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    return g, neg(b, mul(b, g, floordiv(b, x, y)))


mod = _binary(
    "mod", NUMBERS, np.remainder, _mod_vjp, "the remainder with the sign of y, as Python's %; 0 for an integer by 0"
)


def _pow_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    # d/dx = y x^(y-1) is 0, not 0 * inf, for y = 0 where 1 / x is infinite; d/dy = x^y log x is 0 at x = 0 for y >= 0.
    zero, one = b.full_like(x, 0), b.full_like(x, 1)
    tiny = lt(b, abs_(b, x), b.full_like(x, float(finfo(x.type.dtype).tiny)))
    exponent = select(b, and_(b, tiny, eq(b, y, zero)), one, sub(b, y, one))
    gx = mul(b, g, mul(b, y, pow(b, x, exponent)))
    at_zero = and_(b, eq(b, x, zero), ge(b, y, zero))
    gy = select(b, at_zero, zero, mul(b, g, mul(b, o, log(b, select(b, at_zero, one, x)))))
    return gx, gy


def _integer_pow(x: Array, y: Array) -> Array:
    if is_float(x.dtype):
        return np.power(x, y)
    # A negative exponent truncates to 0, but for 1 and -1. NumPy refuses it: see `check_exponent`.
    positive = np.power(x, np.maximum(y, 0))
    odd = np.where(y % 2 == 0, 1, x)
    return np.where(y >= 0, positive, np.where(x == 1, 1, np.where(x == -1, odd, 0)) if x.dtype.kind == "i" else x == 1)


pow = _binary(
    "pow",
    NUMBERS,
    _integer_pow,
    _pow_vjp,
    "x ** y; of integers it wraps around, and a negative y gives the truncated value",
    slow=True,
)


def _winner_vjp(better: str) -> VjpRule:
    def rule(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
        # The gradient is shared equally at a tie, as PyTorch and JAX do.
        half = _scaled(b, g, 0.5)
        zero = b.full_like(g, 0)
        tie = eq(b, x, y)
        x_wins = gt(b, x, y) if better == "max" else lt(b, x, y)
        y_wins = lt(b, x, y) if better == "max" else gt(b, x, y)
        return select(b, x_wins, g, select(b, tie, half, zero)), select(b, y_wins, g, select(b, tie, half, zero))

    return rule


maximum = _binary(
    "maximum", NUMBERS, np.maximum, _winner_vjp("max"), "the larger; NaN where either is NaN", is_exact=True
)
minimum = _binary(
    "minimum", NUMBERS, np.minimum, _winner_vjp("min"), "the smaller; NaN where either is NaN", is_exact=True
)


def _abs_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, sign(b, x))


abs_ = _unary("abs", NUMBERS, np.abs, _abs_vjp, "|x|; derivative 0 at 0; the least integer is its own", is_exact=True)
sign = _unary("sign", NUMBERS, np.sign, None, "-1, 0 or 1; NaN for NaN", is_exact=True)
floor = _unary("floor", FLOATS, np.floor, None, "the largest integer not above x", is_exact=True)
ceil = _unary("ceil", FLOATS, np.ceil, None, "the smallest integer not below x", is_exact=True)
trunc = _unary("trunc", FLOATS, np.trunc, None, "x rounded towards 0", is_exact=True)
rint = _unary("rint", FLOATS, np.rint, None, "x rounded to the nearest integer, halves to even", is_exact=True)


def _sqrt_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Lengths and deviations are roots of what is 0 together with its own derivative: infinity times 0 would be NaN.
    endless = select(b, eq(b, o, b.full_like(o, 0)), b.full_like(o, np.inf), o)
    return div(b, _scaled(b, g, 0.5), endless)


sqrt = _unary("sqrt", FLOATS, np.sqrt, _sqrt_vjp, "the square root; NaN below 0; derivative 0 at 0")


# Exponentials and logarithms.
def _exp_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, o)


def _expm1_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Not o + 1, which is 0 for all x that are well below 0.
    return mul(b, g, exp(b, x))


def _log_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, g, x)


def _log1p_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, g, add(b, x, b.full_like(x, 1)))


def _log2_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, _scaled(b, g, 1 / np.log(2)), x)


def _log10_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, _scaled(b, g, 1 / np.log(10)), x)


def _log10(x: Array) -> Array:
    return np.log10(x, dtype=np.float64)  # NumPy's of float32 misses some of the whole numbers


exp = _unary("exp", FLOATS, np.exp, _exp_vjp, "e ** x", slow=True)
expm1 = _unary("expm1", FLOATS, np.expm1, _expm1_vjp, "e ** x - 1 without loss of digits near 0", slow=True)
log = _unary("log", FLOATS, np.log, _log_vjp, "the natural logarithm", slow=True)
log2 = _unary("log2", FLOATS, np.log2, _log2_vjp, "the logarithm to base 2, exact for powers of 2", slow=True)
log10 = _unary("log10", FLOATS, _log10, _log10_vjp, "the logarithm to base 10, exact for powers of 10", slow=True)
log1p = _unary("log1p", FLOATS, np.log1p, _log1p_vjp, "log(1 + x) without loss of digits near 0", slow=True)


# Activations that are primitives, because their derivative is best told from their output.
def _tanh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _one_minus(b, _square(b, o)))


def _sigmoid_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, mul(b, o, _one_minus(b, o)))


def _erf_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _scaled(b, exp(b, neg(b, _square(b, x))), 2 / np.sqrt(np.pi)))


def _ndtr_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _scaled(b, exp(b, _scaled(b, _square(b, x), -0.5)), 1 / np.sqrt(2 * np.pi)))


def _relu_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    zero = b.full_like(o, 0)
    return select(b, gt(b, o, zero), g, zero)


def _relu(x: Array) -> Array:
    return np.where(x < 0, 0, x)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


# SciPy's functions take longer to import than all of this package: only the interpreter needs them.
def _erf(x: Array) -> Array:
    from scipy.special import erf  # pyright: ignore[reportMissingTypeStubs]

    return erf(x)


def _ndtr(x: Array) -> Array:
    """erfc(-x / √2) / 2; beyond 1 by parts of x that are squared exactly, so that the tail keeps its digits."""
    from scipy.special import erfc, erfcx  # pyright: ignore[reportMissingTypeStubs]

    a = np.minimum(np.abs(x.astype(np.float64)), 40)
    high = a.astype(np.float32).astype(np.float64)
    far: Array = np.exp(-0.5 * high * high) * np.exp(-0.5 * (a - high) * (a + high)) * (0.5 * erfcx(a * np.sqrt(0.5)))
    near: Array = 0.5 * erfc(a * np.sqrt(0.5))
    tail = np.where(a < 1, near, far)
    return np.where(x > 0, 1 - tail, tail)


tanh = _unary("tanh", FLOATS, np.tanh, _tanh_vjp, "the hyperbolic tangent", slow=True)
sigmoid = _unary("sigmoid", FLOATS, _sigmoid, _sigmoid_vjp, "1 / (1 + e ** -x)", slow=True)
erf = _unary("erf", FLOATS, _erf, _erf_vjp, "the error function", slow=True)
ndtr = _unary(
    "ndtr", FLOATS, _ndtr, _ndtr_vjp, "the distribution function of the standard normal distribution", slow=True
)
relu = _unary("relu", NUMBERS, _relu, _relu_vjp, "max(x, 0), NaN for NaN, -0 for -0; derivative 0 at 0", is_exact=True)


# Trigonometry.
def _sin_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, cos(b, x))


def _cos_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return neg(b, mul(b, g, sin(b, x)))


def _tan_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, add(b, b.full_like(o, 1), _square(b, o)))


def _one_minus_square(b: Builder, x: Value) -> Value:
    """1 - x², which keeps its digits near x = ±1 as a product; its derivative near 0 keeps them without."""
    product = mul(b, _one_minus(b, x), add(b, x, b.full_like(x, 1)))
    return select(b, lt(b, abs_(b, x), b.full_like(x, 0.5)), _one_minus(b, _square(b, x)), product)


def _asin_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, g, sqrt(b, _one_minus_square(b, x)))


def _acos_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return neg(b, _asin_vjp(b, g, o, x))


def _atan_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, g, add(b, b.full_like(x, 1), _square(b, x)))


def _sinh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, cosh(b, x))


def _cosh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, sinh(b, x))


def _asinh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # √(x² + 1) is |x| where the 1 is less than an ulp of x²; there the square may overflow.
    size = abs_(b, x)
    large = gt(b, size, b.full_like(x, 2.0**28))
    near = select(b, large, b.full_like(x, 0), x)
    return div(b, g, select(b, large, size, sqrt(b, add(b, _square(b, near), b.full_like(x, 1)))))


def _acosh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    one = b.full_like(x, 1)
    return div(b, g, mul(b, sqrt(b, sub(b, x, one)), sqrt(b, add(b, x, one))))


def _atanh_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return div(b, g, _one_minus_square(b, x))


def _atan2_vjp(b: Builder, g: Value, o: Value, y: Value, x: Value) -> tuple[Value, Value]:
    # x / (x² + y²) without overflow of the squares: for any number s it is (x/s) / ((x/s)² + (y/s)²) / s. At (0, 0),
    # where the angle jumps, the derivative is taken as 0.
    zero, one = b.full_like(x, 0), b.full_like(x, 1)
    size = maximum(b, abs_(b, x), abs_(b, y))
    usable = and_(b, gt(b, size, zero), lt(b, size, b.full_like(x, float("inf"))))
    scale = stop_gradient(b, select(b, usable, size, one))
    x, y = div(b, x, scale), div(b, y, scale)
    total = add(b, _square(b, x), _square(b, y))
    scaled = div(b, div(b, g, scale), select(b, eq(b, total, zero), one, total))
    scaled = select(b, eq(b, total, zero), zero, scaled)
    return mul(b, scaled, x), neg(b, mul(b, scaled, y))


sin = _unary("sin", FLOATS, np.sin, _sin_vjp, "the sine of x radians", slow=True)
cos = _unary("cos", FLOATS, np.cos, _cos_vjp, "the cosine of x radians", slow=True)
tan = _unary("tan", FLOATS, np.tan, _tan_vjp, "the tangent of x radians", slow=True)
asin = _unary("asin", FLOATS, np.arcsin, _asin_vjp, "the inverse sine, in radians")
acos = _unary("acos", FLOATS, np.arccos, _acos_vjp, "the inverse cosine, in radians")
atan = _unary("atan", FLOATS, np.arctan, _atan_vjp, "the inverse tangent, in radians")
sinh = _unary("sinh", FLOATS, np.sinh, _sinh_vjp, "the hyperbolic sine")
cosh = _unary("cosh", FLOATS, np.cosh, _cosh_vjp, "the hyperbolic cosine")
asinh = _unary("asinh", FLOATS, np.arcsinh, _asinh_vjp, "the inverse hyperbolic sine")
acosh = _unary("acosh", FLOATS, np.arccosh, _acosh_vjp, "the inverse hyperbolic cosine")
atanh = _unary("atanh", FLOATS, np.arctanh, _atanh_vjp, "the inverse hyperbolic tangent")
atan2 = _binary(
    "atan2", FLOATS, np.arctan2, _atan2_vjp, "the angle of the point (y, x) is atan2(y, x); derivative 0 at (0, 0)"
)

# Comparison, all to bool.
eq = _binary("eq", ANY, np.equal, None, "x == y", BOOL, parts=equality)
ne = _binary("ne", ANY, np.not_equal, None, "x != y", BOOL, parts=inequality)
lt = _binary("lt", ORDERED, np.less, None, "x < y", BOOL)
le = _binary("le", ORDERED, np.less_equal, None, "x <= y", BOOL)
gt = _binary("gt", ORDERED, np.greater, None, "x > y", BOOL)
ge = _binary("ge", ORDERED, np.greater_equal, None, "x >= y", BOOL)

COMPARISONS = (eq, ne, lt, le, gt, ge)

# Bits and truth.
and_ = _binary("and", "iub", np.bitwise_and, None, "bitwise and; logical for bool")
or_ = _binary("or", "iub", np.bitwise_or, None, "bitwise or; logical for bool")
xor = _binary("xor", "iub", np.bitwise_xor, None, "bitwise exclusive or; logical for bool")
invert = _unary("invert", "iub", np.invert, None, "all bits flipped; logical not for bool")
shift_left = _binary("shift_left", INTEGERS, np.left_shift, None, "x << y; 0 where y is not in 0 <= y < the width")
shift_right = _binary(
    "shift_right",
    INTEGERS,
    np.right_shift,
    None,
    "x >> y, keeping the sign; as far as can be where y is not in 0 <= y < the width",
)


def _infer_select(c: ArrayType, x: ArrayType, y: ArrayType) -> ArrayType:
    _same_shape((c, x, y))
    if c.dtype != BOOL:
        raise TypeRuleError(f"the condition is a bool, got {c}")
    if x.dtype != y.dtype:
        raise TypeRuleError(f"dtypes differ: {x}, {y}")
    return x


def _select_vjp(b: Builder, g: Value, o: Value, c: Value, x: Value, y: Value) -> tuple[None, Value, Value]:
    zero = b.full_like(g, 0)
    return None, select(b, c, g, zero), select(b, c, zero, g)


select = _declare(
    "select",
    _infer_select,
    np.where,
    _select_vjp,
    "x where the condition holds, y elsewhere",
    only_moves=True,
    parts=apart,
)


def _infer_cast(x: ArrayType, dtype: DType) -> ArrayType:
    if dtype not in SHORT_NAMES:
        raise TypeRuleError(f"dtype {dtype} is not supported")
    if is_complex(x.dtype) and not is_complex(dtype) and dtype != BOOL:
        raise TypeRuleError(f"{x} as {dtype} would lose the imaginary parts; write x.real.astype('{dtype}')")
    return ArrayType(x.shape, dtype)


def _cast_vjp(b: Builder, g: Value, o: Value, x: Value, dtype: DType) -> Value | None:
    if not is_inexact(dtype) or not is_inexact(x.type.dtype):
        return None
    if is_complex(dtype) and is_float(x.type.dtype):
        return cast(b, OPS["real"](b, g), dtype=x.type.dtype)
    return _unrounded(b, g) if is_half(dtype) and x.type.dtype == FLOAT32 else cast(b, g, dtype=x.type.dtype)


def _unrounded(b: Builder, g: Value) -> Value:
    """A cotangent of two bytes as float32. A product, also a view of one, is made as float32 instead: sums of gradients
    are not rounded.
    """
    views: list[Node] = []
    made = g.node
    while made is not None and made.op.is_view:
        views.append(made)
        made = made.inputs[0].node
    if made is None or not made.op.is_contraction:
        return cast(b, g, dtype=FLOAT32)
    result = b.emit(made.op, *(cast(b, x, dtype=FLOAT32) for x in made.inputs), **made.attrs)
    for view in reversed(views):
        result = b.emit(view.op, result, **view.attrs)
    return result


def _cast_reference(x: Array, dtype: DType) -> Array:
    if not is_float(x.dtype) or dtype.kind not in INTEGERS:
        return x.astype(dtype)
    # What a processor does with a float that the integer does not hold is its own affair: here it is x86-64's.
    wide = INT64 if dtype == INT64 else INT32
    least = np.iinfo(wide).min
    whole = np.trunc(x)
    held = (whole >= float(least)) & (whole < -float(least))
    return np.where(held, np.where(held, whole, 0).astype(wide), wide.type(least)).astype(dtype)


cast = _declare(
    "cast",
    _infer_cast,
    _cast_reference,
    _cast_vjp,
    "x as another dtype; floats are truncated to integers, NaN and what is out of range become the least one; "
    "a uint8 is the low byte of what int32 would be",
    no_flops,
    parts=conversion,
)


def _copy_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return g


copy = _same(
    "copy", _infer(1, ANY), np.array, "x, laid out contiguously", _copy_vjp, recompute=Recompute.COSTLY, parts=apart
)
save = _same(
    "save",
    _infer(1, ANY),
    np.array,
    "x, which what reads it later must find, not make again",
    _copy_vjp,
    recompute=Recompute.NEVER,
    parts=apart,
)
stop_gradient = _same("stop_gradient", _infer(1, ANY), np.array, "x, with derivative 0", None, parts=apart)


# Checks: what they read, unless they stop the run.


def _infer_check_index(x: ArrayType, size: int) -> ArrayType:
    if x.dtype.kind not in INTEGERS:
        raise TypeRuleError(f"an index is an integer, got {x}")
    return x


def _check_index(x: Array, size: int) -> Array:
    bad = (x < 0) | (x >= size)
    if bad.any():
        raise IndexError(f"index {int(x[bad].flat[0])} is out of range for {size} entries")
    return x


check_index = _same(
    "check_index",
    _infer_check_index,
    _check_index,
    "x, once every element is seen to lie in 0 <= x < size; otherwise the run stops with IndexError",
    None,
    can_trap=True,
    recompute=Recompute.COSTLY,
)


def _infer_check_exponent(x: ArrayType) -> ArrayType:
    if x.dtype.kind not in INTEGERS:
        raise TypeRuleError(f"the exponent of an integer is an integer, got {x}")
    return x


def _check_exponent(x: Array) -> Array:
    if (x < 0).any():
        raise ValueError(f"integers to negative integer powers are not allowed: the exponent {int(x[x < 0].flat[0])}")
    return x


check_exponent = _same(
    "check_exponent",
    _infer_check_exponent,
    _check_exponent,
    "x, once every element is seen to be 0 or more; otherwise the run stops with ValueError",
    None,
    can_trap=True,
    recompute=Recompute.COSTLY,
)


def _infer_check_finite(x: ArrayType) -> ArrayType:
    if not is_inexact(x.dtype):
        raise TypeRuleError(f"integers are always finite, got {x}")
    return x


def _check_finite(x: Array) -> Array:
    if not np.isfinite(x).all():
        raise FloatingPointError(f"a value is {x[~np.isfinite(x)].flat[0]}")
    return x


check_finite = _same(
    "check_finite",
    _infer_check_finite,
    _check_finite,
    "x, once every element is seen to be finite; otherwise the run stops with FloatingPointError",
    _copy_vjp,
    can_trap=True,
    recompute=Recompute.COSTLY,
    parts=apart,
)
