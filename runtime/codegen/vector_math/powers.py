"""Powers: x ** y, with the sign and the special cases of IEEE 754."""

from __future__ import annotations

from math import inf, nan

import numpy as np

from .exponentials import exp_reduced, reduce_exp, scale
from .formats import FLOAT64, Format, clamp, polynomial
from .logarithms import log2_of_f32, log_pair_f64
from .traced_numbers import Number, convert, fabs, fma, rint, select


def pow_f32(x: Number, y: Number, f: Format) -> Number:
    """Within 1 ulp. exp2(y log2(|x|)) in float64, by polynomials of relative error 2**-37 and 2**-34."""
    g = FLOAT64
    a, exponent = convert(fabs(x), np.float64), convert(y, np.float64)
    log2 = log2_of_f32(a)
    t = clamp(exponent * _log_at_limits(log2, a), -200.0, 200.0)
    shifted = t + g.shift
    r = t - (shifted - g.shift)
    power = fma(r, polynomial(r, _EXP2_TAIL), 1.0) * g.two_to_the(g.bits(shifted) - g.shift_bits)
    return _pow_special(x, y, convert(power, np.float32), f)


_EXP2_TAIL = (
    0.6931471805411169, 0.2402265107538363, 0.055504109635194275, 0.00961803693964199, 0.0013333429914467161,
    0.00015467111137590876, 1.5315179325963487e-05,
)  # fmt: skip


def _log_at_limits(log: Number, a: Number) -> Number:
    return select(a == 0.0, -inf, select(a == inf, inf, log))


def pow_f64(x: Number, y: Number, f: Format) -> Number:
    """Within 1.5 ulp. exp(y log(|x|)), the logarithm and the product as unevaluated sums of two numbers."""
    log, log_low = log_pair_f64(fabs(x), f)
    log = _log_at_limits(log, fabs(x))
    t = y * log
    t_low = select(fabs(t) < 800.0, fma(y, log, -t) + y * log_low, 0.0)
    m, r = reduce_exp(clamp(t, -800.0, 800.0), f)
    return _pow_special(x, y, scale(exp_reduced(r + t_low, f), m, f), f)


def _pow_special(x: Number, y: Number, magnitude: Number, f: Format) -> Number:
    """The sign and the special cases of IEEE 754's pow, given |x| ** y for |x| != 1."""
    half = 0.5 * y
    odd = (rint(y) == y) & (rint(half) != half)
    magnitude = select(fabs(x) == 1.0, 1.0, magnitude)
    negative = f.bits(x) < 0
    signed = select(negative & odd, -magnitude, magnitude)
    undefined = (x != x) | (y != y) | ((x < 0.0) & (x > -inf) & (rint(y) != y))
    return select((x == 1.0) | (y == 0.0), 1.0, select(undefined, nan, signed))
