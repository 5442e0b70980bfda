"""Functions of the normal distribution's tail in float64: erfc, erfcx, log_ndtr, and inverses of erf and ndtr."""

from __future__ import annotations

from math import inf, nan

from .error_functions import erf
from .exponentials import exp_reduced, reduce_exp, scale
from .formats import Format, clamp, odd, polynomial
from .logarithms import log, log1p
from .traced_numbers import Number, fabs, fma, select, sqrt

_ERFCX = (
    1.2769783815525286, -0.0927638265857459, -0.1660303976152893, 0.16405128003342928, -0.0542200009920453,
    -0.008034015081932876, 0.008722653875957822, 0.0012713389573662214, -0.0014568139503473624,
    -0.00045434074894386257, 0.00020636723517872423, 0.00015103869726448927, -1.5099527614394314e-06,
    -3.642151663243403e-05, -1.3492455251362487e-05, 3.705985766551365e-06, 5.2220617485138425e-06,
    1.5124137282484732e-06, -6.894285538176785e-07, -8.45008286518437e-07, -2.7576898313032905e-07,
    1.4535719134484546e-07, 1.7918417592310198e-07, 2.543628043868602e-08, -4.491118911211227e-08,
    -1.6933957234843896e-08, 4.712587402243125e-09, 2.5422285435624923e-09,
)  # fmt: skip
"""(1 + 2 a) exp(a²) erfc(a), of (a - 2) / (a + 2), a >= 0."""
_ROOT_HALF = 0.7071067811865476


def _erfcx_above(a: Number) -> Number:
    """exp(a²) erfc(a) for a >= 0: the form is that of Shepherd and Laframboise 1981."""
    return polynomial(fma(-4.0, 1.0 / (a + 2.0), 1.0), _ERFCX) / fma(2.0, a, 1.0)


def _exp_of_square(a: Number, sign: float, f: Format) -> Number:
    """exp(sign a²), |a| <= 40, with what the square loses in rounding."""
    square = a * a
    m, r = reduce_exp(sign * square, f)
    return scale(exp_reduced(r + sign * fma(a, a, -square), f), m, f)


def erfc(x: Number, f: Format) -> Number:
    """1 - erf(x), within a few ulp also where it is small."""
    a = clamp(fabs(x), 0.0, 28.0)
    tail = _exp_of_square(a, -1.0, f) * _erfcx_above(a)
    return select(a < 0.5, 1.0 - erf(x, f), select(x < 0.0, 2.0 - tail, tail))


def erfcx(x: Number, f: Format) -> Number:
    """exp(x²) erfc(x), within a few ulp."""
    above = _erfcx_above(fabs(x))
    below = 2.0 * _exp_of_square(clamp(fabs(x), 0.0, 26.7), 1.0, f) - above
    return select(x < 0.0, select(x < -26.7, inf, below), above)


def log_ndtr(x: Number, f: Format) -> Number:
    """log ndtr(x), within a few ulp also where it is large or small."""
    a = fabs(x) * _ROOT_HALF
    tail = log(0.5 * _erfcx_above(a), f) - 0.5 * x * x
    near = log1p(-0.5 * erfc(x * _ROOT_HALF, f), f)
    return select(x < -1.0, select(x == -inf, x, tail), near)


def ndtri(p: Number, f: Format) -> Number:
    """The x at which ndtr(x) is p; NaN for what is no probability."""
    q = p - 0.5
    x = _quantile(q, select(q < 0.0, p, 1.0 - p), f)
    return select(p == 0.0, -inf, select(p == 1.0, inf, select((p > 0.0) & (p < 1.0), x, nan)))


def erfinv(x: Number, f: Format) -> Number:
    """The y at which erf(y) is x; NaN beyond 1."""
    a = fabs(x)
    y = _ROOT_HALF * _quantile(0.5 * a, 0.5 * (1.0 - a), f)
    return odd(select(a == 1.0, inf, select(a < 1.0, y, nan)), x, f)


def erfcinv(x: Number, f: Format) -> Number:
    """The y at which erfc(y) is x; NaN for what is not between 0 and 2."""
    return -_ROOT_HALF * ndtri(0.5 * x, f)


def _quantile(q: Number, tail: Number, f: Format) -> Number:
    """The x at which ndtr(x) is 1/2 + q, given the probability beyond it. Wichura 1988, "Algorithm AS 241: The
    percentage points of the normal distribution", PPND16.
    """
    middle = fabs(q) <= 0.425
    r = sqrt(-log(select(middle, 0.5, tail), f))
    far = r > 5.0
    z = select(middle, 0.180625 - q * q, select(far, r - 5.0, r - 1.6))
    above, below = (
        select(middle, polynomial(z, m), select(far, polynomial(z, o), polynomial(z, t)))
        for m, t, o in zip(_MIDDLE, _TAIL, _FAR)
    )
    ratio = above / below
    return select(middle, q * ratio, select(q < 0.0, -ratio, ratio))


# Coefficients of numerators and denominators, the constant ones first, about the middle, in the tails and far out.
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
_TAIL = (
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
