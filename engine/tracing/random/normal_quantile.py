"""The distribution function of the normal distribution, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ..tracer import emit

# Wichura 1988, "Algorithm AS 241: The percentage points of the normal distribution", PPND16: coefficients of numerators
# and denominators, the constant ones first, about the middle, in the tails and far out.
_MIDDLE = (
    (
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
        4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
    ),
    (
        1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
    ),
)  # fmt: skip
_TAILS = (
    (
        1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
        1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
    ),
)  # fmt: skip
_FAR = (
    (
        6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
        2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
    ),
)  # fmt: skip


def normal_cdf(x: Any) -> Any:
    """The probability that a normal number with mean 0 and variance 1 is at most `x`, an array of floats."""
    return emit(ew.ndtr, x)


def normal_quantile(p: Any) -> Any:
    """The x at which `normal_cdf(x)` is p, which is above 0 and below 1; to 1e-15 in float64."""
    q = p - 0.5
    middle = q * _ratio(_MIDDLE, 0.180625 - q * q)
    r = xp.sqrt(-xp.log(xp.where(q < 0, p, 1 - p)))
    tail = xp.where(r <= 5, _ratio(_TAILS, r - 1.6), _ratio(_FAR, r - 5))
    return xp.where(xp.abs(q) <= 0.425, middle, xp.where(q < 0, -tail, tail))


def _ratio(coefficients: tuple[Sequence[float], Sequence[float]], x: Any) -> Any:
    above, below = (_polynomial(row, x) for row in coefficients)
    return above / below


def _polynomial(row: Sequence[float], x: Any) -> Any:
    value = xp.full_like(x, row[-1])
    for coefficient in reversed(row[:-1]):
        value = value * x + coefficient
    return value
