"""What NumPy's functions are of arrays of complex numbers, written with functions of their parts.

Branches are NumPy's. Infinities, NaNs and zeros of both signs give what C99 says in its annex G.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tracing.tracer import ArrayLike
from .broadcasting import cast, dtype_of
from .complex_numbers import joined, parts


def absolute(z: ArrayLike) -> Any:
    """The absolute value, without overflow on the way; the derivative at 0 is 0."""
    return np.hypot(*parts(z))


def sign(z: ArrayLike) -> Any:
    """`z / |z|`, and 0 at 0."""
    size = absolute(z)
    return joined(*(np.where(size == 0, 0, part / np.where(size == 0, 1, size)) for part in parts(z)))


def _is_below(x: ArrayLike) -> Any:
    """Whether a number is below 0, or -0."""
    return np.arctan2(x, -1.0) < 0


def _with_sign(size: ArrayLike, x: ArrayLike) -> Any:
    """`size` with the sign of x, that of -0.0 too."""
    size = dtype_of(x).type(size) if isinstance(size, float) else size
    return np.where(_is_below(x), -size, size)


def _times_wave(size: ArrayLike, wave: ArrayLike, x: ArrayLike, is_settled: ArrayLike) -> Any:
    """`size * wave`, where `size` is made of x, and `wave` is a sine or a cosine, NaN of an angle that is not finite.

    The product is `size` itself where that `is_settled` and follows of x exactly, and 0 where the wave is.
    """
    is_exact = np.isinf(x) | (x == 0)
    product = np.where(np.isnan(wave) & is_settled & is_exact, size, size * wave)
    return np.where((wave == 0) & ~np.isfinite(size), wave, product)


def exp(z: ArrayLike) -> Any:
    """`e ** z`."""
    re, im = parts(z)
    size = np.exp(re)
    real = _times_wave(size, np.cos(im), re, (size == 0) | np.isinf(size))
    return joined(real, _times_wave(size, np.sin(im), re, size == 0))


def exp2(z: ArrayLike) -> Any:
    """`2 ** z`."""
    return exp(_scaled(z, math.log(2)))


def _scaled(z: ArrayLike, factor: float) -> Any:
    re, im = parts(z)
    return joined(re * factor, im * factor)


def expm1(z: ArrayLike) -> Any:
    """`e ** z - 1`, without loss near 0."""
    re, im = parts(z)
    real, imag = parts(exp(z))
    near = np.expm1(re) * np.cos(im) - 2 * np.square(np.sin(im / 2))
    near = np.where((re == 0) & (im == 0), (re + 1) - 1, near)  # 0 of -0 too, with the derivative
    return joined(np.where(np.isfinite(re), near, real - 1), imag)


def log(z: ArrayLike) -> Any:
    """The natural logarithm, whose imaginary part is in [-π, π]."""
    re, im = parts(z)
    size = np.hypot(re, im)
    # Near the unit circle what differs from 1 would be lost in the size.
    is_near = (size > 0.5) & (size < 2)
    large, small = np.maximum(np.abs(re), np.abs(im)), np.minimum(np.abs(re), np.abs(im))
    more = np.where(is_near, (large - 1) * (large + 1) + np.square(small), 0)
    return joined(np.where(is_near, np.log1p(more) / 2, np.log(np.where(is_near, 1, size))), np.arctan2(im, re))


def log2(z: ArrayLike) -> Any:
    """The logarithm to base 2."""
    return _scaled(log(z), 1 / math.log(2))


def log10(z: ArrayLike) -> Any:
    """The logarithm to base 10."""
    return _scaled(log(z), 1 / math.log(10))


def log1p(z: ArrayLike) -> Any:
    """`log(1 + z)`, without loss near 0."""
    re, im = parts(z)
    is_near = (np.abs(re) < 0.5) & (np.abs(im) < 0.5)
    near_re, near_im = np.where(is_near, re, 0), np.where(is_near, im, 0)
    near = np.log1p(near_re * (2 + near_re) + np.square(near_im)) / 2
    far = np.log(np.where(is_near, 1, np.hypot(1 + re, im)))
    return joined(np.where(is_near, near, far), np.arctan2(im, 1 + re))


def sqrt(z: ArrayLike) -> Any:
    """The square root with a real part of 0 or more; the derivative at 0 is 0."""
    re, im = parts(z)
    along = re >= 0
    # No abs, whose derivative at 0 is 0.
    large = np.sqrt(0.5 * (np.where(along, re, -re) + np.hypot(re, im)))
    small = 0.5 * im / np.where(large == 0, 1, large)
    return joined(np.where(along, large, _with_sign(small, im)), np.where(along, small, _with_sign(large, im)))


def sin(z: ArrayLike) -> Any:
    """The sine: -i sinh(iz)."""
    return _turned_back(sinh(_turned(z)))


def cos(z: ArrayLike) -> Any:
    """The cosine: cosh(iz)."""
    return cosh(_turned(z))


def tan(z: ArrayLike) -> Any:
    """The tangent: -i tanh(iz)."""
    return _turned_back(tanh(_turned(z)))


def _turned(z: ArrayLike) -> Any:
    """iz."""
    re, im = parts(z)
    return joined(-im, re)


def _turned_back(z: ArrayLike) -> Any:
    """-iz."""
    re, im = parts(z)
    return joined(im, -re)


def sinh(z: ArrayLike) -> Any:
    """The hyperbolic sine."""
    re, im = parts(z)
    odd, even = np.sinh(re), np.cosh(re)
    real = _times_wave(odd, np.cos(im), re, (odd == 0) | np.isinf(odd))
    return joined(real, _times_wave(even, np.sin(im), re, False))


def cosh(z: ArrayLike) -> Any:
    """The hyperbolic cosine."""
    re, im = parts(z)
    odd, even = np.sinh(re), np.cosh(re)
    real = _times_wave(even, np.cos(im), re, np.isinf(even))
    return joined(real, _times_wave(odd, np.sin(im), re, odd == 0))


def tanh(z: ArrayLike) -> Any:
    """The hyperbolic tangent."""
    re, im = parts(z)
    # Beyond, the real part is ±1 and the imaginary one is 0, to the last digit.
    near = np.clip(re, -25, 25)
    size = np.sinh(near) ** 2 + np.cos(im) ** 2
    real, imag = np.sinh(near) * np.cosh(near) / size, np.sin(im) * np.cos(im) / size
    real = np.where(np.isinf(re), np.sign(re), np.where((re == 0) & np.isnan(size), re, real))
    return joined(real, np.where(np.isinf(re), 0, np.where((im == 0) & np.isnan(size), im, imag)))


# The inverse functions are Kahan's: "Branch cuts for complex elementary functions, or much ado about nothing's sign
# bit" (1987).


def _roots(z: ArrayLike) -> tuple[Any, Any, Any, Any]:
    """The parts of the roots of 1 - z and of 1 + z."""
    re, im = parts(z)
    return *parts(sqrt(joined(1 - re, -im))), *parts(sqrt(joined(1 + re, im)))


def arcsin(z: ArrayLike) -> Any:
    """The inverse sine, whose real part is in [-π/2, π/2]."""
    re, im = parts(z)
    low_re, low_im, high_re, high_im = _roots(z)
    is_infinite = np.isinf(re) | np.isinf(im)
    real = np.arctan2(re, np.where(is_infinite, np.abs(im), low_re * high_re - low_im * high_im))
    imag = np.arcsinh(np.where(is_infinite, 0, low_re * high_im - low_im * high_re))
    return joined(real, np.where(is_infinite, _with_sign(np.inf, im), imag))


def arccos(z: ArrayLike) -> Any:
    """The inverse cosine, whose real part is in [0, π]."""
    re, im = parts(z)
    low_re, low_im, high_re, high_im = _roots(z)
    is_infinite = np.isinf(re) | np.isinf(im)
    real = 2 * np.arctan2(low_re, high_re)
    real = np.where(is_infinite, np.arctan2(np.abs(im), re), np.where((re == 0) & np.isnan(im), np.pi / 2, real))
    imag = np.arcsinh(np.where(is_infinite, 0, high_re * low_im - high_im * low_re))
    return joined(real, np.where(is_infinite, _with_sign(-np.inf, im), imag))


def arctan(z: ArrayLike) -> Any:
    """The inverse tangent, whose real part is in [-π/2, π/2]."""
    return _turned_back(arctanh(_turned(z)))


def arcsinh(z: ArrayLike) -> Any:
    """The inverse hyperbolic sine, whose imaginary part is in [-π/2, π/2]."""
    re, im = parts(_turned_back(arcsin(_turned(z))))
    y = parts(z)[1]
    return joined(re, np.where((y == 0) & np.isnan(im), y, im))


def arccosh(z: ArrayLike) -> Any:
    """The inverse hyperbolic cosine, whose real part is 0 or more, and whose imaginary part is in [-π, π]."""
    im = parts(z)[1]
    angle, size = parts(arccos(z))
    return joined(np.where(_is_below(im), size, -size), _with_sign(angle, im))


def arctanh(z: ArrayLike) -> Any:
    """The inverse hyperbolic tangent, whose imaginary part is in [-π/2, π/2]."""
    re, im = parts(z)
    x = _with_sign(re, re)
    distance = np.hypot(1 - x, im)
    is_near = distance < 1e-3
    far = np.where(is_near, 1, distance)
    real = np.log1p(4 * (x / far) / far) / 4
    real = np.where(is_near, (np.log(np.hypot(1 + x, im)) - np.log(distance)) / 2, real)
    imag = np.arctan2(2 * im, (1 - x) * (1 + x) - np.square(im)) / 2
    is_infinite = np.isinf(re) | np.isinf(im)
    real = np.where(is_infinite, 0, np.where((re == 0) & np.isnan(im), re, real))
    imag = np.where(is_infinite & ~np.isnan(im), _with_sign(np.pi / 2, im), imag)
    return joined(_with_sign(real, re), imag)


def power(x: ArrayLike, y: ArrayLike) -> Any:
    """`x ** y` of two arrays of one complex dtype; 0 to any power but 0 is 0."""
    none = x == 0
    return np.where(none, cast(y == 0, dtype_of(x)), exp(y * log(np.where(none, 1, x))))


def whole_power(x: ArrayLike, n: int) -> Any:
    """`x ** n` by squares and products."""
    if n < 0:
        return 1 / whole_power(x, -n)
    result: Any = None
    while n:
        if n % 2:
            result = x if result is None else result * x
        n //= 2
        x = x * x if n else x
    return result


def _quiet(function: Callable[[ArrayLike], Any]) -> Callable[[ArrayLike], Any]:
    """`function`, which computes what it leaves out too, without NumPy's warnings of arrays that are not traced."""
    return functools.wraps(function)(np.errstate(all="ignore")(function))


OF_COMPLEX: dict[np.ufunc, Callable[[ArrayLike], Any]] = {
    np.absolute: absolute,
    np.sign: sign,
    np.exp: exp,
    np.exp2: exp2,
    np.expm1: expm1,
    np.log: log,
    np.log2: log2,
    np.log10: log10,
    np.log1p: log1p,
    np.sqrt: sqrt,
    np.sin: sin,
    np.cos: cos,
    np.tan: tan,
    np.sinh: sinh,
    np.cosh: cosh,
    np.tanh: tanh,
    np.arcsin: arcsin,
    np.arccos: arccos,
    np.arctan: arctan,
    np.arcsinh: arcsinh,
    np.arccosh: arccosh,
    np.arctanh: arctanh,
}
"""What NumPy's functions are of complex numbers."""
OF_COMPLEX = {ufunc: _quiet(function) for ufunc, function in OF_COMPLEX.items()}
