"""Spence's function of float64, the dilogarithm of 1 - x."""

from __future__ import annotations

from math import inf, nan

from .formats import Format, polynomial
from .logarithms import log
from .traced_numbers import Number, select

_DILOGARITHM = (
    1.0, -0.25000000000000006, 0.111111111111107, -0.062499999999980245, 0.040000000000911494,
    -0.027777777780590897, 0.02040816318610372, -0.015624999813842551, 0.012345682578972164,
    -0.010000006924024267, 0.008264367544791896, -0.006944284327138347, 0.005918785709556669,
    -0.005104479813804506, 0.00442596552551836, -0.0038809862456867794, 0.0036026404528300884,
    -0.003266609611341265, 0.0020270281297707755, -0.0016203291769464117, 0.004821903441968069,
    -0.004919611132753194, -0.0035089417341853386, 0.003988410056916644, 0.007468206488212243,
    -0.007395180796200487,
)  # fmt: skip
"""-Li2(-w) / w, of w, |w| <= 1/2: a Chebyshev series, as powers."""
_SIXTH_OF_PI_SQUARED = 1.6449340668482264


def spence(x: Number, f: Format) -> Number:
    """The integral of -log(t) / (t - 1) from 1 to x, within a few ulp but near its zero; as in Cephes, by its values at
    1 - x and 1 / x.
    """
    large, above = x > 2.0, x > 1.5
    reduced = select(large, 1.0 / x, x)
    small = reduced < 0.5
    w = select(small, -reduced, select(above, 1.0 / x - 1.0, reduced - 1.0))
    y = -w * polynomial(w, _DILOGARITHM)
    logarithm = log(reduced, f)
    turned = _SIXTH_OF_PI_SQUARED - logarithm * log(1.0 - reduced, f) - y
    y = select(small, turned, y)
    y = select(above, -0.5 * logarithm * logarithm - y, y)
    return select(x == 0.0, _SIXTH_OF_PI_SQUARED, select((x > 0.0) & (x < inf), y, nan))
