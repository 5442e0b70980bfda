"""Gamma, beta and zeta functions of `gl.special`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.ops import special as sp
from ..tracing.tracer import ArrayLike, Tracer, as_operand, emit, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, dtype_of, integer
from .comparison import equal, greater, greater_equal, less, logical_and, where
from .number_parts import signbit
from .special_ops import as_floats, binary, unary

gammaln = unary("gammaln", sp.gammaln)
gamma = unary("gamma", sp.gamma)
digamma = unary("digamma", sp.digamma)
beta = binary("beta", sp.beta, "The beta function, Γ(a) Γ(b) / Γ(a + b).")
betaln = binary("betaln", sp.betaln, "The logarithm of the absolute value of `beta(a, b)`.")
gammainc = binary(
    "gammainc",
    sp.gammainc,
    """The regularized lower incomplete gamma function: the integral of tᵃ⁻¹ e⁻ᵗ from 0 to x, over Γ(a), for a, x >= 0.

    Its derivatives in `a` and `x` are known, and those of these in `x`. A second derivative in `a` raises
    `NotImplementedError`.
    """,
)
gammaincc = binary(
    "gammaincc",
    sp.gammaincc,
    """The regularized upper incomplete gamma function, `1 - gammainc(a, x)`, with all its digits where it is small.

    Derivatives are known as those of `gammainc`.
    """,
)


def loggamma(z: ArrayLike, /) -> Any:
    """The logarithm of the gamma function of a real number; NaN below 0, where it is not real."""
    (z,) = as_floats("loggamma", z)
    return where(less(z, 0), math.nan, emit(sp.gammaln, z))


def gammasgn(x: ArrayLike, /) -> Any:
    """The sign of the gamma function: 1 or -1; NaN at -1, -2, ..."""
    (x,) = as_floats("gammasgn", x)
    whole = e.floor(x)
    odd = e.not_equal(e.remainder(whole, 2), 0)
    below = where(equal(x, whole), math.nan, where(odd, -1.0, 1.0))
    at_zero = where(signbit(x), -1.0, 1.0)
    return where(e.isnan(x), x, cast(where(equal(x, 0), at_zero, where(greater(x, 0), 1.0, below)), dtype_of(x)))


def polygamma(n: ArrayLike, x: ArrayLike, /) -> Any:
    """The derivative of order `n` of `digamma`, at `x`; n is 0 or more and whole.

    A number `n` that is known while tracing is a constant. A derivative in `n` raises `NotImplementedError`. Raises
    `ValueError` for a known order that is no whole number of 0 or more.
    """
    given = as_arraylike(n)
    known = None if isinstance(given, Tracer) else np.asarray(given)
    if known is not None and not bool(np.all((known >= 0) & (known == np.floor(known)))):
        raise ValueError(located(f"polygamma: the order is a whole number of 0 or more, got {n}"))
    if known is not None and not known.ndim:
        order = int(known)
        (x,) = as_floats("polygamma", x)
        if order == 0:
            return emit(sp.digamma, x)
        factor = (-1.0) ** (order + 1) * math.gamma(order + 1.0) if order < 171 else math.inf
        return e.multiply(factor, zeta(float(order + 1), x))
    n, x = as_floats("polygamma", n, x)
    sign = cast(where(equal(e.remainder(n, 2), 0), -1.0, 1.0), dtype_of(n))
    above = e.multiply(e.multiply(sign, gamma(e.add(n, 1))), zeta(e.add(n, 1), x))
    return where(equal(n, 0), emit(sp.digamma, x), above)


def zeta(x: ArrayLike, q: ArrayLike | None = None, /) -> Any:
    """Hurwitz's zeta function: the sum of (q + n)⁻ˣ over n >= 0, for x > 1; NaN for x < 1. Riemann's is that of q = 1.

    Its derivative in `q` is known. One in `x` raises `NotImplementedError`, and so does a call without `q`, which is
    Riemann's function for all x in SciPy.
    """
    if q is None:
        raise NotImplementedError(
            located("zeta of one argument, for all x, is not here; write zeta(x, 1), which is the same for x > 1")
        )
    return emit(sp.zeta, *as_floats("zeta", x, q))


def betainc(a: ArrayLike, b: ArrayLike, x: ArrayLike, /) -> Any:
    """The regularized incomplete beta function: the integral of tᵃ⁻¹ (1 - t)ᵇ⁻¹ from 0 to x, over B(a, b), for
    0 <= x <= 1.

    Its derivatives in all arguments are known, and those of these in `x`. A second derivative in `a` or `b` raises
    `NotImplementedError`.
    """
    return emit(sp.betainc, *as_floats("betainc", a, b, x))


def betaincc(a: ArrayLike, b: ArrayLike, x: ArrayLike, /) -> Any:
    """The complement of the regularized incomplete beta function, `1 - betainc(a, b, x)`."""
    a, b, x = as_floats("betaincc", a, b, x)
    return e.subtract(1, emit(sp.betainc, a, b, x))


def multigammaln(a: ArrayLike, d: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension `d`, for a > (d - 1) / 2.

    Raises `ValueError` for a `d` below 1, and for known `a` that are too small.
    """
    dimension = integer(d, "multigammaln: d")
    if dimension < 1:
        raise ValueError(located(f"multigammaln: d is 1 or more, got {dimension}"))
    least = (dimension - 1) / 2
    if not isinstance(a, Tracer) and bool(np.any(np.asarray(a) <= least)):
        raise ValueError(located(f"multigammaln: a is above (d - 1) / 2 = {least}, got {a}"))
    (a,) = as_floats("multigammaln", a)
    result = e.add(gammaln(a), dimension * (dimension - 1) / 4 * math.log(math.pi))
    for i in range(1, dimension):
        result = e.add(result, gammaln(e.subtract(a, i / 2)))
    return result


def factorial(n: ArrayLike, exact: bool = False) -> Any:
    """The product of all whole numbers from 1 to `n`, as a float: `gamma(n + 1)`, and 0 below 0.

    Raises `NotImplementedError` for `exact=True`: integers of any size are Python's.
    """
    if exact is not False:
        raise NotImplementedError(located("factorial: exact integers are not traced; write math.factorial(n) outside"))
    (n,) = as_floats("factorial", n)
    wide = cast(n, np.dtype("float64"))  # in float32 n + 1 would be rounded
    return where(less(n, 0), 0.0, cast(gamma(e.add(wide, 1)), dtype_of(n)))


def comb(N: ArrayLike, k: ArrayLike, *, exact: bool = False, repetition: bool = False) -> Any:
    """The number of ways to choose `k` of `N` things, as a float; 0 where k < 0 or k > N. Of integers it is whole, to
    13 digits.

    With `repetition` a thing may be chosen more than once. Raises `NotImplementedError` for `exact=True`.
    """
    if exact is not False:
        raise NotImplementedError(located("comb: exact integers are not traced; write math.comb(n, k) outside"))
    whole = all(dtype_of(as_operand(x)).kind in "iu" for x in (N, k))
    N, k = as_floats("comb", N, k)
    if repetition:
        N = where(logical_and(equal(N, 0), equal(k, 0)), 0.0, e.subtract(e.add(N, k), 1))
    possible = logical_and(logical_and(greater_equal(N, 0), greater_equal(k, 0)), greater_equal(N, k))
    rest = where(possible, e.subtract(N, k), 1.0)
    chosen = where(possible, k, 1.0)
    logarithm = e.add(betaln(e.add(rest, 1), e.add(chosen, 1)), e.log1p(e.add(rest, chosen)))
    count = e.exp(e.negative(logarithm))
    return where(possible, e.rint(count) if whole else count, 0.0)
