"""The incomplete gamma functions of one element, and their derivatives, as generated kernels call them.

They run in Python as they are, and become part of each kernel that calls them. All numbers are float64.
"""

import numpy as np

from ..codegen.vector_math.functions import SPECIAL_MATH, VECTOR_MATH

_exp, _expm1, _log, _log1p, _pow = (VECTOR_MATH[n, "float64"] for n in ("exp", "expm1", "log", "log1p", "pow"))
_lgamma, _lgamma1p, _gamma = (SPECIAL_MATH[name] for name in ("lgamma", "lgamma1p", "gamma"))
_digamma, _stirling, _log1p_rest = (SPECIAL_MATH[name] for name in ("digamma", "stirling", "log1p_rest"))
_erfc = SPECIAL_MATH["erfc"]

_MOST_TERMS = 1000000
_LARGE = 1e5  # from here on an expansion takes the place of sums, which have about 9 sqrt(a) terms
_LARGEST = 1e10  # up to here sums end before the most terms
_TINY = 1e-300
_EPSILON = 1.1e-16


def _deviance(a, x):
    """`log(x / a) - (x - a) / a`, with all digits where x is near a."""
    u = (x - a) / a
    if abs(u) < 0.5:
        return _log1p_rest(u)
    return _log(x / a) - u


def gamma_weight(a, x):
    """`x ** a * exp(-x) / gamma(a + 1)`, for finite a, x > 0: of large a by its distance from x = a (Loader 2000, "Fast
    and accurate computation of binomial probabilities").
    """
    if a < 8.0:
        return _pow(x, a) * _exp(-x) / _gamma(a + 1.0) if x < 1000.0 else 0.0
    return _exp(a * _deviance(a, x)) * _exp(-_stirling(a)) / np.sqrt(6.283185307179586 * a)


def gamma_density(a, x):
    """`x ** (a - 1) * exp(-x) / gamma(a)`: the derivative of `gammainc` in x."""
    if not (a >= 0.0) or not (x >= 0.0):
        return np.nan
    if a == 0.0 or x == np.inf or a == np.inf:
        return np.nan if a == x or a == x + 1.0 else 0.0
    if x == 0.0:
        return 0.0 if a > 1.0 else (1.0 if a == 1.0 else np.inf)
    if a < 8.0:
        return _pow(x, a - 1.0) * _exp(-x) / _gamma(a) if x < 1000.0 else 0.0
    return gamma_weight(a, x) * (a / x)


def _sum_of_series(a, x):
    """The sum of x ** n / ((a + 1) ... (a + n))."""
    term, total, n = 1.0, 1.0, a
    for _ in range(_MOST_TERMS):
        n = n + 1.0
        term = term * (x / n)
        total = total + term
        if term <= _EPSILON * total:
            break
    return total


def _slope_of_series(a, x):
    """The derivative of `_sum_of_series` in a."""
    term, slope, total, n, fall = 1.0, 0.0, 1.0, a, 0.0
    for _ in range(_MOST_TERMS):
        n = n + 1.0
        term = term * (x / n)
        fall = fall + 1.0 / n
        total = total + term
        slope = slope - term * fall
        if term * fall <= _EPSILON * -slope and term <= _EPSILON * total:
            break
    return slope


def _fraction(a, x):
    """Legendre's continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), by Lentz's method."""
    b = x + 1.0 - a
    c = 1.0 / _TINY
    d = 1.0 / b
    value, i = d, 0.0
    for _ in range(_MOST_TERMS):
        i = i + 1.0
        numerator = i * (a - i)
        b = b + 2.0
        d = numerator * d + b
        d = 1.0 / (_TINY if abs(d) < _TINY else d)
        c = b + numerator / c
        c = _TINY if abs(c) < _TINY else c
        value = value * (c * d)
        if abs(c * d - 1.0) <= _EPSILON:
            break
    return value


def _slope_of_fraction(a, x):
    """The derivative of `_fraction` in a: what Lentz's method computes, and its derivatives beside it."""
    b = x + 1.0 - a
    c = 1.0 / _TINY
    d = 1.0 / b
    value, i = d, 0.0
    c_slope, d_slope = 0.0, d * d
    slope = d_slope
    for _ in range(_MOST_TERMS):
        i = i + 1.0
        numerator = i * (a - i)
        b = b + 2.0
        below = numerator * d + b
        below = _TINY if abs(below) < _TINY else below
        d_slope = -(i * d + numerator * d_slope - 1.0) / (below * below)
        d = 1.0 / below
        c_slope = -1.0 + i / c - numerator * c_slope / c / c
        c = b + numerator / c
        c = _TINY if abs(c) < _TINY else c
        change = c_slope * d + c * d_slope
        slope = slope * (c * d) + value * change
        value = value * (c * d)
        if abs(c * d - 1.0) <= _EPSILON and abs(value * change) <= _EPSILON * abs(slope):
            break
    return slope


def _of_large(a, x, sign):
    """P(a, x) for a sign of 1, Q(a, x) for -1, for large a. Temme 1979, "The asymptotic expansion of the incomplete
    gamma functions": uniform in x; where x is not near a, nothing is left.
    """
    u = (x - a) / a
    if abs(u) > 0.2:
        return 1.0 if (u > 0.0) == (sign > 0.0) else 0.0
    half_square = -_log1p_rest(u)
    eta = np.copysign(np.sqrt(2.0 * half_square), u)
    if abs(u) < 0.05:
        first = -0.3333333333333333 + eta * (0.08333333333333333 + eta * (-0.014814814814814815 + eta * (
            0.0011574074074074074 + eta * (0.0003527336860670194 + eta * -0.00017875514403292181))))  # fmt: skip
        second = -0.001851851851851852 + eta * (-0.003472222222222222 + eta * 0.0026455026455026454)
    else:
        first = 1.0 / u - 1.0 / eta
        second = 1.0 / (eta * eta * eta) - (1.0 / (u * u) + 1.0 / u + 0.08333333333333333) / u
    rest = _exp(-a * half_square) / np.sqrt(6.283185307179586 * a) * (first + second / a)
    return 0.5 * _erfc(-sign * eta * np.sqrt(0.5 * a)) - sign * rest


def _lower(a, x):
    if a > _LARGE:
        return _of_large(a, x, 1.0)
    return gamma_weight(a, x) * _sum_of_series(a, x)


def _upper(a, x):
    """1 - P(a, x) with all digits: by a continued fraction, and for small x and a by the power series of the rest."""
    if a > _LARGE:
        return _of_large(a, x, -1.0)
    if x > 1.1:
        return 1.0 - _lower(a, x) if x < a else gamma_weight(a, x) * a * _fraction(a, x)
    if (x <= 0.5 and -0.4 / _log(x) < a) or (x > 0.5 and 1.1 * x < a):
        return 1.0 - _lower(a, x)
    log_gamma = _lgamma1p(a) if a < 1.0 else _lgamma(a + 1.0)
    exponent = a * _log(x) - log_gamma
    term, total, n = 1.0, 0.0, 0.0
    for _ in range(_MOST_TERMS):
        n = n + 1.0
        term = term * (-x / n)
        total = total + term / (a + n)
        if abs(term) <= _EPSILON * abs(total) * (a + n):
            break
    return -_expm1(exponent) - a * _exp(exponent) * total


def _is_outside(a, x):
    """Whether the functions are known without a sum, or undefined."""
    return not (a > 0.0) or not (x > 0.0) or a == np.inf or x == np.inf


def _limit(a, x):
    """P(a, x) where it needs no sum."""
    if not (a >= 0.0) or not (x >= 0.0) or a == x:
        return np.nan
    return 1.0 if a == 0.0 or x == np.inf else 0.0


def gammainc(a, x):
    """The regularized lower incomplete gamma function P(a, x)."""
    if _is_outside(a, x):
        return _limit(a, x)
    if x <= 1.0 or x <= a:
        return _lower(a, x)
    return 1.0 - _upper(a, x)


def gammaincc(a, x):
    """The regularized upper incomplete gamma function Q(a, x) = 1 - P(a, x)."""
    if _is_outside(a, x):
        return 1.0 - _limit(a, x)
    return _upper(a, x)


def gammainc_slope(a, x):
    """The derivative of P(a, x) in a: that of the series, or of the continued fraction; NaN where they have too many
    terms.
    """
    if _is_outside(a, x):
        return np.nan if a <= 0.0 else 0.0 * _limit(a, x)
    if a > _LARGEST or x > 2.0 * _LARGEST:
        return np.nan
    weight = gamma_weight(a, x)
    if x <= 1.0 or x <= a:
        return weight * (_sum_of_series(a, x) * (_log(x) - _digamma(a + 1.0)) + _slope_of_series(a, x))
    return -weight * a * (_fraction(a, x) * (_log(x) - _digamma(a)) + _slope_of_fraction(a, x))
