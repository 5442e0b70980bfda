"""Error functions: erf, and ndtr, the distribution function of the normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .exponentials import exp_normal, exp_reduced, reduce_exp, scale
from .formats import FLOAT32, FLOAT64, Format, clamp, odd, polynomial
from .traced_numbers import Number, fabs, fma, select


@dataclass(frozen=True)
class _Erf:
    """The polynomials of erf, and where each of them holds."""

    switch: float
    tail: tuple[float, ...]  # erf(a) = a + a * tail(a * a), 0 <= a < switch
    log: tuple[float, ...]  # log(1 - erf(a)) = polynomial(a), switch <= a < saturation
    saturation: float  # erf is 1 from here on


_ERF: Mapping[Format, _Erf] = {
    FLOAT32: _Erf(
        switch=0.925,
        tail=(0.128379166, -0.376126349, 0.112836942, -0.0268592704, 0.00520063471, -0.000813744031, 8.34522507e-05),
        log=(
            -0.000203478019, -1.12764347, -0.637236476, -0.103884056, 0.0222040135, -0.00303747249, 0.000195351648,
        ),
        saturation=4.0,
    ),
    FLOAT64: _Erf(
        switch=1.0,
        tail=(
            0.12837916709551256, -0.3761263890318355, 0.11283791670945253, -0.02686617064327622, 0.005223977607423468,
            -0.0008548325989696758, 0.00012055295320494294, -1.4924744663335489e-05, 1.6447517677871873e-06,
            -1.6209175911748696e-07, 1.3722976265924504e-08, -7.801188874097751e-10,
        ),
        log=(
            -1.7982733076246853e-07, -1.1283773271668858, -0.6366284988039678, -0.10274722329844543,
            0.019078096702527948, 0.0002805764703186652, -0.0017691002653223385, 0.0006412606392883547,
            -4.488377503766425e-05, -7.033260492910058e-05, 4.502230494709401e-05, -1.650863141525578e-05,
            4.325568727731674e-06, -8.502564165707232e-07, 1.2565282488647519e-07, -1.3620425203357748e-08,
            1.025177378121345e-09, -4.7933396101738387e-11, 1.0489740741707299e-12,
        ),
        saturation=6.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Ndtr:
    """The polynomial of the normal distribution's tail, and where that is 0."""

    center: float
    tail: tuple[float, ...]  # Phi(-a) exp(a a / 2) = c / (c + a) tail((a - c) / (a + c)), c the center
    zero: float  # Phi(-a) is 0 from here on, after rounding


_NDTR: Mapping[Format, _Ndtr] = {
    FLOAT32: _Ndtr(
        center=3.5,
        tail=(
            0.212690307, -0.161589068, 0.0901214547, -0.0331580501, 0.0049730915, 0.00185535108, -0.000906521363,
            -0.000141440297, 0.000119519537, 3.10547412e-05,
        ),
        zero=15.0,
    ),
    FLOAT64: _Ndtr(
        center=5.0,
        tail=(
            0.15383860995001258, -0.13307650057801132, 0.0990611231939954, -0.06270663133426314, 0.03300407323407231,
            -0.013823727741190363, 0.0041590133600483735, -0.0005986753551396482, -0.0001595738802947415,
            0.00010897982117665226, -1.187514226391554e-05, -9.952602058551194e-06, 3.3362289935192934e-06,
            7.962982734886577e-07, -5.538110987287816e-07, -6.754866863039828e-08, 8.653736302983559e-08,
            8.722518394921445e-09, -1.3064024664427276e-08, -2.042216667173292e-09, 1.4364134489996047e-09,
            4.0279640769545685e-10,
        ),
        zero=39.0,
    ),
}  # fmt: skip


def erf(x: Number, f: Format) -> Number:
    """Within 1.5 ulp. An odd polynomial for small |x|, then 1 - exp of a polynomial in |x| (the form is N. Juffa's)."""
    a = fabs(x)
    near = fma(a, polynomial(a * a, _ERF[f].tail), a)
    far = 1.0 - exp_normal(polynomial(clamp(a, 0.0, _ERF[f].saturation), _ERF[f].log), f)
    y = select(a < _ERF[f].switch, near, select(a < _ERF[f].saturation, far, 1.0))
    return odd(select(a != a, a, y), x, f)


def ndtr(x: Number, f: Format) -> Number:
    """Within 4 ulp. exp(-a a / 2) times a polynomial in (a - c) / (a + c), a = |x|; one less that for x > 0."""
    a = clamp(fabs(x), 0.0, _NDTR[f].zero)
    reciprocal = 1.0 / (a + _NDTR[f].center)
    ratio = _NDTR[f].center * reciprocal * polynomial(fma(a * reciprocal, 2.0, -1.0), _NDTR[f].tail)
    square = a * a
    m, r = reduce_exp(-0.5 * square, f)
    tail = scale(exp_reduced(r - 0.5 * fma(a, a, -square), f) * ratio, m, f)
    return select(x > 0.0, 1.0 - tail, tail)
