"""Element-wise functions that LLVM vectorizes inside a generated loop, with the same bits in whatever loop they stand.

llvmlite's wheels carry no vector math library, so `math.exp` in a kernel is one call an element. The functions here are
straight lines of multiply-adds, bit tricks and selects instead. `VECTOR_MATH["exp", "float32"]` is a function named
`exp_f32`; put under that name into the globals of a kernel's source, it can be called there. Such a kernel must be
compiled without fastmath: the functions rely on every operation being rounded as it is written.

Each function is written once, over "numbers": NumPy scalars when Python calls it, `_Traced` values when a call of it
is compiled. In the latter case it is run once, and each operation appends one LLVM instruction to the kernel. So there
is no second function to compile and to inline, and Python and machine code compute the same bits (but for NaNs' own).

"Within 1.5 ulp" is against the exact value, in units in the last place of the result, the final rounding included.
Results below the smallest normal number are rounded to subnormal ones, never flushed. Polynomials without a source in
the docstring of their function are minimax, fitted by the Remez exchange on the interval that the docstring names.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
from llvmlite import ir

from .natives import NATIVES, NUMBERS, Native, Signature

Number = Any
"""A NumPy scalar or a _Traced value. Plain Python numbers may meet either, and take its type."""


# ---- numbers in a kernel under construction

_LLVM_TYPES: dict[str, ir.Type] = {
    "bool": ir.IntType(1),
    "int32": ir.IntType(32),
    "int64": ir.IntType(64),
    "uint64": ir.IntType(64),
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}


def _operator(instruction: str, unsigned: str | None = None, reflected: bool = False) -> Any:
    """The method of an operator that is one instruction of LLVM's, on unsigned integers another one."""

    def method(self: "_Traced", other: Number) -> "_Traced":
        name = unsigned if unsigned and self.dtype.kind == "u" else instruction
        name = "f" + name if self.dtype.kind == "f" else name
        operands = (self.like(other), self.value) if reflected else (self.value, self.like(other))
        return _Traced(self.builder, getattr(self.builder, name)(*operands), self.dtype)

    return method


def _comparison(operator: str) -> Any:
    """The method of a comparison; with a NaN only != holds."""

    def method(self: "_Traced", other: Number) -> "_Traced":
        of_reals = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        of_integers = self.builder.icmp_unsigned if self.dtype.kind == "u" else self.builder.icmp_signed
        compare = of_reals if self.dtype.kind == "f" else of_integers
        return _Traced(self.builder, compare(operator, self.value, self.like(other)), np.dtype("bool"))

    return method


@dataclass(frozen=True, eq=False)
class _Traced:
    """A value in LLVM code under construction, with the operators of a NumPy scalar of `dtype`, but no promotion."""

    builder: ir.IRBuilder
    value: Any  # llvmlite does not annotate what its builder returns
    dtype: np.dtype

    __array_ufunc__ = None  # so that a NumPy scalar on the left leaves the operation to us

    def like(self, other: Number) -> ir.Value:
        """`other` in LLVM's terms; raises TypeError for a value of another dtype."""
        if isinstance(other, _Traced):
            if other.dtype != self.dtype:
                raise TypeError(f"{self.dtype} meets {other.dtype}: convert one of them")
            return other.value
        return ir.Constant(_LLVM_TYPES[self.dtype.name], self.dtype.type(other).item())

    __add__ = __radd__ = _operator("add")
    __mul__ = __rmul__ = _operator("mul")
    __sub__ = _operator("sub")
    __rsub__ = _operator("sub", reflected=True)
    __truediv__ = _operator("div")
    __rtruediv__ = _operator("div", reflected=True)
    __and__ = _operator("and_")
    __or__ = _operator("or_")
    __xor__ = _operator("xor")
    __lshift__ = _operator("shl")
    __rshift__ = _operator("ashr", unsigned="lshr")
    __lt__ = _comparison("<")
    __le__ = _comparison("<=")
    __gt__ = _comparison(">")
    __ge__ = _comparison(">=")
    __eq__ = _comparison("==")
    __ne__ = _comparison("!=")

    def __neg__(self) -> "_Traced":
        return _Traced(self.builder, self.builder.fneg(self.value), self.dtype)


# ---- operations that NumPy scalars have no operator for


def fma(a: Number, b: Number, c: Number) -> Number:
    """a * b + c, rounded once."""
    for x in (a, b, c):
        if isinstance(x, _Traced):
            return _Traced(x.builder, x.builder.fma(x.like(a), x.like(b), x.like(c)), x.dtype)
    real = np.result_type(a, b, c).type
    a, b, c = real(a), real(b), real(c)
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)) or a == 0 or b == 0:
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return real(0)
    try:
        rounded = float(exact)
    except OverflowError:
        return real(inf if exact > 0 else -inf)
    if real is np.float32 and Fraction(rounded) != exact and np.float64(rounded).view(np.int64) % 2 == 0:
        # Rounding to odd first keeps the second rounding, to float32, from seeing a tie that is none.
        rounded = float(np.nextafter(rounded, inf if exact > Fraction(rounded) else -inf))
    return real(rounded)


def fabs(x: Number) -> Number:
    """|x|"""
    return _unary_intrinsic("llvm.fabs", x) if isinstance(x, _Traced) else np.abs(x)


def rint(x: Number) -> Number:
    """The integer nearest to x, ties to even."""
    return _unary_intrinsic("llvm.rint", x) if isinstance(x, _Traced) else np.rint(x)


def _unary_intrinsic(name: str, x: _Traced) -> _Traced:
    function = x.builder.module.declare_intrinsic(name, [x.value.type])
    return _Traced(x.builder, x.builder.call(function, [x.value]), x.dtype)


def select(condition: Number, a: Number, b: Number) -> Number:
    """a where the condition holds, else b. Both are computed; one of them at least is not a plain Python number."""
    dtype = (a if hasattr(a, "dtype") else b).dtype
    if not isinstance(condition, _Traced):
        return dtype.type(a if condition else b)
    like = _Traced(condition.builder, condition.value, dtype).like
    return _Traced(condition.builder, condition.builder.select(condition.value, like(a), like(b)), dtype)


def reinterpret(x: Number, dtype: type) -> Number:
    """The bits of x as a number of another dtype of the same width."""
    if not isinstance(x, _Traced):
        return x.view(dtype)
    to = np.dtype(dtype)
    return _Traced(x.builder, x.builder.bitcast(x.value, _LLVM_TYPES[to.name]), to)


def convert(x: Number, dtype: type) -> Number:
    """x as a number of another dtype: between two integers (wrapping) or two reals (rounding)."""
    if not isinstance(x, _Traced):
        return x.astype(dtype)
    to, llvm_type = np.dtype(dtype), _LLVM_TYPES[np.dtype(dtype).name]
    narrower, wider = ("fptrunc", "fpext") if to.kind == "f" else ("trunc", "zext" if x.dtype.kind == "u" else "sext")
    name = "bitcast" if to.itemsize == x.dtype.itemsize else narrower if to.itemsize < x.dtype.itemsize else wider
    return _Traced(x.builder, getattr(x.builder, name)(x.value, llvm_type), to)


# ---- the two formats


@dataclass(frozen=True)
class _Format:
    """A binary floating-point format, and the constants that the functions need in it. Sums `high + low` are constants
    to twice the precision; polynomials are tuples of coefficients, the constant term first."""

    real: type
    integer: type
    mantissa: int  # explicit bits of the significand
    bias: int
    half_pi: tuple[float, float, float]  # sums to pi / 2
    ln2: tuple[float, float]
    log2_e: tuple[float, float]
    exp_range: tuple[float, float]  # outside of it exp is 0 or infinite, after rounding
    exp_tail: tuple[float, ...]  # exp(r) = 1 + r + r * r * tail(r), |r| <= ln(2) / 2
    sin_tail: tuple[float, ...]  # sin(r) = r + r * z * tail(z), z = r * r, |r| <= pi / 4
    cos_tail: tuple[float, ...]  # cos(r) = 1 - z / 2 + z * z * tail(z)
    erf_switch: float
    erf_tail: tuple[float, ...]  # erf(a) = a + a * tail(a * a), 0 <= a < switch
    erf_log: tuple[float, ...]  # log(1 - erf(a)) = polynomial(a), switch <= a < saturation
    erf_saturation: float  # erf is 1 from here on
    ndtr_center: float
    ndtr_tail: tuple[float, ...]  # Phi(-a) exp(a a / 2) = c / (c + a) tail((a - c) / (a + c)), c the center
    ndtr_zero: float  # Phi(-a) is 0 from here on, after rounding

    @property
    def shift(self) -> float:
        """Adding it to |x| < 2**(mantissa - 2) rounds x to an integer, which is then in the low bits of the sum."""
        return 1.5 * 2.0**self.mantissa

    @property
    def shift_bits(self) -> int:
        return int(np.dtype(self.real).type(self.shift).view(self.integer))

    @property
    def sign(self) -> int:
        """The sign bit alone, as a (negative) integer."""
        return int(np.iinfo(self.integer).min)

    @property
    def smallest_normal(self) -> float:
        return float(np.finfo(self.real).smallest_normal)

    def bits(self, x: Number) -> Number:
        return reinterpret(x, self.integer)

    def from_bits(self, n: Number) -> Number:
        return reinterpret(n, self.real)

    def to_real(self, n: Number) -> Number:
        """An integer of at most mantissa - 2 bits as a real number; unlike a conversion it needs no AVX-512."""
        return self.from_bits(n + self.shift_bits) - self.shift

    def two_to_the(self, n: Number) -> Number:
        """2 ** n for an integer n whose power is a normal number."""
        return self.from_bits((n + self.bias) << self.mantissa)


_FLOAT32 = _Format(
    real=np.float32,
    integer=np.int32,
    mantissa=23,
    bias=127,
    half_pi=(1.57079637, -4.37113883e-08, -1.71512451e-15),
    ln2=(0.693147182, -1.90465421e-09),
    log2_e=(1.44269502, 1.92596303e-08),
    exp_range=(-104.0, 89.0),
    exp_tail=(0.5, 0.166666672, 0.0416662693, 0.00833326392, 0.0013946176, 0.000199185772),
    sin_tail=(-0.166666552, 0.00833217613, -0.000195169836),
    cos_tail=(0.0416666456, -0.00138873653, 2.44381372e-05),
    erf_switch=0.925,
    erf_tail=(0.128379166, -0.376126349, 0.112836942, -0.0268592704, 0.00520063471, -0.000813744031, 8.34522507e-05),
    erf_log=(
        -0.000203478019, -1.12764347, -0.637236476, -0.103884056, 0.0222040135, -0.00303747249, 0.000195351648,
    ),
    erf_saturation=4.0,
    ndtr_center=3.5,
    ndtr_tail=(
        0.212690307, -0.161589068, 0.0901214547, -0.0331580501, 0.0049730915, 0.00185535108, -0.000906521363,
        -0.000141440297, 0.000119519537, 3.10547412e-05,
    ),
    ndtr_zero=15.0,
)  # fmt: skip

_FLOAT64 = _Format(
    real=np.float64,
    integer=np.int64,
    mantissa=52,
    bias=1023,
    half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ln2=(0.6931471805599453, 2.3190468138462996e-17),
    log2_e=(1.4426950408889634, 2.0355273740931033e-17),
    exp_range=(-746.0, 710.0),
    exp_tail=(
        0.5, 0.16666666666666685, 0.04166666666666673, 0.008333333333316624, 0.001388888888885878,
        0.0001984126989735111, 2.4801587373147694e-05, 2.7557233937874736e-06, 2.755723381224625e-07,
        2.5112346202819165e-08, 2.092681792348225e-09,
    ),
    sin_tail=(
        -0.16666666666666632, 0.00833333333332238, -0.00019841269829778396, 2.7557313680706387e-06,
        -2.505075621683004e-08, 1.5896678177268752e-10,
    ),
    cos_tail=(
        0.0416666666666666, -0.0013888888888874073, 2.480158728944824e-05, -2.7557314341984124e-07,
        2.08757217974275e-09, -1.13595680086085e-11,
    ),
    erf_switch=1.0,
    erf_tail=(
        0.12837916709551256, -0.3761263890318355, 0.11283791670945253, -0.02686617064327622, 0.005223977607423468,
        -0.0008548325989696758, 0.00012055295320494294, -1.4924744663335489e-05, 1.6447517677871873e-06,
        -1.6209175911748696e-07, 1.3722976265924504e-08, -7.801188874097751e-10,
    ),
    erf_log=(
        -1.7982733076246853e-07, -1.1283773271668858, -0.6366284988039678, -0.10274722329844543, 0.019078096702527948,
        0.0002805764703186652, -0.0017691002653223385, 0.0006412606392883547, -4.488377503766425e-05,
        -7.033260492910058e-05, 4.502230494709401e-05, -1.650863141525578e-05, 4.325568727731674e-06,
        -8.502564165707232e-07, 1.2565282488647519e-07, -1.3620425203357748e-08, 1.025177378121345e-09,
        -4.7933396101738387e-11, 1.0489740741707299e-12,
    ),
    erf_saturation=6.0,
    ndtr_center=5.0,
    ndtr_tail=(
        0.15383860995001258, -0.13307650057801132, 0.0990611231939954, -0.06270663133426314, 0.03300407323407231,
        -0.013823727741190363, 0.0041590133600483735, -0.0005986753551396482, -0.0001595738802947415,
        0.00010897982117665226, -1.187514226391554e-05, -9.952602058551194e-06, 3.3362289935192934e-06,
        7.962982734886577e-07, -5.538110987287816e-07, -6.754866863039828e-08, 8.653736302983559e-08,
        8.722518394921445e-09, -1.3064024664427276e-08, -2.042216667173292e-09, 1.4364134489996047e-09,
        4.0279640769545685e-10,
    ),
    ndtr_zero=39.0,
)  # fmt: skip


def _polynomial(x: Number, coefficients: tuple[float, ...]) -> Number:
    """Horner's scheme; the constant term comes first."""
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = fma(value, x, coefficient)
    return value


def _odd(y: Number, x: Number, f: _Format) -> Number:
    """The value at x of an odd function that is y at |x|."""
    return f.from_bits(f.bits(y) ^ (f.bits(x) & f.sign))


# ---- exponentials


def _reduce_exp(x: Number, f: _Format) -> tuple[Number, Number]:
    """(n, r) with x = n ln(2) + r, |r| <= ln(2) / 2: Cody and Waite's reduction, n an integer."""
    shifted = fma(x, f.log2_e[0], f.shift)
    n = shifted - f.shift
    r = fma(n, -f.ln2[1], fma(n, -f.ln2[0], x))
    return f.bits(shifted) - f.shift_bits, r


def _scale(x: Number, n: Number, f: _Format) -> Number:
    """x * 2**n in two steps, so that it overflows and underflows gradually where x is about 1."""
    half = n >> 1
    return x * f.two_to_the(half) * f.two_to_the(n - half)


def _clamp(x: Number, low: float, high: float) -> Number:
    x = select(x < low, low, x)
    return select(x > high, high, x)


def _expm1_reduced(r: Number, f: _Format) -> Number:
    return fma(r * r, _polynomial(r, f.exp_tail), r)


def _exp_reduced(r: Number, f: _Format) -> Number:
    high = 1.0 + r
    return high + fma(r * r, _polynomial(r, f.exp_tail), r - (high - 1.0))


def _exp(x: Number, f: _Format) -> Number:
    """Within 1 ulp. Cody and Waite's reduction, then a polynomial on |r| <= ln(2) / 2."""
    n, r = _reduce_exp(_clamp(x, *f.exp_range), f)
    return _scale(_exp_reduced(r, f), n, f)


def _exp_normal(x: Number, f: _Format) -> Number:
    """exp where the result is far from both ends of the format, so that one scaling does."""
    n, r = _reduce_exp(x, f)
    return (1.0 + _expm1_reduced(r, f)) * f.two_to_the(n)


def _expm1(x: Number, f: _Format) -> Number:
    """Within 2 ulp. 2**n (expm1(r) + 1) - 1, with half of 2**n so that the largest results do not overflow."""
    n, r = _reduce_exp(_clamp(x, -0.75 * f.mantissa - 2.0, f.exp_range[1]), f)
    half_scale = f.two_to_the(n - 1)
    y = 2.0 * fma(_expm1_reduced(r, f), half_scale, half_scale - 0.5)
    # Half of a subnormal number may not be one.
    return select(fabs(x) < 4.0 * f.smallest_normal, x, y)


def _sigmoid(x: Number, f: _Format) -> Number:
    """Within 2.5 ulp. 1 / (1 + exp(-|x|)), or exp(-|x|) over the same for negative x."""
    e = _exp(-fabs(x), f)
    return select(x < 0.0, e, 1.0) / (1.0 + e)


def _tanh_f32(x: Number, f: _Format) -> Number:
    """Within 1.5 ulp. An odd polynomial up to 0.625, then 1 - 2 / (exp(2 |x|) + 1), as in Cephes."""
    a = fabs(x)
    z = a * a
    near = fma(a * z, _polynomial(z, _TANH_TAIL_F32), a)
    far = 1.0 - 2.0 / (1.0 + _exp_normal(2.0 * _clamp(a, 0.0, 10.0), f))
    return _odd(select(a < 0.625, near, select(a != a, a, far)), x, f)


_TANH_TAIL_F32 = (-0.333332807, 0.133313835, -0.0537340082, 0.0206180681, -0.00567918643)


def _tanh_f64(x: Number, f: _Format) -> Number:
    """Within 1.5 ulp. As in Cephes: a + a z P(z) / Q(z) up to 0.625, then 1 - 2 / (exp(2 a) + 1)."""
    a = fabs(x)
    z = a * a
    near = a < 0.625
    numerator = select(near, z * _polynomial(z, _TANH_P_F64), -2.0)
    denominator = select(near, _polynomial(z, _TANH_Q_F64), 1.0 + _exp_normal(2.0 * _clamp(a, 0.0, 20.0), f))
    quotient = numerator / denominator
    y = select(near, fma(a, quotient, a), 1.0 + quotient)
    return _odd(select(a != a, a, y), x, f)


_TANH_P_F64 = (-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1)
_TANH_Q_F64 = (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0)


def _erf(x: Number, f: _Format) -> Number:
    """Within 1.5 ulp. An odd polynomial for small |x|, then 1 - exp of a polynomial in |x| (the form is N. Juffa's)."""
    a = fabs(x)
    near = fma(a, _polynomial(a * a, f.erf_tail), a)
    far = 1.0 - _exp_normal(_polynomial(_clamp(a, 0.0, f.erf_saturation), f.erf_log), f)
    y = select(a < f.erf_switch, near, select(a < f.erf_saturation, far, 1.0))
    return _odd(select(a != a, a, y), x, f)


def _ndtr(x: Number, f: _Format) -> Number:
    """Within 4 ulp. exp(-a a / 2) times a polynomial in (a - c) / (a + c), a = |x|; one less that for x > 0."""
    a = _clamp(fabs(x), 0.0, f.ndtr_zero)
    reciprocal = 1.0 / (a + f.ndtr_center)
    ratio = f.ndtr_center * reciprocal * _polynomial(fma(a * reciprocal, 2.0, -1.0), f.ndtr_tail)
    square = a * a
    n, r = _reduce_exp(-0.5 * square, f)
    tail = _scale(_exp_reduced(r - 0.5 * fma(a, a, -square), f) * ratio, n, f)
    return select(x > 0.0, 1.0 - tail, tail)


# ---- logarithms


def _split(x: Number, f: _Format) -> tuple[Number, Number]:
    """(n, m) with x = 2**n m and sqrt(1/2) <= m < sqrt(2), for x > 0; n is a real number."""
    subnormal = x < f.smallest_normal
    bits = f.bits(select(subnormal, x * 2.0**f.mantissa, x))
    n = _exponent(bits, f)
    m = f.from_bits(bits - (n << f.mantissa))
    n = f.to_real(n)
    return select(subnormal, n - float(f.mantissa), n), m


def _exponent(bits: Number, f: _Format) -> Number:
    """The n of `_split` for the bits of a normal number."""
    return (bits - int(f.real(0.5**0.5).view(f.integer))) >> f.mantissa


def _log1p_reduced_f32(r: Number, rest: Number) -> Number:
    """log(1 + r) - r + rest: a polynomial on sqrt(1/2) <= 1 + r <= sqrt(2), as in Cephes."""
    return fma(r * r, fma(r, _polynomial(r, _LOG_TAIL_F32), -0.5), rest)


_LOG_TAIL_F32 = (
    0.333333164, -0.250008106, 0.200022846, -0.166245311, 0.141811952, -0.131290093, 0.128817961, -0.0785911456,
)  # fmt: skip


def _log1p_reduced_f64(r: Number, rest: Number) -> Number:
    """log(1 + r) - r + rest, by the series of log((1 + s) / (1 - s)) in s = r / (2 + r), as in fdlibm's log."""
    half_square = 0.5 * r * r
    s = r / (2.0 + r)
    z = s * s
    return fma(s, fma(z, _polynomial(z, _ATANH_TAIL_F64), half_square), rest) - half_square


_ATANH_TAIL_F64 = (
    0.6666666666666735, 0.39999999999411884, 0.28571428743107175, 0.22222198489466705, 0.18183569168665004,
    0.15313914770198447, 0.14797420195979794,
)  # fmt: skip


def _log1p_reduced(r: Number, rest: Number, f: _Format) -> Number:
    return _log1p_reduced_f32(r, rest) if f is _FLOAT32 else _log1p_reduced_f64(r, rest)


def _at_log_limits(x: Number, y: Number, zero: float) -> Number:
    """y, but the logarithm's limits at `zero` and infinity, and NaN below `zero`."""
    limit = select(x == zero, -inf, select(x > zero, x, nan))
    return select((x > zero) & (x < inf), y, limit)


def _log(x: Number, f: _Format) -> Number:
    """Within 1 ulp. n ln(2) + log(m), x = 2**n m."""
    n, m = _split(x, f)
    r = m - 1.0
    y = fma(n, f.ln2[0], r + _log1p_reduced(r, n * f.ln2[1], f))
    return _at_log_limits(x, y, 0.0)


def _log2(x: Number, f: _Format) -> Number:
    """Within 1.5 ulp, and exact for powers of two. n + log2(e) log(m), x = 2**n m."""
    n, m = _split(x, f)
    r = m - 1.0
    rest = _log1p_reduced(r, 0.0, f)
    y = n + fma(r, f.log2_e[0], fma(rest, f.log2_e[0], (r + rest) * f.log2_e[1]))
    return _at_log_limits(x, y, 0.0)


def _log10_f32(x: Number, f: _Format) -> Number:
    """Within 0.51 ulp, so exact where the logarithm is a whole number. By log2 in float64."""
    log2 = _log2_of_f32(convert(x, np.float64))
    return _at_log_limits(x, convert(log2 * _LOG10_2, np.float32), 0.0)


def _log10_f64(x: Number, f: _Format) -> Number:
    """Within 0.51 ulp, so exact where the logarithm is a whole number. log10(e) log(x), both sums of two numbers."""
    log, log_low = _log_pair_f64(x, f)
    high = log * _LOG10_E[0]
    low = fma(log, _LOG10_E[0], -high) + fma(log, _LOG10_E[1], log_low * _LOG10_E[0])
    return _at_log_limits(x, high + low, 0.0)


_LOG10_2 = 0.30102999566398120
_LOG10_E = (0.4342944819032518, 1.098319650216765e-17)


def _log1p(x: Number, f: _Format) -> Number:
    """Within 1.5 ulp. As log, of 1 + x = 2**n (1 + r), where r = 2**-n x + (2**-n - 1) is rounded only once."""
    n = _exponent(f.bits(1.0 + x), f)
    scale = 0.25 * f.two_to_the(2 - n)  # 2 - n, because 2**-n may be subnormal
    r = fma(x, scale, scale - 1.0)
    n = f.to_real(n)
    y = fma(n, f.ln2[0], r + _log1p_reduced(r, n * f.ln2[1], f))
    return select(x == 0.0, x, _at_log_limits(x, y, -1.0))


def _log2_of_f32(a: Number) -> Number:
    """log2(a) in float64, of relative error 2**-37, for a > 0 that was a float32."""
    g = _FLOAT64
    n = _exponent(g.bits(a), g)  # float64 has no subnormal numbers here
    m = g.from_bits(g.bits(a) - (n << g.mantissa))
    s = (m - 1.0) / (m + 1.0)
    return fma(s, _polynomial(s * s, _LOG2_ATANH), g.to_real(n))


_LOG2_ATANH = (2.8853900817902027, 0.9617966732001804, 0.5770836115707918, 0.4116711346115025, 0.3407593618466545)


def _log_pair_f64(x: Number, f: _Format) -> tuple[Number, Number]:
    """log(x) as an unevaluated sum of two numbers, of relative error about 2**-63, for x > 0.

    log(m) = 2 s + s z (2 / 3 + z T(z)), s = (m - 1) / (m + 1), z = s s; only T is computed in one number.
    """
    n, m = _split(x, f)
    r, d = m - 1.0, m + 1.0
    d_low = r - (d - 2.0)
    reciprocal = 1.0 / d
    s = r * reciprocal
    s_low = fma(-s, d_low, fma(-s, d, r)) * reciprocal
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    tail = z * _polynomial(z, _LOG_PAIR_TAIL)
    c = _TWO_THIRDS[0] + tail
    c_low = _TWO_THIRDS[1] + (tail - (c - _TWO_THIRDS[0]))
    u = z * c
    u_low = fma(z, c, -u) + fma(z, c_low, z_low * c)
    v = s * u
    v_low = fma(s, u, -v) + fma(s, u_low, s_low * u)
    p = n * f.ln2[0]
    p_low = fma(n, f.ln2[0], -p) + n * f.ln2[1]
    high, error_1 = _two_sum(p, 2.0 * s)
    high, error_2 = _two_sum(high, v)
    low = error_1 + (error_2 + (p_low + (v_low + 2.0 * s_low)))
    return high + low, low - ((high + low) - high)


_LOG_PAIR_TAIL = (
    0.40000000000002267, 0.28571428570093155, 0.22222222521160917, 0.1818178425128037, 0.15386762983246768,
    0.13256679480461955, 0.13197667913007563,
)  # fmt: skip
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def _two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """(a + b, its rounding error), by Knuth."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


# ---- powers


def _pow_f32(x: Number, y: Number, f: _Format) -> Number:
    """Within 1 ulp. exp2(y log2(|x|)) in float64, by polynomials of relative error 2**-37 and 2**-34."""
    g = _FLOAT64
    a, exponent = convert(fabs(x), np.float64), convert(y, np.float64)
    log2 = _log2_of_f32(a)
    t = _clamp(exponent * _log_at_limits(log2, a), -200.0, 200.0)
    shifted = t + g.shift
    r = t - (shifted - g.shift)
    power = fma(r, _polynomial(r, _EXP2_TAIL), 1.0) * g.two_to_the(g.bits(shifted) - g.shift_bits)
    return _pow_special(x, y, convert(power, np.float32), f)


_EXP2_TAIL = (
    0.6931471805411169, 0.2402265107538363, 0.055504109635194275, 0.00961803693964199, 0.0013333429914467161,
    0.00015467111137590876, 1.5315179325963487e-05,
)  # fmt: skip


def _log_at_limits(log: Number, a: Number) -> Number:
    return select(a == 0.0, -inf, select(a == inf, inf, log))


def _pow_f64(x: Number, y: Number, f: _Format) -> Number:
    """Within 1.5 ulp. exp(y log(|x|)), the logarithm and the product as unevaluated sums of two numbers."""
    log, log_low = _log_pair_f64(fabs(x), f)
    log = _log_at_limits(log, fabs(x))
    t = y * log
    t_low = select(fabs(t) < 800.0, fma(y, log, -t) + y * log_low, 0.0)
    n, r = _reduce_exp(_clamp(t, -800.0, 800.0), f)
    return _pow_special(x, y, _scale(_exp_reduced(r + t_low, f), n, f), f)


def _pow_special(x: Number, y: Number, magnitude: Number, f: _Format) -> Number:
    """The sign and the special cases of IEEE 754's pow, given |x| ** y for |x| != 1."""
    half = 0.5 * y
    odd = (rint(y) == y) & (rint(half) != half)
    magnitude = select(fabs(x) == 1.0, 1.0, magnitude)
    negative = f.bits(x) < 0
    signed = select(negative & odd, -magnitude, magnitude)
    undefined = (x != x) | (y != y) | ((x < 0.0) & (x > -inf) & (rint(y) != y))
    return select((x == 1.0) | (y == 0.0), 1.0, select(undefined, nan, signed))


# ---- trigonometry


def _reduce_near(a: Number, f: _Format) -> tuple[Number, Number, Number]:
    """(n, r, r_low) with a = n pi / 2 + r + r_low, |r| <= pi / 4, for 0 <= a <= 2**(mantissa - 2); n modulo 4 is right.

    Cody and Waite's reduction. Its first step is exact, the errors of the others are kept.
    """
    shifted = fma(a, 2.0 / np.pi, f.shift)
    n = shifted - f.shift
    product = n * f.half_pi[1]
    r, error = _two_sum(fma(n, -f.half_pi[0], a), -product)
    low = error - fma(n, f.half_pi[2], fma(n, f.half_pi[1], -product))
    return f.bits(shifted), r + low, low - ((r + low) - r)


def _reduce_far_f32(a: Number, f: _Format) -> tuple[Number, Number, Number]:
    """As `_reduce_near`, for a >= 2**17 in float32.

    Payne and Hanek's reduction: a = 2**e m, m an integer of 24 bits, times those 96 bits of 2 / pi that matter for the
    quarter turns modulo 4 and 62 bits after the point.
    """
    bits = f.bits(a)
    m = convert((bits & 0x7FFFFF) | 0x800000, np.uint64)
    start = (bits >> f.mantissa) - (f.bias + 17)
    words = [select(start >= 64, following, word) for word, following in pairwise(_TWO_OVER_PI[:4])]
    high, low = _from_bit(start & 63, *words)
    turns = m * high + ((m * (low >> 32)) >> 32)
    fraction = convert(turns << 2, np.int64)
    g = _FLOAT64
    fraction = fma(g.to_real(fraction >> 32), 2.0**32, g.to_real(fraction & 0xFFFFFFFF))
    exact = fraction * (np.pi / 2 * 2.0**-64)
    r = convert(exact, np.float32)
    low = convert(exact - convert(r, np.float64), np.float32)
    return convert((turns + (1 << 61)) >> 62, np.int32), r, low


def _reduce_far_f64(a: Number, f: _Format) -> tuple[Number, Number, Number]:
    """As `_reduce_near`, for 2**49 <= a < inf in float64; any number for others.

    As in float32, with an integer of 53 bits, times 192 bits of 2 / pi. No float64 is nearer to a multiple of pi / 2
    than about 2**-62, so that of the 126 bits after the point 64 are more than enough.
    """
    bits = f.bits(a)
    m = convert((bits & ((1 << 52) - 1)) | (1 << 52), np.uint64)
    start = select((a >= 2.0**49) & (a < inf), (bits >> f.mantissa) - (f.bias + 46), 0)
    first, second, third = _from_bit(start & 63, *_four_from(start >> 6, _TWO_OVER_PI))
    product = m * second
    low = product + _high_word(m, third)
    carry = select(low < product, np.uint64(1), np.uint64(0))
    turns = m * first + _high_word(m, second) + carry
    whole, rest = (turns << 2) | (low >> 62), low << 2
    signed = convert(whole, np.int64)
    parts = [signed >> 32, signed & 0xFFFFFFFF, convert(rest >> 32, np.int64), convert(rest & 0xFFFFFFFF, np.int64)]
    a, b, c, d = (f.to_real(part) for part in parts)
    high, error = _two_sum(a * 2.0**32, b)
    low = error + fma(d, 2.0**-64, c * 2.0**-32)
    fraction = high + low
    low = low - (fraction - high)
    unit = f.half_pi[0] * 2.0**-64
    r = fraction * unit
    low = fma(fraction, unit, -r) + fma(fraction, f.half_pi[1] * 2.0**-64, low * unit)
    return convert((turns + (1 << 61)) >> 62, np.int64), r, low


def _four_from(index: Number, words: Sequence[Number]) -> Sequence[Number]:
    """Four of at least 19 words, from an index below 16 on: a barrel shifter, where loads one by one would be slow."""
    for bit in (3, 2, 1, 0):
        step, moved = 1 << bit, ((index >> bit) & 1) == 1
        words = [select(moved, words[i + step], words[i]) for i in range(3 + step)]
    return words


def _from_bit(offset: Number, *words: Number) -> list[Number]:
    """The words, but for one, that begin at a bit of the first of `words`."""
    offset = convert(offset, np.uint64)
    return [(word << offset) | ((following >> 1) >> (63 - offset)) for word, following in pairwise(words)]


def _high_word(m: Number, n: Number) -> Number:
    """The upper 64 of the 128 bits of m n, for m of at most 63 bits."""
    m_high, m_low, n_high, n_low = m >> 32, m & 0xFFFFFFFF, n >> 32, n & 0xFFFFFFFF
    inner = m_low * n_high + ((m_low * n_low) >> 32)
    outer = m_high * n_low + (inner & 0xFFFFFFFF)
    return m_high * n_high + (inner >> 32) + (outer >> 32)


_TWO_OVER_PI = tuple(
    np.uint64(word) for word in (
        0x00A2F9836E4E4415, 0x29FC2757D1F534DD, 0xC0DB6295993C4390, 0x41FE5163ABDEBBC5, 0x61B7246E3A424DD2,
        0xE006492EEA09D192, 0x1CFE1DEB1CB129A7, 0x3EE88235F52EBB44, 0x84E99C7026B45F7E, 0x413991D639835339,
        0xF49C845F8BBDF928, 0x3B1FF897FFDE0598, 0x0FEF2F118B5A0A6D, 0x1F6D367ECF27CB09, 0xB74F463F669E5FEA,
        0x2D7527BAC7EBE5F1, 0x7B3D0739F78A5292, 0xEA6BFB5FB11F8D5D, 0x0856033046FC7B6B, 0xABF0CFBC209AF436,
    )
)  # fmt: skip
"""Bits of 2 / pi, from the one of weight 2**7 on."""


def _sin_cos(x: Number, f: _Format) -> tuple[Number, Number, Number]:
    """(n, sin(r), cos(r)) for |x| = n pi / 2 + r, |r| <= pi / 4; n modulo 4 is right."""
    a = fabs(x)
    n, r, low = _reduce_near(a, f)
    is_near, far = (a < 2.0**17, _reduce_far_f32) if f is _FLOAT32 else (a < 2.0**49, _reduce_far_f64)
    n, r, low = (select(is_near, *pair) for pair in zip((n, r, low), far(a, f)))
    r = select(a < inf, r, nan)
    z = r * r
    sin = r + fma(r * z, _polynomial(z, f.sin_tail), low)
    half = 0.5 * z
    cos = 1.0 - half
    cos = cos + (((1.0 - cos) - half) + fma(z * z, _polynomial(z, f.cos_tail), -r * low))
    return n, sin, cos


def _turn_sign(y: Number, n: Number, f: _Format) -> Number:
    """-y where n modulo 4 is 2 or 3, else y."""
    return f.from_bits(f.bits(y) ^ ((n & 2) << (8 * np.dtype(f.integer).itemsize - 2)))


def _sin(x: Number, f: _Format) -> Number:
    """Within 1 ulp, for any number; NaN for an infinity."""
    n, sin, cos = _sin_cos(x, f)
    return _odd(_turn_sign(select((n & 1) == 0, sin, cos), n, f), x, f)


def _cos(x: Number, f: _Format) -> Number:
    """Within 1 ulp, as sin."""
    n, sin, cos = _sin_cos(x, f)
    return _turn_sign(select((n & 1) == 0, cos, sin), n + 1, f)


def _tan(x: Number, f: _Format) -> Number:
    """Within 2.5 ulp, as sin. sin / cos, or -cos / sin where n is odd."""
    n, sin, cos = _sin_cos(x, f)
    even = (n & 1) == 0
    return _odd(select(even, sin, -cos) / select(even, cos, sin), x, f)


# ---- what kernels call


def _declare(name: str, body: Callable[..., Number], f: _Format) -> Callable[..., Any]:
    """A function of NumPy scalars, native to kernels, that runs `body` in the format f."""
    dtype = np.dtype(f.real)
    number = f"f{8 * dtype.itemsize}"
    arity = len(inspect.signature(body).parameters) - 1

    def function(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return body(*map(f.real, arguments), f)

    function.__name__ = function.__qualname__ = f"{name}_{number}"
    function.__doc__ = body.__doc__

    def typed(arguments: tuple[str, ...]) -> Signature | None:
        fits = len(arguments) == arity and all(a in NUMBERS for a in arguments)
        return (number, (number,) * arity) if fits else None

    def emit(builder: ir.IRBuilder, *arguments: Any) -> ir.Value:
        return body(*(_Traced(builder, argument, dtype) for argument in arguments), f).value

    NATIVES[function] = Native(emit, typed)
    return function


VECTOR_MATH: dict[tuple[str, str], Callable[..., Any]] = {
    (name, dtype): _declare(name, body, f)
    for name, bodies in {
        "exp": (_exp, _exp),
        "expm1": (_expm1, _expm1),
        "log": (_log, _log),
        "log2": (_log2, _log2),
        "log10": (_log10_f32, _log10_f64),
        "log1p": (_log1p, _log1p),
        "tanh": (_tanh_f32, _tanh_f64),
        "sigmoid": (_sigmoid, _sigmoid),
        "erf": (_erf, _erf),
        "ndtr": (_ndtr, _ndtr),
        "sin": (_sin, _sin),
        "cos": (_cos, _cos),
        "tan": (_tan, _tan),
        "pow": (_pow_f32, _pow_f64),
    }.items()
    for dtype, body, f in zip(("float32", "float64"), bodies, (_FLOAT32, _FLOAT64))
}
"""(name, dtype) -> function. `pow` takes two numbers, the others one."""
