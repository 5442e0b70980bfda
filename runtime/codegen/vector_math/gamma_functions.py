"""Gamma functions of float64: their logarithm, its derivative, and what sums and products of many of them need.

float32 is computed by them too, and rounded once. A polynomial without a source is a Chebyshev series, to all digits of
float64, as powers of its variable.
"""

from __future__ import annotations

from math import inf, nan

from .exponentials import exp
from .formats import Format, polynomial
from .logarithms import log
from .powers import pow_f64
from .traced_numbers import Number, fabs, fma, rint, select

_STIRLING = (
    0.08333333333333055, -0.002777777777594679, 0.0007936507896906091, -0.0005952365956933203,
    0.0008414714758692273, -0.0018904619112537744, 0.005067585374233633,
)  # fmt: skip
"""x (log Γ(x) - ((x - 1/2) log x - x + log(2 π) / 2)), of 1 / x², x >= 8."""
_HALF_LOG_TAU = 0.9189385332046728

_LGAMMA = (
    0.42278433509846713, -0.1003173016743539, 0.032965000621156974, -0.012384192193374355, 0.004998641164623283,
    -0.0021081308338291313, 0.0009153769241238952, -0.0004057073999387517, 0.00018255261441838105,
    -8.30950999467849e-05, 3.81690832831345e-05, -1.76618554743359e-05, 8.221205092155423e-06,
    -3.846514242663473e-06, 1.8114769634727658e-06, -8.554816957122729e-07, 3.95720794275161e-07,
    -1.861315818147291e-07, 1.0444285443279689e-07, -5.2038665332275675e-08, 5.68873795385758e-09,
    -7.860744687083056e-10, 1.6327287432845006e-08, -8.952022836709702e-09, -4.358862409072515e-09,
    2.4694237633377504e-09, 1.5818126337371086e-09, -8.190037783551156e-10,
)  # fmt: skip
"""log Γ(2 + y) / (y (1 + y)), -1 <= y <= 1."""

_GAMMA = (
    0.886226925452758, 0.01616919872444243, 0.10370336342207546, -0.01341185057058972, 0.009040334940280947,
    -0.0024225953845462196, 0.0009157859972898092, -0.0002968901194302888, 0.00010092814881772948,
    -3.363759801199556e-05, 1.1252464319176403e-05, -3.75493051598019e-06, 1.2528146115226586e-06,
    -4.17965252905206e-07, 1.393836052045693e-07, -4.620923388173185e-08, 1.5383437137601306e-08,
    -5.41944370647892e-09, 1.8224856202885499e-09, -4.0310018263820055e-10, 1.2766019342198785e-10,
    -1.2431754529047764e-10, 4.265918684193356e-11,
)  # fmt: skip
"""Γ((t + 3) / 2), -1 <= t <= 1."""

_DIGAMMA = (
    0.9510558760318328, -0.2118137106407303, 0.06013562106019684, -0.018550615381735008, 0.005936795278301761,
    -0.0019350666648613071, 0.0006368880303865817, -0.00021074841138175561, 6.995018825112794e-05,
    -2.3258242519113285e-05, 7.741234508636364e-06, -2.578093954045772e-06, 8.589060721930695e-07,
    -2.863161166883193e-07, 9.543298288278275e-08, -3.162911147408454e-08, 1.0527692435026686e-08,
    -3.7083753242807277e-09, 1.2469984616707403e-09, -2.7580994814377e-10, 8.734528429142953e-11,
    -8.50550766013261e-11, 2.918622732168261e-11,
)  # fmt: skip
"""ψ(x) / (x - root), x = (t + 3) / 2, -1 <= t <= 1."""
_DIGAMMA_ROOT = (1.4616321449683622, 9.549995429965697e-17)

_DIGAMMA_TAIL = (
    0.083333333333325, -0.008333333332790429, 0.003968253965514721, -0.00416666551423006, 0.007575462384502238,
    -0.021051291603369535, 0.08003408238313212, -0.29962070212556263,
)  # fmt: skip
"""x² (log x - 1 / (2 x) - ψ(x)), of 1 / x², x >= 8."""

_SIN_PI = (
    1.0, -1.6449340668482264, 0.8117424252833394, -0.19075182412149658, 0.026147847805557536,
    -0.0023460808955200734, 0.0001484278416841416, -6.972100313670779e-06, 2.4503008901533465e-07,
)  # fmt: skip
"""sin(π r) / (π r), of r², |r| <= 1/2."""

_COT_PI = (
    1.0, -3.2898681336964573, -2.1646464674208077, -2.0346861241641303, -2.0081546987904324, -2.001989722378109,
    -2.000476423416816, -2.000421039745288, -1.9960092685372317, -2.039193955912416, -1.7219021825365581,
    -3.430654274134883, 3.236152442968446, -15.093491370628543, 18.570223345367634, -18.487265483285295,
)  # fmt: skip
"""π r cot(π r), of r², |r| <= 1/2."""

_LOG_REST = (
    0.3333333333333333, 0.19999999999999757, 0.14285714285801707, 0.11111111098926833, 0.09090909960220453,
    0.07692271603832289, 0.0666759707695605, 0.05867041087435821, 0.05423343583100272, 0.037428719610706894,
    0.07821056687403345,
)  # fmt: skip
"""(atanh(s) / s - 1) / s², of s², |s| <= 1/3."""


def stirling(x: Number, f: Format) -> Number:
    """log Γ(x) - ((x - 1/2) log x - x + log(2 π) / 2) for x >= 8: Stirling's series."""
    reciprocal = 1.0 / x
    return reciprocal * polynomial(reciprocal * reciprocal, _STIRLING)


def log1p_rest(x: Number, f: Format) -> Number:
    """log(1 + x) - x for |x| <= 1/2, with all digits near 0: -x s + 2 (atanh(s) - s), s = x / (2 + x)."""
    s = x / (2.0 + x)
    z = s * s
    return s * (2.0 * z * polynomial(z, _LOG_REST) - x)


def _down_to(limit: float, a: Number, f: Format) -> tuple[Number, list[tuple[Number, Number]]]:
    """a less the 1s that bring it below `limit` from below 8, and for each whether it is taken and what is left."""
    steps: list[tuple[Number, Number]] = []
    for _ in range(8 - int(limit)):
        taken = a >= limit
        a = select(taken, a - 1.0, a)
        steps.append((taken, a))
    return a, steps


def lgamma1p(a: Number, f: Format) -> Number:
    """log Γ(1 + a) for 0 <= a < 1, with all digits near 0."""
    y = a - 1.0
    return y * a * polynomial(y, _LGAMMA)


def lgamma(x: Number, f: Format) -> Number:
    """log |Γ(x)|, within a few ulp for x > 0.

    From below 8 products lead to a polynomial about 1 and 2, which has the zeros there; above is Stirling's series, and
    below 0 Euler's reflection.
    """
    a = fabs(x)
    small, near = a < 1.0, a < 8.0
    rest, steps = _down_to(3.0, a, f)
    product = select(near, 1.0, a)
    for taken, left in steps:
        product = select(near & taken, product * left, product)
    y = select(small, a, rest - 1.0) - 1.0
    log_a = log(select(small, a, product), f)
    of_small = y * select(small, a, 1.0 + y) * polynomial(y, _LGAMMA) + select(small, -log_a, log_a)
    of_large = (a - 0.5) * (log_a - 1.0) + (stirling(a, f) + (_HALF_LOG_TAU - 0.5))
    above = select(near, of_small, of_large)
    r = a - rint(a)
    reflected = -log(a * fabs(r) * polynomial(r * r, _SIN_PI), f) - above
    below = select(a < 1e-20, -log_a, select(r == 0.0, inf, reflected))
    return select(x < 0.0, select(x == -inf, x, below), above)


def gamma(x: Number, f: Format) -> Number:
    """Γ(x), within a few ulp for x > 0. As `lgamma`; a power is taken in two halves, which do not overflow."""
    a = fabs(x)
    rest, steps = _down_to(2.0, a, f)
    product = select(a < 1.0, 1.0 / a, 1.0)
    for taken, left in steps:
        product = select(taken, product * left, product)
    r = select(a < 1.0, a + 1.0, rest)
    of_small = product * polynomial(fma(r, 2.0, -3.0), _GAMMA)
    bounded = select(a > 200.0, 200.0, a)
    power = pow_f64(bounded, 0.5 * bounded - 0.25, f)
    of_large = power * (exp(-bounded, f) * exp(stirling(a, f), f) * _ROOT_TAU) * power
    above = select(a < 8.0, of_small, of_large)
    whole = rint(a)
    r = a - whole
    half = 0.5 * whole
    sine = a * r * polynomial(r * r, _SIN_PI) * above
    below = select(rint(half) == half, -1.0, 1.0 + 0.0 * a) / sine
    below = select((r == 0.0) | (a == inf), nan, below)
    return select(a < 1e-300, 1.0 / x, select(x < 0.0, below, above))


_ROOT_TAU = 2.5066282746310002


def digamma(x: Number, f: Format) -> Number:
    """The derivative ψ(x) of log Γ(x), within a few ulp but near the zeros below 0.

    From below 8 sums of fractions lead to a polynomial about the zero between 1 and 2; above is the asymptotic series,
    and below 0 the reflection.
    """
    a = fabs(x)
    rest, steps = _down_to(2.0, a, f)
    above_line, below_line = 0.0 * rest, 0.0 * rest + 1.0
    for taken, left in steps:
        above_line = select(taken, fma(above_line, left, below_line), above_line)
        below_line = select(taken, below_line * left, below_line)
    small = a < 1.0
    fraction = select(small, -1.0, above_line) / select(small, a, below_line)
    r = select(small, a + 1.0, rest)
    of_small = fma((r - _DIGAMMA_ROOT[0]) - _DIGAMMA_ROOT[1], polynomial(fma(r, 2.0, -3.0), _DIGAMMA), fraction)
    reciprocal = 1.0 / a
    z = reciprocal * reciprocal
    of_large = log(a, f) - fma(z, polynomial(z, _DIGAMMA_TAIL), 0.5 * reciprocal)
    above = select(a < 8.0, of_small, of_large)
    r = a - rint(a)
    cotangent = select(r == 0.0, nan, polynomial(r * r, _COT_PI) / r)
    below = above + reciprocal + cotangent
    return select(a < 1e-300, -1.0 / x, select(x < 0.0, below, above))
