"""Floats drawn uniformly, and what one or two of them are mapped to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import DType, as_dtype, is_float
from ....ir.ops import elementwise as ew
from ....ir.ops import special
from ... import array_api as xp
from ...array_api.broadcasting import broadcasts_to
from ..keywords import tells_keywords
from ..tracer import ShapeError, Tracer, as_array, emit, located
from .keys import lengths_of, random_bits

Shape = int | Sequence[int]


def float_dtype(dtype: npt.DTypeLike) -> DType:
    """`dtype` as one of floats. Raises `TypeError` for any other."""
    resolved = as_dtype(dtype)
    if not is_float(resolved):
        raise TypeError(located(f"random floats are float32 or float64, not {resolved}"))
    return resolved


def mantissa(shape: Shape, dtype: DType) -> tuple[Any, int]:
    """Uniform integers of as many bits as a mantissa of `dtype` holds, and that number of bits."""
    if dtype == np.dtype("float64"):
        return random_bits(shape, "int64") & np.int64((1 << 53) - 1), 53
    return random_bits(shape, "int32") & np.int32((1 << 24) - 1), 24


def shape_with(name: str, shape: Shape | None, *parameters: Any) -> tuple[int, ...]:
    """The shape of a draw: that of its parameters, or one that they broadcast to. Raises `ShapeError` otherwise."""
    own = np.broadcast_shapes(*(tuple(np.shape(p)) for p in parameters))
    if shape is None:
        return own
    lengths = lengths_of(shape)
    if not broadcasts_to(own, lengths):
        raise ShapeError(located(f"{name}: parameters of shape {own} do not broadcast to the shape {lengths}"))
    return lengths


def known(parameter: Any) -> Any:
    """A parameter whose values are known, as an array; `None` for a traced one."""
    return None if isinstance(parameter, Tracer) else as_array(parameter)


@tells_keywords
def uniform(shape: Shape = (), dtype: npt.DTypeLike = "float32", minval: Any = 0.0, maxval: Any = 1.0) -> Any:
    """Uniform in [minval, maxval): multiples of 2^-24 in float32, of 2^-53 in float64, for the range from 0 to 1.

    For another range these are stretched and moved, and rounding may give `maxval`. The bounds are numbers, or arrays
    that broadcast to `shape`. Raises `ValueError` for numbers that are no range.
    """
    resolved = float_dtype(dtype)
    bits, count = mantissa(shape, resolved)
    unit = xp.astype(bits, resolved) * 2.0**-count
    if type(minval) in (int, float) and type(maxval) in (int, float):
        if not (math.isfinite(minval) and math.isfinite(maxval) and minval <= maxval):
            raise ValueError(located(f"uniform: minval is at most maxval, and both are finite, got {minval}, {maxval}"))
        if (minval, maxval) == (0, 1):
            return unit
    shape_with("uniform", shape, minval, maxval)
    low, high = (xp.astype(xp.asarray(bound), resolved) for bound in (minval, maxval))
    return unit * (high - low) + low


def open_uniform(shape: Shape, dtype: DType) -> Any:
    """Uniform in (0, 1), symmetrical about a half."""
    bits, count = mantissa(shape, dtype)
    if count == 53:
        bits = bits >> np.int64(1)  # so that a half more is no rounding
        count = 52
    else:
        bits, count = bits >> np.int32(1), 23
    return (xp.astype(bits, dtype) + 0.5) * 2.0**-count


@tells_keywords
def normal(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Normal with mean 0 and variance 1. Box and Muller 1958, "A note on the generation of random normal deviates"."""
    radius = xp.sqrt(-2.0 * xp.log(1.0 - uniform(shape, dtype)))
    return radius * xp.cos(2 * math.pi * uniform(shape, dtype))


@tells_keywords
def truncated_normal(lower: Any, upper: Any, shape: Shape | None = None, dtype: npt.DTypeLike = "float32") -> Any:
    """Normal with mean 0 and variance 1, given that it lies between `lower` and `upper`.

    The bounds are numbers or arrays that broadcast to `shape`, and may be infinite. Values are differentiable functions
    of them. Raises `ValueError` for bounds known while tracing of which the lower one is not below the upper one.
    """
    resolved = float_dtype(dtype)
    lengths = shape_with("truncated_normal", shape, lower, upper)
    low, high = known(lower), known(upper)
    if low is not None and high is not None and not bool(np.all(low < high)):
        raise ValueError(located(f"truncated_normal: lower is below upper, got {lower} and {upper}"))
    low, high = (xp.astype(xp.asarray(bound), resolved) for bound in (lower, upper))
    # The tail that is nearer to 0 is drawn from: far from there, one minus a probability keeps no digits.
    turned = low > 0
    begin, end = (xp.where(turned, -a, b) for a, b in ((high, low), (low, high)))
    far = -36.0 if resolved == np.dtype("float64") else -12.0
    u = open_uniform(lengths, resolved)
    # Far out, where no float holds a probability, the tail is that of an exponential distribution.
    is_far = end < far
    slope = xp.where(is_far, -end, 1)
    tail = end + xp.log1p(-u * -xp.expm1(-slope * xp.maximum(end - begin, 0))) / slope
    first, last = emit(ew.ndtr, begin), xp.where(is_far, 0.5, emit(ew.ndtr, end))
    found = xp.where(is_far, tail, emit(special.ndtri, first + (last - first) * u))
    return xp.clip(xp.where(turned, -found, found), low, high)


@tells_keywords
def exponential(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Exponential with mean 1."""
    return -xp.log1p(-uniform(shape, dtype))


@tells_keywords
def gumbel(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Gumbel with location 0 and scale 1: the largest of many exponentials, less the logarithm of their number."""
    return -xp.log(-xp.log(open_uniform(shape, float_dtype(dtype))))


@tells_keywords
def laplace(shape: Shape = (), dtype: npt.DTypeLike = "float32") -> Any:
    """Laplace with mean 0 and scale 1: an exponential with a random sign."""
    u = open_uniform(shape, float_dtype(dtype)) - 0.5
    return -xp.sign(u) * xp.log1p(-2 * xp.abs(u))
