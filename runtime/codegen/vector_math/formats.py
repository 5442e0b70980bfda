"""The two floating-point formats, and what functions of every kind need in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .traced_numbers import Number, fma, reinterpret, select


@dataclass(frozen=True)
class Format:
    """A binary floating-point format, and the constants that the functions need in it. Sums `high + low` are constants
    to twice the precision; polynomials are tuples of coefficients, the constant term first."""

    real: type
    integer: type
    mantissa: int  # explicit bits of the significand
    bias: int
    half_pi: tuple[float, float, float]  # sums to pi / 2
    ln2: tuple[float, float]
    log2_e: tuple[float, float]

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


FLOAT32 = Format(
    real=np.float32,
    integer=np.int32,
    mantissa=23,
    bias=127,
    half_pi=(1.57079637, -4.37113883e-08, -1.71512451e-15),
    ln2=(0.693147182, -1.90465421e-09),
    log2_e=(1.44269502, 1.92596303e-08),
)  # fmt: skip

FLOAT64 = Format(
    real=np.float64,
    integer=np.int64,
    mantissa=52,
    bias=1023,
    half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ln2=(0.6931471805599453, 2.3190468138462996e-17),
    log2_e=(1.4426950408889634, 2.0355273740931033e-17),
)  # fmt: skip


def polynomial(x: Number, coefficients: tuple[float, ...]) -> Number:
    """Horner's scheme; the constant term comes first."""
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = fma(value, x, coefficient)
    return value


def odd(y: Number, x: Number, f: Format) -> Number:
    """The value at x of an odd function that is y at |x|."""
    return f.from_bits(f.bits(y) ^ (f.bits(x) & f.sign))


def clamp(x: Number, low: float, high: float) -> Number:
    """x, but no less than `low` and no more than `high`; NaN stays."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


def two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """(a + b, its rounding error), by Knuth."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)
