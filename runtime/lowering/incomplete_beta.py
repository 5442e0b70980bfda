"""Beta functions of one element, the incomplete one and its derivatives too, as generated kernels call them.

They run in Python as they are, and become part of each kernel that calls them. All numbers are float64.
"""

import numpy as np

from ..codegen.vector_math.functions import SPECIAL_MATH, VECTOR_MATH

_exp, _log, _log1p = (VECTOR_MATH[name, "float64"] for name in ("exp", "log", "log1p"))
_lgamma, _lgamma1p, _digamma = (SPECIAL_MATH[name] for name in ("lgamma", "lgamma1p", "digamma"))
_stirling, _log1p_rest = (SPECIAL_MATH[name] for name in ("stirling", "log1p_rest"))

_MOST_STEPS = 200000
_TINY = 1e-300
_EPSILON = 1.1e-16
_HALF_LOG_TAU = 0.9189385332046728


def _ratio_ln(a, b):
    """`log(gamma(b) / gamma(a + b))` for 0 <= a <= b, a < 8; of large b by Stirling's series, so that nothing large is
    subtracted (DiDonato and Morris 1992, "Algorithm 708").
    """
    n = a + b
    if b < 8.0:
        return _lgamma(b) - _lgamma(n)
    return _stirling(b) - _stirling(n) - (b - 0.5) * _log1p(a / b) - a * (_log(n) - 1.0)


def betaln(x, y):
    """`log |gamma(x) gamma(y) / gamma(x + y)|`."""
    a = x if x < y else y
    b = y if x < y else x
    if a != a or b != b or a < 0.0:
        return _lgamma(x) + _lgamma(y) - _lgamma(x + y)
    if a == 0.0 or b == np.inf:
        return np.inf if a == 0.0 else (np.nan if a == np.inf else -np.inf)
    if a < 1.0:
        return _lgamma1p(a) + _ratio_ln(a, b) - _log(a)
    if a < 8.0:
        return _lgamma(a) + _ratio_ln(a, b)
    rest = _stirling(a) + _stirling(b) - _stirling(a + b)
    ratio = a / b
    return -0.5 * _log(b) + _HALF_LOG_TAU + rest + (a - 0.5) * _log(ratio / (1.0 + ratio)) - b * _log1p(ratio)


def _gamma_sign(x):
    """The sign of gamma(x), NaN at its poles below 0."""
    whole = np.floor(x)
    if x > 0.0 or x != x:
        return 1.0
    if x == whole:
        return np.nan if x < 0.0 else np.copysign(1.0, x)
    half = 0.5 * whole
    return 1.0 if half == np.floor(half) else -1.0


def beta(x, y):
    """`gamma(x) gamma(y) / gamma(x + y)`."""
    size = _exp(betaln(x, y))
    return size if x > 0.0 and y > 0.0 else size * (_gamma_sign(x) * _gamma_sign(y) * _gamma_sign(x + y))


def _deviance(a, excess, ratio):
    """`log(1 + excess / a) - excess / a`, with all digits where it is small; `ratio` is 1 + excess / a."""
    u = excess / a
    if abs(u) < 0.5:
        return _log1p_rest(u)
    return _log(ratio) - u


def beta_weight(a, b, x):
    """`x ** a * (1 - x) ** b / beta(a, b)`, for a, b > 0 and 0 < x < 1: of large a and b by its distance from the
    largest value (Loader 2000, "Fast and accurate computation of binomial probabilities").
    """
    n = a + b
    small = a if a < b else b
    if small < 8.0:
        powers = a * _log(x) + b * (_log1p(-x) if x < 0.5 else _log(1.0 - x))
        of_ratio = powers - _ratio_ln(small, b if a < b else a)
        return small * _exp(of_ratio - _lgamma1p(small)) if small < 1.0 else _exp(of_ratio - _lgamma(small))
    excess = _excess(a, b, x)
    rest = _stirling(n) - _stirling(a) - _stirling(b)
    deviance = a * _deviance(a, excess, x * n / a) + b * _deviance(b, -excess, (1.0 - x) * n / b)
    return np.sqrt(a / n * b / 6.283185307179586) * _exp(rest) * _exp(deviance)


def beta_density(a, b, x):
    """`x ** (a - 1) * (1 - x) ** (b - 1) / beta(a, b)`: the derivative of `betainc` in x."""
    if not (a >= 0.0) or not (b >= 0.0) or not (x >= 0.0) or not (x <= 1.0):
        return np.nan
    if a == 0.0 or b == 0.0 or a == np.inf or b == np.inf:
        return np.nan if a == b else 0.0
    if x == 0.0:
        return 0.0 if a > 1.0 else (b if a == 1.0 else np.inf)
    if x == 1.0:
        return 0.0 if b > 1.0 else (a if b == 1.0 else np.inf)
    return beta_weight(a, b, x) / x / (1.0 - x)


def _excess(a, b, x):
    """`(a + b) x - a`, by the one of x and 1 - x that is exact."""
    return (a + b) * x - a if x < 0.5 else b - (a + b) * (1.0 - x)


def _nonzero(x):
    return _TINY if abs(x) < _TINY else x


def _fraction(a, b, x, excess):
    """The continued fraction of weight / (a I(a, b, x)), which has positive terms for x below its mean (DiDonato and
    Morris 1992, equation 9, as Boost takes it), by Lentz's method; NaN where it does not end. `excess` is that of x.
    """
    y = 1.0 - x
    value = _nonzero((1.0 - excess) / (a + 1.0))
    c, d, m = value, 0.0, 0.0
    for _ in range(_MOST_STEPS):
        m = m + 1.0
        first = a + 2.0 * m - 1.0
        last = a + 2.0 * m + 1.0
        lead = 1.0 if m == 1.0 else a + m - 1.0
        above = lead * ((a + b + m - 1.0) / first * x) * ((b - m) / first * x) * m
        below = m + m * (b - m) * x / first + (a + m) * (1.0 - excess + m * (1.0 + y)) / last
        d = 1.0 / _nonzero(below + above * d)
        c = _nonzero(below + above / c)
        value = value * (c * d)
        if abs(c * d - 1.0) <= _EPSILON:
            return value
    return np.nan


def _slope_of_fraction(a, b, x, excess, da, db):
    """The derivative of the logarithm of `_fraction` as a grows by `da` and b by `db`: carried along in its method."""
    y = 1.0 - x
    start = 1.0 - excess
    value = _nonzero(start / (a + 1.0))
    grows = da * y - db * x
    slope = (grows - da * start / (a + 1.0)) / (a + 1.0)
    c, c_slope, d, d_slope, m = value, slope, 0.0, 0.0, 0.0
    slope = slope / value
    for _ in range(_MOST_STEPS):
        m = m + 1.0
        first = a + 2.0 * m - 1.0
        last = a + 2.0 * m + 1.0
        lead = 1.0 if m == 1.0 else a + m - 1.0
        lead_slope = 0.0 if m == 1.0 else da
        one, other = (a + b + m - 1.0) / first * x, (b - m) / first * x
        above = lead * one * other * m
        grown = (da + db) / first * x * other + one * (db / first * x)
        above_slope = m * (lead_slope * one * other + lead * (grown - 2.0 * da / first * one * other))
        line = start + m * (1.0 + y)
        below = m + m * (b - m) * x / first + (a + m) * line / last
        below_slope = (
            m * x / first * (db - (b - m) / first * da) + (da * line + (a + m) * (grows - line / last * da)) / last
        )
        d_slope = below_slope + above_slope * d + above * d_slope
        d = 1.0 / _nonzero(below + above * d)
        d_slope = -d_slope * d * d
        c_slope = below_slope + (above_slope - above * c_slope / c) / c
        c = _nonzero(below + above / c)
        change = c_slope / c + d_slope / d
        slope = slope + change
        if abs(c * d - 1.0) <= _EPSILON and abs(change) <= _EPSILON * abs(slope):
            return slope
    return np.nan


def _is_outside(a, b, x):
    """Whether the function is known without a fraction, or undefined."""
    return not (a > 0.0) or not (b > 0.0) or not (x > 0.0) or not (x < 1.0) or a == np.inf or b == np.inf


def _limit(a, b, x):
    """I(a, b, x) where it needs no fraction."""
    if not (a >= 0.0) or not (b >= 0.0) or not (x >= 0.0) or not (x <= 1.0):
        return np.nan
    if (a == 0.0 and b == 0.0) or (a == np.inf and b == np.inf):
        return np.nan
    if x == 0.0 or x == 1.0:
        return x
    return 1.0 if a == 0.0 or b == np.inf else 0.0


def betainc(a, b, x):
    """The regularized incomplete beta function I(a, b, x)."""
    if _is_outside(a, b, x):
        return _limit(a, b, x)
    weight = beta_weight(a, b, x)
    excess = _excess(a, b, x)
    turns = x > (a + 1.0) / (a + b + 2.0)
    if not (weight > 0.0):
        return 1.0 - weight if turns else weight
    if not turns:
        return weight / a / _fraction(a, b, x, excess)
    rest = weight / b / _fraction(b, a, 1.0 - x, -excess)
    # Little is left of 1 where b is small and x not near 1: there the slower fraction keeps the digits.
    if rest > 0.9 and x < 0.9999:
        return weight / a / _fraction(a, b, x, excess)
    return 0.0 if rest > 1.0 else 1.0 - rest


def _slope(a, b, x, excess, da, db):
    """The derivative of I(a, b, x) as a grows by `da` and b by `db`, by the fraction for x itself."""
    weight = beta_weight(a, b, x)
    if not (weight > 0.0):
        return weight
    of_both = _digamma(a + b)
    of_weight = da * (_log(x) - _digamma(a + 1.0) + of_both) + db * (_log1p(-x) - _digamma(b) + of_both)
    return weight / a / _fraction(a, b, x, excess) * (of_weight - _slope_of_fraction(a, b, x, excess, da, db))


def _slope_either(a, b, x, da, db):
    """As `_slope`, by the fraction that converges faster; 0 or NaN where the function needs none."""
    if _is_outside(a, b, x):
        return np.nan if not (a > 0.0) or not (b > 0.0) else 0.0 * _limit(a, b, x)
    excess = _excess(a, b, x)
    if x > (a + 1.0) / (a + b + 2.0):
        return -_slope(b, a, 1.0 - x, -excess, db, da)
    return _slope(a, b, x, excess, da, db)


def betainc_slope_a(a, b, x):
    """The derivative of I(a, b, x) in a (Boik and Robison-Cox 1998, "Derivatives of the incomplete beta function")."""
    return _slope_either(a, b, x, 1.0, 0.0)


def betainc_slope_b(a, b, x):
    """The derivative of I(a, b, x) in b."""
    return _slope_either(a, b, x, 0.0, 1.0)
