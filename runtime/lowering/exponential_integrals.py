"""Exponential integrals of one element, as generated kernels call them; they run in Python as they are. In float64."""

import numpy as np

from ..codegen.vector_math.functions import SPECIAL_MATH, VECTOR_MATH

_exp, _log, _pow = (VECTOR_MATH[name, "float64"] for name in ("exp", "log", "pow"))
_gamma, _digamma = SPECIAL_MATH["gamma"], SPECIAL_MATH["digamma"]

_MOST_TERMS = 10000
_EPSILON = 1.1e-16


def _fraction(n, x):
    """exp(x) E_n(x), x > 1: a continued fraction, by Lentz's method (Press and others, "Numerical Recipes")."""
    b = x + n
    c, d = 1e300, 1.0 / b
    value, i = d, 0.0
    for _ in range(_MOST_TERMS):
        i = i + 1.0
        above = -i * (n - 1.0 + i)
        b = b + 2.0
        d = 1.0 / (above * d + b)
        c = b + above / c
        value = value * (c * d)
        if abs(c * d - 1.0) <= _EPSILON:
            break
    return value


def _series(n, x):
    """E_n(x), 0 < x <= 1: a power series, with a logarithm in the place of one term."""
    term, place = 1.0, 1.0 - n
    total = 0.0 if n == 1.0 else 1.0 / place
    k = 0.0
    for _ in range(_MOST_TERMS):
        k = k + 1.0
        term = term * (-x / k)
        place = place + 1.0
        if place != 0.0:
            total = total + term / place
            if abs(term) <= _EPSILON * abs(total * place):
                break
    factor = _pow(-x, n - 1.0) / _gamma(n) if n < 170.0 else 0.0
    return factor * (_digamma(n) - _log(x)) - total


def expn(n, x):
    """The exponential integral E_n(x), for whole n >= 0 and x >= 0."""
    if not (n >= 0.0) or n != np.floor(n) or not (x >= 0.0) or n == np.inf:
        return np.nan
    if x == np.inf:
        return 0.0
    if x == 0.0:
        return 1.0 / (n - 1.0) if n > 1.0 else np.inf
    if n == 0.0:
        return _exp(-x) / x
    return _exp(-x) * _fraction(n, x) if x > 1.0 else _series(n, x)
