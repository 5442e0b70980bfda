"""Exponentials: exp, expm1, sigmoid and tanh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .formats import FLOAT32, FLOAT64, Format, clamp, odd, polynomial
from .traced_numbers import Number, fabs, fma, select


@dataclass(frozen=True)
class _Exponential:
    """Where exp is neither 0 nor infinite, and its polynomial."""

    range: tuple[float, float]  # outside of it exp is 0 or infinite, after rounding
    tail: tuple[float, ...]  # exp(r) = 1 + r + r * r * tail(r), |r| <= ln(2) / 2


_EXP: Mapping[Format, _Exponential] = {
    FLOAT32: _Exponential(
        range=(-104.0, 89.0),
        tail=(0.5, 0.166666672, 0.0416662693, 0.00833326392, 0.0013946176, 0.000199185772),
    ),
    FLOAT64: _Exponential(
        range=(-746.0, 710.0),
        tail=(
            0.5, 0.16666666666666685, 0.04166666666666673, 0.008333333333316624, 0.001388888888885878,
            0.0001984126989735111, 2.4801587373147694e-05, 2.7557233937874736e-06, 2.755723381224625e-07,
            2.5112346202819165e-08, 2.092681792348225e-09,
        ),
    ),
}  # fmt: skip


def reduce_exp(x: Number, f: Format) -> tuple[Number, Number]:
    """(m, r) with x = n ln(2) + r, |r| <= ln(2) / 2: Cody and Waite's reduction. m is an integer whose low bits are
    those of n + 2 bias, so that an exponent of n or of half of it is in m by a shift alone, see `scale`.
    """
    shift = f.shift + 2.0 * f.bias
    shifted = fma(x, f.log2_e[0], shift)
    n = shifted - shift
    r = fma(n, -f.ln2[1], fma(n, -f.ln2[0], x))
    return f.bits(shifted), r


def power_of_two(m: Number, f: Format) -> Number:
    """2**n for the m of `reduce_exp`, where that is a normal number."""
    return f.two_to_the(m - 2 * f.bias)


def scale(x: Number, m: Number, f: Format) -> Number:
    """x * 2**n for the m of `reduce_exp`, in two steps, so that it overflows and underflows gradually where x is about
    1. Both exponents have their bias already: n + 2 bias is the sum of a half, rounded down, and the rest.
    """
    half = m >> 1
    return x * f.from_bits(half << f.mantissa) * f.from_bits((m - half) << f.mantissa)


def _expm1_reduced(r: Number, f: Format) -> Number:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    return fma(r * r, polynomial(r, _EXP[f].tail), r)


def exp_reduced(r: Number, f: Format) -> Number:
    """exp(r) for |r| <= ln(2) / 2, with what the sum 1 + r loses in rounding."""
    high = 1.0 + r
    return high + fma(r * r, polynomial(r, _EXP[f].tail), r - (high - 1.0))


def exp(x: Number, f: Format) -> Number:
    """Within 1 ulp. Cody and Waite's reduction, then a polynomial on |r| <= ln(2) / 2."""
    m, r = reduce_exp(clamp(x, *_EXP[f].range), f)
    return scale(exp_reduced(r, f), m, f)


def _exp_of_negative(x: Number, f: Format) -> Number:
    """`exp` of what is not above 0."""
    lowest = _EXP[f].range[0]
    m, r = reduce_exp(select(x < lowest, lowest, x), f)
    return scale(exp_reduced(r, f), m, f)


def exp_normal(x: Number, f: Format) -> Number:
    """exp where the result is far from both ends of the format, so that one scaling does."""
    m, r = reduce_exp(x, f)
    return (1.0 + _expm1_reduced(r, f)) * power_of_two(m, f)


def expm1(x: Number, f: Format) -> Number:
    """Within 2 ulp. 2**n (expm1(r) + 1) - 1, with half of 2**n so that the largest results do not overflow."""
    m, r = reduce_exp(clamp(x, -0.75 * f.mantissa - 2.0, _EXP[f].range[1]), f)
    half_scale = power_of_two(m - 1, f)
    y = 2.0 * fma(_expm1_reduced(r, f), half_scale, half_scale - 0.5)
    # Half of a subnormal number may not be one.
    return select(fabs(x) < 4.0 * f.smallest_normal, x, y)


def sigmoid(x: Number, f: Format) -> Number:
    """Within 2.5 ulp. 1 / (1 + exp(-|x|)), or exp(-|x|) over the same for negative x."""
    e = _exp_of_negative(-fabs(x), f)
    return select(x < 0.0, e, 1.0) / (1.0 + e)


def tanh_f32(x: Number, f: Format) -> Number:
    """Within 1.5 ulp. An odd polynomial up to 0.625, then 1 - 2 / (exp(2 |x|) + 1), as in Cephes."""
    a = fabs(x)
    z = a * a
    near = fma(a * z, polynomial(z, _TANH_TAIL_F32), a)
    far = 1.0 - 2.0 / (1.0 + exp_normal(2.0 * clamp(a, 0.0, 10.0), f))
    return odd(select(a < 0.625, near, select(a != a, a, far)), x, f)


_TANH_TAIL_F32 = (-0.333332807, 0.133313835, -0.0537340082, 0.0206180681, -0.00567918643)


def tanh_f64(x: Number, f: Format) -> Number:
    """Within 1.5 ulp. As in Cephes: a + a z P(z) / Q(z) up to 0.625, then 1 - 2 / (exp(2 a) + 1)."""
    a = fabs(x)
    z = a * a
    near = a < 0.625
    numerator = select(near, z * polynomial(z, _TANH_P_F64), -2.0)
    denominator = select(near, polynomial(z, _TANH_Q_F64), 1.0 + exp_normal(2.0 * clamp(a, 0.0, 20.0), f))
    quotient = numerator / denominator
    y = select(near, fma(a, quotient, a), 1.0 + quotient)
    return odd(select(a != a, a, y), x, f)


_TANH_P_F64 = (-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1)
_TANH_Q_F64 = (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0)
