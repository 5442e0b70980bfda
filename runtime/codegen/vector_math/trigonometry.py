"""Trigonometry: sin, cos and tan of any number, with reductions modulo pi / 2 near 0 and far from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, nan

import numpy as np

from .formats import FLOAT32, FLOAT64, Format, odd, polynomial, two_sum
from .traced_numbers import Number, convert, fabs, fma, select


@dataclass(frozen=True)
class _Tails:
    """Polynomials on |r| <= pi / 4, with z = r * r."""

    sin_tail: tuple[float, ...]  # sin(r) = r + r * z * tail(z), z = r * r, |r| <= pi / 4
    cos_tail: tuple[float, ...]  # cos(r) = 1 - z / 2 + z * z * tail(z)


_TAILS: Mapping[Format, _Tails] = {
    FLOAT32: _Tails(
        sin_tail=(-0.166666552, 0.00833217613, -0.000195169836),
        cos_tail=(0.0416666456, -0.00138873653, 2.44381372e-05),
    ),
    FLOAT64: _Tails(
        sin_tail=(
            -0.16666666666666632, 0.00833333333332238, -0.00019841269829778396, 2.7557313680706387e-06,
            -2.505075621683004e-08, 1.5896678177268752e-10,
        ),
        cos_tail=(
            0.0416666666666666, -0.0013888888888874073, 2.480158728944824e-05, -2.7557314341984124e-07,
            2.08757217974275e-09, -1.13595680086085e-11,
        ),
    ),
}  # fmt: skip


def _reduce_near(a: Number, f: Format) -> tuple[Number, Number, Number]:
    """(n, r, r_low) with a = n pi / 2 + r + r_low, |r| <= pi / 4, for 0 <= a <= 2**(mantissa - 2); n modulo 4 is right.

    Cody and Waite's reduction. Its first step is exact, the errors of the others are kept.
    """
    shifted = fma(a, 2.0 / np.pi, f.shift)
    n = shifted - f.shift
    product = n * f.half_pi[1]
    r, error = two_sum(fma(n, -f.half_pi[0], a), -product)
    low = error - fma(n, f.half_pi[2], fma(n, f.half_pi[1], -product))
    return f.bits(shifted), r + low, low - ((r + low) - r)


def _reduce_far_f32(a: Number, f: Format) -> tuple[Number, Number, Number]:
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
    g = FLOAT64
    fraction = fma(g.to_real(fraction >> 32), 2.0**32, g.to_real(fraction & 0xFFFFFFFF))
    exact = fraction * (np.pi / 2 * 2.0**-64)
    r = convert(exact, np.float32)
    low = convert(exact - convert(r, np.float64), np.float32)
    return convert((turns + (1 << 61)) >> 62, np.int32), r, low


def _reduce_far_f64(a: Number, f: Format) -> tuple[Number, Number, Number]:
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
    high, error = two_sum(a * 2.0**32, b)
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


def _sin_cos(x: Number, f: Format) -> tuple[Number, Number, Number]:
    """(n, sin(r), cos(r)) for |x| = n pi / 2 + r, |r| <= pi / 4; n modulo 4 is right."""
    a = fabs(x)
    n, r, low = _reduce_near(a, f)
    is_near, far = (a < 2.0**17, _reduce_far_f32) if f is FLOAT32 else (a < 2.0**49, _reduce_far_f64)
    n, r, low = (select(is_near, *pair) for pair in zip((n, r, low), far(a, f)))
    r = select(a < inf, r, nan)
    z = r * r
    sin = r + fma(r * z, polynomial(z, _TAILS[f].sin_tail), low)
    half = 0.5 * z
    cos = 1.0 - half
    cos = cos + (((1.0 - cos) - half) + fma(z * z, polynomial(z, _TAILS[f].cos_tail), -r * low))
    return n, sin, cos


def _signed_by_quadrant(y: Number, n: Number, f: Format) -> Number:
    """-y where n modulo 4 is 2 or 3, else y."""
    return f.from_bits(f.bits(y) ^ ((n & 2) << (8 * np.dtype(f.integer).itemsize - 2)))


def sin(x: Number, f: Format) -> Number:
    """Within 1 ulp, for any number; NaN for an infinity."""
    n, sin, cos = _sin_cos(x, f)
    return odd(_signed_by_quadrant(select((n & 1) == 0, sin, cos), n, f), x, f)


def cos(x: Number, f: Format) -> Number:
    """Within 1 ulp, as sin."""
    n, sin, cos = _sin_cos(x, f)
    return _signed_by_quadrant(select((n & 1) == 0, cos, sin), n + 1, f)


def tan(x: Number, f: Format) -> Number:
    """Within 2.5 ulp, as sin. sin / cos, or -cos / sin where n is odd."""
    n, sin, cos = _sin_cos(x, f)
    even = (n & 1) == 0
    return odd(select(even, sin, -cos) / select(even, cos, sin), x, f)
