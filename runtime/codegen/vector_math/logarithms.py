"""Logarithms: log, log2, log10 and log1p; and logarithms of more digits, for powers."""

from __future__ import annotations

from math import inf, nan

import numpy as np

from .formats import FLOAT32, FLOAT64, Format, polynomial, two_sum
from .traced_numbers import Number, convert, fma, select


def _split(x: Number, f: Format) -> tuple[Number, Number]:
    """(n, m) with x = 2**n m and sqrt(1/2) <= m < sqrt(2), for x > 0; n is a real number."""
    subnormal = x < f.smallest_normal
    bits = f.bits(select(subnormal, x * 2.0**f.mantissa, x))
    n = _exponent(bits, f)
    m = f.from_bits(bits - (n << f.mantissa))
    n = f.to_real(n)
    return select(subnormal, n - float(f.mantissa), n), m


def _exponent(bits: Number, f: Format) -> Number:
    """The n of `_split` for the bits of a normal number."""
    return (bits - int(f.real(0.5**0.5).view(f.integer))) >> f.mantissa


def _log1p_reduced_f32(r: Number, rest: Number) -> Number:
    """log(1 + r) - r + rest: a polynomial on sqrt(1/2) <= 1 + r <= sqrt(2), as in Cephes."""
    return fma(r * r, fma(r, polynomial(r, _LOG_TAIL_F32), -0.5), rest)


_LOG_TAIL_F32 = (
    0.333333164, -0.250008106, 0.200022846, -0.166245311, 0.141811952, -0.131290093, 0.128817961, -0.0785911456,
)  # fmt: skip


def _log1p_reduced_f64(r: Number, rest: Number) -> Number:
    """log(1 + r) - r + rest, by the series of log((1 + s) / (1 - s)) in s = r / (2 + r), as in fdlibm's log."""
    half_square = 0.5 * r * r
    s = r / (2.0 + r)
    z = s * s
    return fma(s, fma(z, polynomial(z, _ATANH_TAIL_F64), half_square), rest) - half_square


_ATANH_TAIL_F64 = (
    0.6666666666666735, 0.39999999999411884, 0.28571428743107175, 0.22222198489466705, 0.18183569168665004,
    0.15313914770198447, 0.14797420195979794,
)  # fmt: skip


def _log1p_reduced(r: Number, rest: Number, f: Format) -> Number:
    return _log1p_reduced_f32(r, rest) if f is FLOAT32 else _log1p_reduced_f64(r, rest)


def _at_log_limits(x: Number, y: Number, zero: float) -> Number:
    """y, but the logarithm's limits at `zero` and infinity, and NaN below `zero`."""
    limit = select(x == zero, -inf, select(x > zero, x, nan))
    return select((x > zero) & (x < inf), y, limit)


def log(x: Number, f: Format) -> Number:
    """Within 1 ulp. n ln(2) + log(m), x = 2**n m."""
    n, m = _split(x, f)
    r = m - 1.0
    y = fma(n, f.ln2[0], r + _log1p_reduced(r, n * f.ln2[1], f))
    return _at_log_limits(x, y, 0.0)


def log2(x: Number, f: Format) -> Number:
    """Within 1.5 ulp, and exact for powers of two. n + log2(e) log(m), x = 2**n m."""
    n, m = _split(x, f)
    r = m - 1.0
    rest = _log1p_reduced(r, 0.0, f)
    y = n + fma(r, f.log2_e[0], fma(rest, f.log2_e[0], (r + rest) * f.log2_e[1]))
    return _at_log_limits(x, y, 0.0)


def log10_f32(x: Number, f: Format) -> Number:
    """Within 0.51 ulp, so exact where the logarithm is a whole number. By log2 in float64."""
    log2 = log2_of_f32(convert(x, np.float64))
    return _at_log_limits(x, convert(log2 * _LOG10_2, np.float32), 0.0)


def log10_f64(x: Number, f: Format) -> Number:
    """Within 0.51 ulp, so exact where the logarithm is a whole number. log10(e) log(x), both sums of two numbers."""
    log, log_low = log_pair_f64(x, f)
    high = log * _LOG10_E[0]
    low = fma(log, _LOG10_E[0], -high) + fma(log, _LOG10_E[1], log_low * _LOG10_E[0])
    return _at_log_limits(x, high + low, 0.0)


_LOG10_2 = 0.30102999566398120
_LOG10_E = (0.4342944819032518, 1.098319650216765e-17)


def log1p(x: Number, f: Format) -> Number:
    """Within 1.5 ulp. As log, of 1 + x = 2**n (1 + r), where r = 2**-n x + (2**-n - 1) is rounded only once."""
    n = _exponent(f.bits(1.0 + x), f)
    scale = 0.25 * f.two_to_the(2 - n)  # 2 - n, because 2**-n may be subnormal
    r = fma(x, scale, scale - 1.0)
    n = f.to_real(n)
    y = fma(n, f.ln2[0], r + _log1p_reduced(r, n * f.ln2[1], f))
    return select(x == 0.0, x, _at_log_limits(x, y, -1.0))


def log2_of_f32(a: Number) -> Number:
    """log2(a) in float64, of relative error 2**-37, for a > 0 that was a float32."""
    g = FLOAT64
    n = _exponent(g.bits(a), g)  # float64 has no subnormal numbers here
    m = g.from_bits(g.bits(a) - (n << g.mantissa))
    s = (m - 1.0) / (m + 1.0)
    return fma(s, polynomial(s * s, _LOG2_ATANH), g.to_real(n))


_LOG2_ATANH = (2.8853900817902027, 0.9617966732001804, 0.5770836115707918, 0.4116711346115025, 0.3407593618466545)


def log_pair_f64(x: Number, f: Format) -> tuple[Number, Number]:
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
    tail = z * polynomial(z, _LOG_PAIR_TAIL)
    c = _TWO_THIRDS[0] + tail
    c_low = _TWO_THIRDS[1] + (tail - (c - _TWO_THIRDS[0]))
    u = z * c
    u_low = fma(z, c, -u) + fma(z, c_low, z_low * c)
    v = s * u
    v_low = fma(s, u, -v) + fma(s, u_low, s_low * u)
    p = n * f.ln2[0]
    p_low = fma(n, f.ln2[0], -p) + n * f.ln2[1]
    high, error_1 = two_sum(p, 2.0 * s)
    high, error_2 = two_sum(high, v)
    low = error_1 + (error_2 + (p_low + (v_low + 2.0 * s_low)))
    return high + low, low - ((high + low) - high)


_LOG_PAIR_TAIL = (
    0.40000000000002267, 0.28571428570093155, 0.22222222521160917, 0.1818178425128037, 0.15386762983246768,
    0.13256679480461955, 0.13197667913007563,
)  # fmt: skip
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
