"""Special functions, element by element: gamma, beta, zeta and Bessel functions, and the tails of the normal one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import NoDerivative, Op, VjpRule
from ..types import Array
from .elementwise import (
    FLOATS,
    abs_,
    add,
    div,
    elementwise_op,
    eq,
    exp,
    log,
    log1p,
    lt,
    mul,
    neg,
    select,
    sign,
    sub,
)


# SciPy's functions take longer to import than all of this package: only the interpreter needs them.
def _scipy(name: str) -> Callable[..., Array]:
    """The function of `scipy.special` of this name, in float64."""

    def reference(*arrays: Array) -> Array:
        from scipy import special  # pyright: ignore[reportMissingTypeStubs]

        with np.errstate(all="ignore"):
            return getattr(special, name)(*(x.astype(np.float64) for x in arrays))

    return reference


def _op(arity: int, name: str, vjp: VjpRule, doc: str, reference: Callable[..., Array] | None = None) -> Op:
    return elementwise_op(arity, name, FLOATS, reference or _scipy(name), vjp, doc, slow=True)


def _times(b: Builder, g: Value, factor: float) -> Value:
    return mul(b, g, b.full_like(g, factor))


# Gamma functions.
def _gammaln_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, digamma(b, x))


def _digamma_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, zeta(b, b.full_like(x, 2), x))


def _gamma_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, mul(b, o, digamma(b, x)))


def _zeta_vjp(b: Builder, g: Value, o: Value, s: Value, q: Value) -> tuple[NoDerivative, Value]:
    slope = mul(b, neg(b, s), zeta(b, add(b, s, b.full_like(s, 1)), q))
    return NoDerivative("zeta(x, q) has no known derivative in x"), mul(b, g, slope)


def _betaln_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    of_both = digamma(b, add(b, x, y))
    return mul(b, g, sub(b, digamma(b, x), of_both)), mul(b, g, sub(b, digamma(b, y), of_both))


def _beta_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value) -> tuple[Value, Value]:
    return _betaln_vjp(b, mul(b, g, o), o, x, y)


_unary = partial(_op, 1)
_binary = partial(_op, 2)

gammaln = _unary("gammaln", _gammaln_vjp, "the logarithm of |gamma(x)|; infinite at 0, -1, -2, ...")
digamma = _unary("digamma", _digamma_vjp, "the derivative of gammaln(x); NaN at -1, -2, ...")
gamma = _unary("gamma", _gamma_vjp, "the gamma function, the factorial of x - 1; NaN at -1, -2, ...")
zeta = _binary("zeta", _zeta_vjp, "Hurwitz's zeta function: the sum of (y + n) ** -x over n >= 0, for x > 1")
beta = _binary("beta", _beta_vjp, "the beta function, gamma(x) gamma(y) / gamma(x + y)")
betaln = _binary("betaln", _betaln_vjp, "the logarithm of |beta(x, y)|")


# Incomplete gamma functions. Their derivatives in x are densities of gamma distributions.
def _gammainc_vjp(b: Builder, g: Value, o: Value, a: Value, x: Value) -> tuple[Value, Value]:
    return mul(b, g, gammainc_slope(b, a, x)), mul(b, g, gamma_density(b, a, x))


def _gammaincc_vjp(b: Builder, g: Value, o: Value, a: Value, x: Value) -> tuple[Value, Value]:
    return _gammainc_vjp(b, neg(b, g), o, a, x)


def _log_over(b: Builder, a: Value, x: Value) -> Value:
    """The derivative of the logarithm of a gamma density in `a`."""
    return sub(b, log(b, x), digamma(b, a))


def _zero_where_none(b: Builder, density: Value, slope: Value) -> Value:
    """The density times the slope of its logarithm, 0 where there is no density: the slope may be infinite there."""
    zero = b.full_like(density, 0)
    return select(b, eq(b, density, zero), zero, mul(b, density, slope))


def _gamma_density_vjp(b: Builder, g: Value, o: Value, a: Value, x: Value) -> tuple[Value, Value]:
    one = b.full_like(x, 1)
    in_x = sub(b, div(b, sub(b, a, one), x), one)
    in_x = select(b, eq(b, a, one), neg(b, one), in_x)
    return mul(b, g, _zero_where_none(b, o, _log_over(b, a, x))), mul(b, g, _zero_where_none(b, o, in_x))


def _gammainc_slope_vjp(b: Builder, g: Value, o: Value, a: Value, x: Value) -> tuple[NoDerivative, Value]:
    slope = _zero_where_none(b, gamma_density(b, a, x), _log_over(b, a, x))
    return NoDerivative("gammainc(a, x) has no known second derivative in a"), mul(b, g, slope)


def _gamma_density(a: Array, x: Array) -> Array:
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    a, x = a.astype(np.float64), x.astype(np.float64)
    with np.errstate(all="ignore"):
        return np.exp(special.xlogy(a - 1, x) - x - special.gammaln(a))


_STEP = 1e-30
"""Of a derivative in the direction of the imaginary axis, which subtracts nothing (Squire and Trapp 1998)."""


def _gammainc_slope(a: Array, x: Array) -> Array:
    """The series for small x, Lentz's continued fraction for the rest, both of a + i h."""
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    real, x = a.astype(np.float64), x.astype(np.float64)
    a = real + 1j * _STEP
    with np.errstate(all="ignore"):
        weight = np.exp(a * np.log(x) - x - special.loggamma(a))
        series = term = 1 / a
        for n in range(1, 1000):
            term = term * x / (a + n)
            series = series + term
        b = x + 1 - a
        c, d = np.full_like(b, 1e300), 1 / b
        fraction = d
        for n in range(1, 1000):
            b = b + 2
            d = 1 / (n * (a - n) * d + b)
            c = b + n * (a - n) / c
            fraction = fraction * c * d
        below: Array = np.imag(weight * series)
        above: Array = np.imag(weight * fraction)
        return np.where(x <= np.maximum(real, 1), below, -above) / _STEP


gammainc = _binary("gammainc", _gammainc_vjp, "the regularized lower incomplete gamma function P(a, x), for a, x >= 0")
gammaincc = _binary("gammaincc", _gammaincc_vjp, "the regularized upper incomplete gamma function 1 - P(a, x)")
gamma_density = _binary(
    "gamma_density",
    _gamma_density_vjp,
    "x ** (a - 1) exp(-x) / gamma(a): the derivative of P(a, x) in x",
    _gamma_density,
)
gammainc_slope = _binary("gammainc_slope", _gammainc_slope_vjp, "the derivative of P(a, x) in a", _gammainc_slope)


# The incomplete beta function.
def _betainc_vjp(b: Builder, g: Value, o: Value, a: Value, c: Value, x: Value) -> tuple[Value, Value, Value]:
    slopes = betainc_slope_a(b, a, c, x), betainc_slope_b(b, a, c, x), beta_density(b, a, c, x)
    return mul(b, g, slopes[0]), mul(b, g, slopes[1]), mul(b, g, slopes[2])


def _logs_of_beta_density(b: Builder, a: Value, c: Value, x: Value) -> tuple[Value, Value]:
    """The derivatives of the logarithm of a beta density in its two parameters."""
    of_both = digamma(b, add(b, a, c))
    of_a = add(b, sub(b, log(b, x), digamma(b, a)), of_both)
    return of_a, add(b, sub(b, log1p(b, neg(b, x)), digamma(b, c)), of_both)


def _beta_density_vjp(b: Builder, g: Value, o: Value, a: Value, c: Value, x: Value) -> tuple[Value, ...]:
    one, zero = b.full_like(x, 1), b.full_like(x, 0)
    below, above = sub(b, a, one), sub(b, c, one)
    of_below = select(b, eq(b, below, zero), zero, div(b, below, x))
    of_above = select(b, eq(b, above, zero), zero, div(b, above, sub(b, one, x)))
    slopes = (*_logs_of_beta_density(b, a, c, x), sub(b, of_below, of_above))
    return tuple(mul(b, g, _zero_where_none(b, o, slope)) for slope in slopes)


def _betainc_slope_vjp(place: int) -> VjpRule:
    name = "ab"[place]
    none = NoDerivative(f"betainc(a, b, x) has no known second derivative in {name} and a or b")

    def vjp(b: Builder, g: Value, o: Value, a: Value, c: Value, x: Value) -> tuple[NoDerivative, NoDerivative, Value]:
        slope = _logs_of_beta_density(b, a, c, x)[place]
        return none, none, mul(b, g, _zero_where_none(b, beta_density(b, a, c, x), slope))

    return vjp


def _beta_density(a: Array, b: Array, x: Array) -> Array:
    from scipy import special  # pyright: ignore[reportMissingTypeStubs]

    a, b, x = (v.astype(np.float64) for v in (a, b, x))
    with np.errstate(all="ignore"):
        return np.exp(special.xlogy(a - 1, x) + special.xlog1py(b - 1, -x) - special.betaln(a, b))


def _betainc_slope(da: float, db: float) -> Callable[..., Array]:
    """Lentz's continued fraction of a + i h da, b + i h db; of 1 - x where that converges faster."""

    def lower(a: Array, b: Array, x: Array) -> Array:
        from scipy import special  # pyright: ignore[reportMissingTypeStubs]

        log_beta = special.loggamma(a) + special.loggamma(b) - special.loggamma(a + b)
        weight = np.exp(a * np.log(x) + b * np.log1p(-x) - log_beta) / a
        c, d = np.ones_like(weight), 1 / (1 - (a + b) * x / (a + 1))
        fraction = d
        for m in range(1, 500):
            for step in (
                m * (b - m) * x / ((a - 1 + 2 * m) * (a + 2 * m)),
                -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 1 + 2 * m)),
            ):
                d = 1 / (1 + step * d)
                c = 1 + step / c
                fraction = fraction * c * d
        return weight * fraction

    def reference(a: Array, b: Array, x: Array) -> Array:
        a, b, x = (v.astype(np.float64) for v in (a, b, x))
        turned = x > (a + 1) / (a + b + 2)
        a, b = a + 1j * _STEP * da, b + 1j * _STEP * db
        with np.errstate(all="ignore"):
            turned_or_not = np.where(turned, b, a), np.where(turned, a, b), np.where(turned, 1 - x, x)
            found: Array = np.imag(lower(*turned_or_not))
        return np.where(turned, -found, found) / _STEP

    return reference


betainc = _op(3, "betainc", _betainc_vjp, "the regularized incomplete beta function I(a, b, x), for 0 <= x <= 1")
beta_density = _op(
    3,
    "beta_density",
    _beta_density_vjp,
    "x ** (a - 1) (1 - x) ** (b - 1) / beta(a, b): the derivative of I(a, b, x) in x",
    _beta_density,
)
betainc_slope_a = _op(
    3, "betainc_slope_a", _betainc_slope_vjp(0), "the derivative of I(a, b, x) in a", _betainc_slope(1, 0)
)
betainc_slope_b = _op(
    3, "betainc_slope_b", _betainc_slope_vjp(1), "the derivative of I(a, b, x) in b", _betainc_slope(0, 1)
)


# Modified Bessel functions.
def _i0_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, i1(b, x))


def _i1_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, sub(b, i0(b, x), _over_x(b, o, x, b.full_like(x, 1))))


def _i0e_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, sub(b, i1e(b, x), mul(b, sign(b, x), o)))


def _i1e_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    ratio = _over_x(b, o, x, exp(b, neg(b, abs_(b, x))))
    return mul(b, g, sub(b, i0e(b, x), add(b, ratio, mul(b, sign(b, x), o))))


def _over_x(b: Builder, o: Value, x: Value, scale: Value) -> Value:
    """I1(x) / x times `scale`, as `o` is; near 0 by its series, so that its own derivative keeps its digits there."""
    square = mul(b, x, x)
    series = add(b, _times(b, square, 1 / 384), b.full_like(x, 1 / 16))
    series = mul(b, add(b, mul(b, square, series), b.full_like(x, 0.5)), scale)
    near = lt(b, abs_(b, x), b.full_like(x, 0.02))
    return select(b, near, series, div(b, o, select(b, near, b.full_like(x, 1), x)))


i0 = _unary("i0", _i0_vjp, "the modified Bessel function of the first kind of order 0")
i1 = _unary("i1", _i1_vjp, "the modified Bessel function of the first kind of order 1")
i0e = _unary("i0e", _i0e_vjp, "exp(-|x|) i0(x), which does not overflow")
i1e = _unary("i1e", _i1e_vjp, "exp(-|x|) i1(x), which does not overflow")


# The tails of the normal distribution, and its inverses.
def _erfc_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _times(b, exp(b, neg(b, mul(b, x, x))), -2 / math.sqrt(math.pi)))


def _erfcx_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # Far out both terms are nearly equal, and the asymptotic series keeps the digits.
    far = lt(b, b.full_like(x, 50), x)
    near = sub(b, _times(b, mul(b, x, o), 2), b.full_like(x, 2 / math.sqrt(math.pi)))
    inverse = div(b, b.full_like(x, 1), select(b, far, x, b.full_like(x, 1)))
    square = mul(b, inverse, inverse)
    series = b.full_like(x, -105 / 16)
    for coefficient in (15 / 4, -3 / 2, 1.0):
        series = add(b, mul(b, series, square), b.full_like(x, coefficient))
    series = mul(b, _times(b, square, -1 / math.sqrt(math.pi)), series)
    return mul(b, g, select(b, far, series, near))


def _erfinv_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _times(b, exp(b, mul(b, o, o)), math.sqrt(math.pi) / 2))


def _erfcinv_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return neg(b, _erfinv_vjp(b, g, o, x))


def _ndtri_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return mul(b, g, _times(b, exp(b, _times(b, mul(b, o, o), 0.5)), math.sqrt(2 * math.pi)))


def _log_ndtr_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # The density over the probability: far below 0 both are 0, but not their quotient.
    slope = div(b, b.full_like(x, math.sqrt(2 / math.pi)), erfcx(b, _times(b, x, -math.sqrt(0.5))))
    return mul(b, g, slope)


erfc = _unary("erfc", _erfc_vjp, "1 - erf(x), without loss of digits where it is small")
erfcx = _unary("erfcx", _erfcx_vjp, "exp(x ** 2) erfc(x), which does not underflow")
erfinv = _unary("erfinv", _erfinv_vjp, "the y at which erf(y) is x; NaN beyond 1")
erfcinv = _unary("erfcinv", _erfcinv_vjp, "the y at which erfc(y) is x; NaN for what is not between 0 and 2")
ndtri = _unary("ndtri", _ndtri_vjp, "the y at which ndtr(y) is x; NaN for what is no probability")
log_ndtr = _unary("log_ndtr", _log_ndtr_vjp, "the logarithm of ndtr(x), also where that is 0 after rounding")


# Integrals.
def _spence_vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    # log(x) / (1 - x); near 1 the series, so that its own derivatives keep their digits there.
    one = b.full_like(x, 1)
    d = sub(b, x, one)
    near = lt(b, abs_(b, d), b.full_like(x, 0.01))
    series = b.full_like(x, 1 / 9)
    for n in range(8, 0, -1):
        series = sub(b, b.full_like(x, 1 / n), mul(b, series, d))
    far = div(b, log(b, x), select(b, near, one, d))
    return neg(b, mul(b, g, select(b, near, series, far)))


def _expn_vjp(b: Builder, g: Value, o: Value, n: Value, x: Value) -> tuple[NoDerivative, Value]:
    one = b.full_like(n, 1)
    first = lt(b, n, one)
    below = expn(b, select(b, first, n, sub(b, n, one)), x)
    of_first = div(b, add(b, o, exp(b, neg(b, x))), x)
    slope = neg(b, mul(b, g, select(b, first, of_first, below)))
    return NoDerivative("expn(n, x) has no derivative in n"), slope


def _expn(n: Array, x: Array) -> Array:
    whole = (n == np.floor(n)) & np.isfinite(n)
    return np.where(whole, _scipy("expn")(np.where(whole, n, 0), x), np.nan)


spence = _unary("spence", _spence_vjp, "Spence's function, the dilogarithm of 1 - x; NaN below 0")
expn = _binary("expn", _expn_vjp, "the exponential integral: of exp(-y t) / t ** x over t from 1 on; x is whole", _expn)
