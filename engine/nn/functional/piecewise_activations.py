"""Activation functions that are linear, or quadratic, between kinks, by element, on arrays of any shape.

Their derivatives at a kink are torch's. Where a branch of `where` that is not taken would be infinite, or is a factor
of what is, it is replaced before: its derivative of 0 times infinity would be NaN.
"""

from __future__ import annotations

from typing import Any

from ....ir import is_float
from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing import random
from ...tracing.activations import rounded_once
from ...tracing.tracer import ShapeError, emit, located
from ..spelling import torch_arguments


@rounded_once
@torch_arguments
def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0); the derivative at 0 is 0."""
    return emit(ew.relu, as_arraylike(input))


@rounded_once
@torch_arguments
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x between min_val and max_val, and the nearer one beyond them.

    The derivative at both is 0, where that of `np.clip` is 1. Integers stay integers, between the whole parts of both.
    Raises `ValueError` where min_val is above max_val.
    """
    if min_val > max_val:
        raise ValueError(located(f"hardtanh: min_val is not above max_val, got {min_val} and {max_val}"))
    x = as_arraylike(input)
    if not is_float(x.dtype):
        min_val, max_val = int(min_val), int(max_val)
    return xp.where(x <= min_val, min_val, xp.where(x >= max_val, max_val, x))


@rounded_once
@torch_arguments
def relu6(input: Any, inplace: bool = False) -> Any:
    """x between 0 and 6, and the nearer one beyond them; the derivative at both is 0. Krizhevsky 2010."""
    x = relu(input)
    return xp.where(x >= 6, 6, x)


@rounded_once
@torch_arguments
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, negative_slope x elsewhere."""
    x = as_arraylike(input)
    return xp.where(x > 0, x, x * negative_slope)


@rounded_once
@torch_arguments
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where x > threshold, `value` elsewhere."""
    x = as_arraylike(input)
    return xp.where(x <= threshold, value, x)


@rounded_once
@torch_arguments
def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """(x + 3) / 6 between -3 and 3, 0 below and 1 above; the derivative at both is 0."""
    x = as_arraylike(input)
    return xp.where(x <= -3, 0, xp.where(x >= 3, 1, (x + 3) / 6))


@rounded_once
@torch_arguments
def hardswish(input: Any, inplace: bool = False) -> Any:
    """x hardsigmoid(x); the derivative at -3 is 0, at 3 it is 1. Howard et al. 2019, "Searching for MobileNetV3"."""
    x = as_arraylike(input)
    x = xp.where(x <= -3, -3, x)
    return x * xp.where(x >= 3, 1, (x + 3) / 6)


@rounded_once
def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """0 where |x| <= lambd, x elsewhere."""
    x = as_arraylike(input)
    return xp.where(xp.abs(x) <= lambd, 0, x)


@rounded_once
def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """0 where |x| <= lambd, elsewhere x less lambd, or plus lambd for x < 0. Raises `ValueError` where lambd < 0."""
    if lambd < 0:
        raise ValueError(located(f"softshrink: lambd is 0 or more, got {lambd}"))
    x = as_arraylike(input)
    return xp.where(xp.abs(x) <= lambd, 0, xp.where(x > 0, x - lambd, x + lambd))


@rounded_once
def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, weight x elsewhere; weight holds one number, or one for each channel of (N, C, ...).

    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers". Raises `ShapeError` for other weights.
    """
    x, weight = as_arraylike(input), as_arraylike(weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ShapeError(
            located(
                f"prelu: weight has one number, or one for each of {channels} channels of {described(x)}, "
                f"got {described(weight)}"
            )
        )
    weight = xp.reshape(weight, () if weight.size == 1 else (-1,) + (1,) * (x.ndim - 2))
    above = x > 0
    return xp.where(above, x, weight * xp.where(above, 0, x))


@rounded_once
@torch_arguments
def rrelu(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Any:
    """x where x > 0, a x elsewhere: in training a is uniform between lower and upper, else in the middle of them.

    Xu, Wang, Chen and Li 2015, "Empirical evaluation of rectified activations". Raises `ValueError` where lower is
    above upper, and in training `RuntimeError` where there is no key to draw from, see `gl.random.key`.
    """
    if lower > upper:
        raise ValueError(located(f"rrelu: lower is not above upper, got {lower} and {upper}"))
    x = as_arraylike(input)
    if not training:
        return leaky_relu(x, (lower + upper) / 2)
    slope = random.uniform(tuple(x.shape), x.dtype) * (upper - lower) + lower
    return xp.where(x > 0, x, x * slope)
