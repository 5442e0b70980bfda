"""What Hurwitz's zeta function is beyond its first terms, of float64."""

from __future__ import annotations

from .formats import Format
from .powers import pow_f64
from .traced_numbers import Number

_BERNOULLI = (
    0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07, 2.08767569878681e-08,
    -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13, 8.586062056277845e-15,
    -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812525e-19,
)  # fmt: skip
"""B(2 k) / (2 k)!, k = 1, 2, ..."""


def zeta_rest(s: Number, a: Number, f: Format) -> Number:
    """The sum of (a + n) ** -s over n >= 0, for a >= 9 and s > 1, by Euler and Maclaurin's formula."""
    last = pow_f64(a, -s, f)
    reciprocal = 1.0 / a
    square = reciprocal * reciprocal
    factor = s * reciprocal
    total = 0.5 + 0.0 * a
    for k, coefficient in enumerate(_BERNOULLI):
        total = total + factor * coefficient
        factor = factor * ((s + float(2 * k + 1)) * (s + float(2 * k + 2)) * square)
    return last * (a / (s - 1.0) + total)
