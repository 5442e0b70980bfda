"""Hurwitz's zeta function of one element, as generated kernels call it; it runs in Python as it is. In float64."""

import numpy as np

from ..codegen.vector_math.functions import SPECIAL_MATH, VECTOR_MATH

_pow = VECTOR_MATH["pow", "float64"]
_zeta_rest = SPECIAL_MATH["zeta_rest"]


def _sum_from(s, q):
    """The sum of (q + n) ** -s over n >= 0, for q > 0 and s > 1: some terms, then Euler and Maclaurin's formula."""
    if q > 1e8:
        return (1.0 / (s - 1.0) + 0.5 / q) * _pow(q, 1.0 - s)
    total, a = 0.0, q
    for _ in range(9):
        term = _pow(a, -s)
        total = total + term
        a = a + 1.0
        if term <= 1e-17 * total or total == np.inf:
            return total
    return total + _zeta_rest(s, a)


def zeta(s, q):
    """The sum of (q + n) ** -s over n >= 0: infinite at s = 1 and at poles, NaN below s = 1.

    For q below 0 and a whole s it is that of the fraction of q, with the terms between.
    """
    if s == 1.0:
        return np.inf
    if not (s > 1.0) or q != q:
        return np.nan
    if q > 0.0:
        return 0.0 if q == np.inf else (_pow(q, -s) if s == np.inf else _sum_from(s, q))
    if q == np.floor(q):
        return np.inf
    if s != np.floor(s) or s == np.inf:
        return np.nan
    beyond = -q - np.floor(-q)
    between = _sum_from(s, beyond) - _sum_from(s, 1.0 - q)
    half = 0.5 * s
    sign = 1.0 if half == np.floor(half) else -1.0
    return _sum_from(s, 1.0 - beyond) + sign * between
