"""Polynomials as vectors of their coefficients, the highest power first.

NumPy leaves out leading coefficients that are 0; those of a traced vector are not known, and stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import finfo
from ..tracing.promotion import float_dtype, result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, integer, key_of, shape_of
from .factors import inv
from .indexed_updates import at
from .indexing import getitem
from .linear_algebra import matmul, outer
from .manipulation import concatenate, expand_dims, matrix_transpose, pad
from .reductions import sum as sum_of
from .signals import convolve, vander
from .singular_values import lstsq


def _coefficients(name: str, *operands: ArrayLike) -> list[Any]:
    """Vectors of one dtype, with an element at least."""
    arrays = [as_arraylike(x) for x in operands]
    arrays = [expand_dims(x, 0) if not shape_of(x) else x for x in arrays]
    for x in arrays:
        if len(shape_of(x)) != 1:
            raise ShapeError(located(f"np.{name}: coefficients have one axis, got {described(x)}"))
    dtype = result_dtype(*map(key_of, arrays))
    return [cast(x if shape_of(x)[0] else np.zeros(1, dtype_of(x)), dtype) for x in arrays]


def _are_known(*operands: ArrayLike) -> bool:
    return not any(isinstance(x, Tracer) for x in operands)


def polyadd(a1: ArrayLike, a2: ArrayLike) -> Any:
    """The coefficients of the sum."""
    x, y = _coefficients("polyadd", a1, a2)
    longest = max(shape_of(x)[0], shape_of(y)[0])
    x, y = (pad(v, (longest - shape_of(v)[0], 0)) for v in (x, y))
    return e.add(x, y)


def polysub(a1: ArrayLike, a2: ArrayLike) -> Any:
    """The coefficients of the difference."""
    return polyadd(a1, e.negative(as_arraylike(a2)))


def polymul(a1: ArrayLike, a2: ArrayLike) -> Any:
    """The coefficients of the product."""
    x, y = _coefficients("polymul", a1, a2)
    return np.polymul(x, y) if _are_known(x, y) else convolve(x, y)


def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Any, Any]:
    """(quotient, remainder) of the division of `u` by `v`, by the steps of long division.

    The remainder has as many coefficients as `v` has but one, or one that is 0; a leading 0 of `v` gives infinities.
    """
    x, y = _coefficients("polydiv", u, v)
    if _are_known(x, y):
        return np.polydiv(x, y)
    dtype = float_dtype(dtype_of(x))
    x, y = cast(x, dtype), cast(y, dtype)
    n, count = shape_of(y)[0] - 1, shape_of(x)[0] - shape_of(y)[0] + 1
    if count < 1:
        return np.zeros(1, dtype), x
    found, scale = [], 1 / getitem(y, 0)
    for k in range(count):
        found.append(scale * getitem(x, k))
        x = at(x)[k : k + n + 1].add(-found[-1] * y)
    quotient = concatenate([expand_dims(q, 0) for q in found])
    return quotient, getitem(x, slice(count, None)) if n else np.zeros(1, dtype)


def polyder(p: ArrayLike, m: int = 1) -> Any:
    """The coefficients of the `m`th derivative."""
    (p,) = _coefficients("polyder", p)
    m = _order("polyder", m)
    if dtype_of(p).kind == "b":
        p = cast(p, np.dtype("int64"))
    for _ in range(m):
        count = shape_of(p)[0] - 1
        powers = np.arange(count, 0, -1).astype(dtype_of(p))
        p = e.multiply(getitem(p, slice(None, -1)), powers)
    return p


def polyint(p: ArrayLike, m: int = 1, k: ArrayLike | None = None) -> Any:
    """The coefficients of the `m`th integral, with the constants `k`, by default 0: one for all, or one for each of the
    `m`. Raises `ShapeError` for another number of them.
    """
    (p,) = _coefficients("polyint", p)
    m = _order("polyint", m)
    p = cast(p, float_dtype(dtype_of(p)))
    constants = np.zeros(m) if k is None else as_arraylike(k)
    constants = expand_dims(constants, 0) if not shape_of(constants) else constants
    if shape_of(constants) not in ((m,), (1,)):
        raise ShapeError(located(f"np.polyint: k has one element, or m = {m}, got {described(constants)}"))
    for i in range(m):
        powers = np.arange(shape_of(p)[0], 0, -1).astype(dtype_of(p))
        last = getitem(constants, slice(i, i + 1) if shape_of(constants) == (m,) else slice(0, 1))
        p = concatenate([e.divide(p, powers), cast(last, dtype_of(p))])
    return p


def _order(name: str, m: int) -> int:
    m = integer(m, f"np.{name}: m")
    if m < 0:
        raise ValueError(located(f"np.{name}: m is 0 or more, got {m}"))
    return m


def polyfit(
    x: ArrayLike,
    y: ArrayLike,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: ArrayLike | None = None,
    cov: bool | str = False,
) -> Any:
    """The coefficients (deg + 1,) of the polynomial with the least squares of distances from `y` (m,) at the places `x`
    (m,), times the weights `w`; of several at once (deg + 1, k) for `y` (m, k).

    `full` gives what `lstsq` gives too, and `rcond`; `cov` the covariance of the coefficients, with "unscaled" that of
    weights which are 1 / σ. Raises `ShapeError` where lengths do not fit, `ValueError` for too few points with `cov`.
    """
    x, y, order = as_arraylike(x), as_arraylike(y), _order("polyfit", deg) + 1
    fits = len(shape_of(x)) == 1 and len(shape_of(y)) in (1, 2) and shape_of(x) == shape_of(y)[:1]
    if not fits or not shape_of(x)[0]:
        rule = "x is (m,) with m > 0, y (m,) or (m, k)"
        raise ShapeError(located(f"np.polyfit: {rule}, got {described(x)} and {described(y)}"))
    dtype = float_dtype(result_dtype(key_of(x), key_of(y)))
    x, y, count = cast(x, dtype), cast(y, dtype), shape_of(x)[0]
    columns, right = vander(x, order), y
    if w is not None:
        weights = cast(as_arraylike(w), dtype)
        if shape_of(weights) != (count,):
            raise ShapeError(located(f"np.polyfit: w is ({count},), got {described(weights)}"))
        columns = columns * expand_dims(weights, 1)
        right = right * (expand_dims(weights, 1) if len(shape_of(y)) == 2 else weights)
    limit = count * float(finfo(dtype).eps) if rcond is None else rcond
    scale = e.sqrt(sum_of(e.square(columns), 0))
    columns = columns / scale
    solved = lstsq(columns, right, limit)
    found = solved.x / (expand_dims(scale, 1) if len(shape_of(y)) == 2 else scale)
    if full:
        return found, solved.residuals, solved.rank, solved.s, limit
    if not cov:
        return found
    covariance = inv(matmul(matrix_transpose(columns), columns)) / outer(scale, scale)
    if cov == "unscaled":
        return found, covariance
    if count <= order:
        raise ValueError(located(f"np.polyfit: cov takes more than {order} points for degree {deg}, got {count}"))
    factor = solved.residuals / (count - order)
    if len(shape_of(y)) == 1:
        return found, covariance * factor
    return found, expand_dims(covariance, -1) * factor
