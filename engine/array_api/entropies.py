"""Products with logarithms of `gl.special`: entropies, logits, and sums of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.ops import elementwise as ew
from ..tracing.tracer import ArrayLike, emit
from . import elementwise as e
from . import reductions
from .broadcasting import axes_tuple, cast, dtype_of, shape_of
from .comparison import equal, greater, greater_equal, less, less_equal, logical_and, logical_or, where
from .manipulation import squeeze
from .special_ops import as_floats, unary

expit = unary("expit", ew.sigmoid)


def xlogy(x: ArrayLike, y: ArrayLike, /) -> Any:
    """`x * log(y)`, and 0 where x is 0 and y no NaN."""
    x, y = as_floats("xlogy", x, y)
    return e.multiply(x, e.log(_one_where_zero(x, y, 0.0, 1.0)))


def xlog1py(x: ArrayLike, y: ArrayLike, /) -> Any:
    """`x * log1p(y)`, and 0 where x is 0 and y no NaN."""
    x, y = as_floats("xlog1py", x, y)
    return e.multiply(x, e.log1p(_one_where_zero(x, y, -1.0, 0.0)))


def _one_where_zero(x: Any, y: Any, pole: float, at_zero: float) -> Any:
    """y, but `at_zero` where x is 0 and the logarithm infinite or undefined. Elsewhere the product is 0 by itself, and
    its derivative in x the logarithm.
    """
    outside = logical_or(less_equal(y, pole), equal(y, math.inf))
    return where(logical_and(equal(x, 0), outside), at_zero, y)


def entr(x: ArrayLike, /) -> Any:
    """`-x * log(x)`: 0 at 0, and -inf below."""
    (x,) = as_floats("entr", x)
    inside = where(less(x, 0), 1.0, x)
    return where(less(x, 0), -math.inf, e.subtract(0.0, xlogy(inside, inside)))


def rel_entr(x: ArrayLike, y: ArrayLike, /) -> Any:
    """`x * log(x / y)` for positive numbers: 0 at x = 0 for y >= 0, and inf elsewhere."""
    x, y = as_floats("rel_entr", x, y)
    return _where_defined(x, y, lambda a, b: e.multiply(a, _log_of_ratio(a, b)), lambda b: 0.0)


def kl_div(x: ArrayLike, y: ArrayLike, /) -> Any:
    """`x * log(x / y) - x + y` for positive numbers: y at x = 0 for y >= 0, and inf elsewhere."""
    x, y = as_floats("kl_div", x, y)
    # In float64: of numbers that are nearly equal the terms are, too.
    wide = [cast(v, np.dtype("float64")) for v in (x, y)]

    def divergence(a: Any, b: Any) -> Any:
        return e.subtract(e.multiply(a, _log_of_ratio(a, b)), e.subtract(a, b))

    return cast(_where_defined(wide[0], wide[1], divergence, lambda b: b), dtype_of(x))


def _log_of_ratio(x: Any, y: Any) -> Any:
    """log(x / y) of positive numbers, with all digits where they are nearly equal."""
    near = logical_and(less(x, e.multiply(2, y)), less(y, e.multiply(2, x)))
    excess = where(near, e.divide(e.subtract(x, y), y), 0.0)
    ratio = e.divide(x, y)
    held = logical_and(greater(ratio, _LEAST_RATIO), less(ratio, 1 / _LEAST_RATIO))
    return where(near, e.log1p(excess), where(held, e.log(where(held, ratio, 1.0)), e.subtract(e.log(x), e.log(y))))


_LEAST_RATIO = 1e-37
"""A ratio that is a normal number in all dtypes."""


def _where_defined(x: Any, y: Any, inside: Any, at_zero: Any) -> Any:
    positive = logical_and(greater(x, 0), greater(y, 0))
    missing = logical_or(e.isnan(x), e.isnan(y))
    result = inside(where(positive, x, 1.0), where(positive, y, 1.0))
    edge = logical_and(equal(x, 0), greater_equal(y, 0))
    at_edge = cast(where(edge, at_zero(y), math.inf), dtype_of(x))
    return where(missing, math.nan, where(positive, result, at_edge))


def logit(x: ArrayLike, /) -> Any:
    """`log(x / (1 - x))`, the inverse of `expit`; infinite at 0 and 1, NaN beyond them."""
    (x,) = as_floats("logit", x)
    # About 1/2 the quotient is near 1, and its logarithm would lose digits.
    s = e.multiply(2, e.subtract(x, 0.5))
    middle = logical_and(greater_equal(x, 0.3), less_equal(x, 0.65))
    near = where(middle, s, 0.0)
    return where(middle, e.subtract(e.log1p(near), e.log1p(e.negative(near))), e.log(e.divide(x, e.subtract(1, x))))


def log_expit(x: ArrayLike, /) -> Any:
    """`log(expit(x))`, without overflow."""
    (x,) = as_floats("log_expit", x)
    return e.negative(e.logaddexp(0, e.negative(x)))


def _shifted(name: str, x: ArrayLike, axis: Any) -> tuple[Any, Any]:
    """x less the largest along `axis`, of floats, and the axes."""
    (x,) = as_floats(name, x)
    axes = axes_tuple(axis, len(shape_of(x)))
    largest = emit(ew.stop_gradient, reductions.max(x, axes, keepdims=True))
    return e.subtract(x, largest), axes


def softmax(x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """eˣ / Σ eˣ along `axis`, or over all elements."""
    shifted, axes = _shifted("softmax", x, axis)
    exponentials = e.exp(shifted)
    return e.divide(exponentials, reductions.sum(exponentials, axes, keepdims=True))


def log_softmax(x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """x - log Σ eˣ along `axis`, or over all elements."""
    shifted, axes = _shifted("log_softmax", x, axis)
    return e.subtract(shifted, e.log(reductions.sum(e.exp(shifted), axes, keepdims=True)))


def logsumexp(
    a: ArrayLike,
    axis: int | tuple[int, ...] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """`log(sum(b * exp(a)))` over `axis` without overflow; with `return_sign` that of the absolute value, and the sign.

    Without `return_sign` it is NaN where the sum is negative.
    """
    if b is None:
        result = reductions.logsumexp(as_floats("logsumexp", a)[0], axis, keepdims=keepdims)
        return (result, e.add(e.multiply(result, 0), 1)) if return_sign else result
    a, b = as_floats("logsumexp", a, b)
    axes = axes_tuple(axis, len(shape_of(a)))
    a = where(equal(b, 0), -math.inf, a)
    largest = emit(ew.stop_gradient, reductions.max(a, axes, keepdims=True))
    shift = where(e.isfinite(largest), largest, 0.0)
    total = reductions.sum(e.multiply(b, e.exp(e.subtract(a, shift))), axes, keepdims=True)
    sign = e.sign(total)
    size = e.abs(total) if return_sign else total
    nothing = equal(size, 0)
    result = e.add(where(nothing, -math.inf, e.log(where(nothing, 1.0, size))), shift)
    if not keepdims:
        result, sign = squeeze(result, axes), squeeze(sign, axes)
    return (result, sign) if return_sign else result
