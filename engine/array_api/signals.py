"""Sequences of samples: convolution, differences, areas, phases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tracing.promotion import float_dtype, result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, located
from . import elementwise as e
from .broadcasting import as_arraylike, axes_tuple, axis_index, cast, described, dtype_of, key_of, reshaped, shape_of
from .comparison import equal, greater, less, logical_and, where
from .indexing import getitem, take
from .linear_algebra import matmul
from .manipulation import concatenate, diff, expand_dims, flip, moveaxis, pad, ravel
from .reductions import cumsum
from .reductions import sum as sum_of


def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Any:
    """Σ a[k] v[n - k] for `a` (n,) and `v` (m,): (n + m - 1,), or with mode "same" the middle of the longer's length,
    with "valid" only where they overlap whole.

    Raises `ShapeError` where they have not one axis, or no elements, `ValueError` for another mode.
    """
    a, v = as_arraylike(a), as_arraylike(v)
    for x in (a, v):
        if len(shape_of(x)) != 1 or not shape_of(x)[0]:
            raise ShapeError(located(f"np.convolve: both have one axis and an element, got {described(x)}"))
    if mode not in ("full", "same", "valid"):
        raise ValueError(located(f"np.convolve: mode is 'full', 'same' or 'valid', got {mode!r}"))
    if shape_of(a)[0] < shape_of(v)[0]:
        a, v = v, a
    n, m = shape_of(a)[0], shape_of(v)[0]
    dtype = result_dtype(key_of(a), key_of(v))
    a, v = cast(a, dtype), cast(v, dtype)
    before, behind = {"full": (m - 1, m - 1), "same": ((m - 1) - (m - 1) // 2, (m - 1) // 2), "valid": (0, 0)}[mode]
    if mode == "same":
        before, behind = m // 2, m - 1 - m // 2
    padded = pad(a, (before, behind))
    count = n + before + behind - m + 1
    windows = take(padded, np.arange(count)[:, None] + np.arange(m))
    return matmul(windows, flip(v))


def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Any:
    """Σ a[n + k] v[k], in the modes of `convolve`."""
    a, v = as_arraylike(a), as_arraylike(v)
    if mode == "same" and shape_of(a)[:1] < shape_of(v)[:1]:
        return flip(correlate(v, a, mode))
    return convolve(a, flip(v), mode)


def gradient(f: ArrayLike, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The derivatives of samples along each axis, or along `axis`: of second order inside, of `edge_order` 1 or 2 at
    the ends. `varargs` are distances, one for all axes or one for each, or for each the places of the samples.

    A list for several axes, one array for one. Raises `ShapeError` where there are too few samples.
    """
    f = as_arraylike(f)
    f = cast(f, float_dtype(dtype_of(f)))
    axes = axes_tuple(axis, len(shape_of(f)))
    given = list(varargs) if len(varargs) != 1 else list(varargs) * len(axes)
    if given and len(given) != len(axes):
        raise TypeError(located(f"np.gradient: {len(given)} distances are given for {len(axes)} axes"))
    if edge_order not in (1, 2):
        raise ValueError(located(f"np.gradient: edge_order is 1 or 2, got {edge_order}"))
    found = [_along(f, a, given[i] if given else 1.0, edge_order) for i, a in enumerate(axes)]
    return found[0] if len(found) == 1 else tuple(found)


def _along(f: Any, axis: int, distance: Any, edge_order: int) -> Any:
    count = shape_of(f)[axis]
    if count <= edge_order:
        raise ShapeError(located(f"np.gradient: axis {axis} of {described(f)} has too few samples"))
    y = moveaxis(f, axis, -1)
    step = as_arraylike(distance)
    if shape_of(step):
        if shape_of(step) != (count,):
            raise ShapeError(located(f"np.gradient: places along axis {axis} are ({count},), got {described(step)}"))
        steps: Any = diff(step)
    else:
        steps = None

    def at(i: int) -> Any:
        return getitem(y, (..., i))

    def of(i: int) -> Any:
        return step if steps is None else getitem(steps, i)

    if steps is None:
        inner = (getitem(y, (..., slice(2, None))) - getitem(y, (..., slice(None, -2)))) / (2.0 * step)
    else:
        h0, h1 = getitem(steps, slice(None, -1)), getitem(steps, slice(1, None))
        a, b, c = -h1 / (h0 * (h0 + h1)), (h1 - h0) / (h0 * h1), h0 / (h1 * (h0 + h1))
        inner = (
            a * getitem(y, (..., slice(None, -2)))
            + b * getitem(y, (..., slice(1, -1)))
            + c * getitem(y, (..., slice(2, None)))
        )
    if edge_order == 1:
        first, last = (at(1) - at(0)) / of(0), (at(-1) - at(-2)) / of(-1)
    else:
        p, q = of(0), of(1)
        first = -(2 * p + q) / (p * (p + q)) * at(0) + (p + q) / (p * q) * at(1) - p / (q * (p + q)) * at(2)
        p, q = of(-2), of(-1)
        last = q / (p * (p + q)) * at(-3) - (q + p) / (p * q) * at(-2) + (2 * q + p) / (q * (p + q)) * at(-1)
    result = concatenate([expand_dims(first, -1), inner, expand_dims(last, -1)], axis=-1)
    return moveaxis(cast(result, dtype_of(f)), -1, axis)


def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Any:
    """The area under samples along `axis` by the trapezoidal rule, at the places `x`, or `dx` apart."""
    y = as_arraylike(y)
    place = axis_index(axis, len(shape_of(y)))
    steps: Any = dx
    if x is not None:
        x = as_arraylike(x)
        steps = diff(x, axis=0 if len(shape_of(x)) == 1 else place)
        if len(shape_of(x)) == 1:
            steps = reshaped(steps, (*shape_of(steps), *(1,) * (len(shape_of(y)) - 1 - place)))
    low = getitem(y, (*(slice(None),) * place, slice(None, -1)))
    high = getitem(y, (*(slice(None),) * place, slice(1, None)))
    return sum_of(steps * (low + high) / 2.0, place)


def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Any:
    """The differences from each element to the next, flattened, between `to_begin` and `to_end`."""
    steps = diff(ravel(as_arraylike(ary)))
    parts = [part for part in (to_begin, steps, to_end) if part is not None]
    dtype = dtype_of(steps)
    return concatenate([cast(ravel(as_arraylike(part)), dtype) for part in parts]) if len(parts) > 1 else steps


def unwrap(p: ArrayLike, discont: float | None = None, axis: int = -1, *, period: float = 2 * math.pi) -> Any:
    """Phases along `axis` without jumps: a step of more than `discont`, half a `period` by default, is changed by whole
    periods to less than half of one.
    """
    p = as_arraylike(p)
    p = cast(p, float_dtype(dtype_of(p)))
    place = axis_index(axis, len(shape_of(p)))
    steps = diff(p, axis=place)
    least = period / 2 if discont is None else discont
    wrapped = e.remainder(steps + period / 2, period) - period / 2
    wrapped = where(logical_and(equal(wrapped, -period / 2), greater(steps, 0)), period / 2, wrapped)
    change = where(less(e.abs(steps), least), 0, wrapped - steps)
    first = getitem(p, (*(slice(None),) * place, slice(0, 1)))
    behind = getitem(p, (*(slice(None),) * place, slice(1, None)))
    return concatenate([first, behind + cumsum(change, place)], axis=place)


def sinc(x: ArrayLike, /) -> Any:
    """sin(π x) / (π x), and 1 at 0."""
    x = as_arraylike(x)
    x = cast(x, float_dtype(dtype_of(x)))
    at_zero = equal(x, 0)
    turned = where(at_zero, 1, x) * math.pi
    # The series, so that its derivatives are there too.
    return where(at_zero, 1 - e.square(x * math.pi) / 6, e.sin(turned) / turned)


def polyval(p: ArrayLike, x: ArrayLike) -> Any:
    """p[0] xⁿ + p[1] xⁿ⁻¹ + ... + p[n] by Horner's rule, in the shape of `x`."""
    p, x = as_arraylike(p), as_arraylike(x)
    if len(shape_of(p)) != 1:
        raise ShapeError(located(f"np.polyval: p has one axis, got {described(p)}"))
    result: Any = e.multiply(x, 0)
    for i in range(shape_of(p)[0]):
        result = result * x + getitem(p, i)
    return result


def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of `x` (n,) as columns (n, N), from the highest, or with `increasing` from 1 on."""
    x = as_arraylike(x)
    if len(shape_of(x)) != 1:
        raise ShapeError(located(f"np.vander: x has one axis, got {described(x)}"))
    count = shape_of(x)[0] if N is None else N
    exponents = np.arange(count) if increasing else np.arange(count)[::-1]
    return expand_dims(x, 1) ** exponents
