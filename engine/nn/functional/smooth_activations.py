"""Smooth activation functions, by element, on arrays of any shape."""

from __future__ import annotations

import math
from typing import Any, Literal

from ....ir import finfo
from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, axis_index, described, dtype_of
from ...tracing.activations import rounded_once
from ...tracing.promotion import float_dtype
from ...tracing.tracer import ShapeError, emit, located
from ..spelling import chosen_axis, torch_arguments


@rounded_once
@torch_arguments
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, alpha (eˣ - 1) elsewhere. Clevert, Unterthiner and Hochreiter 2016.

    At 0 the derivative is alpha and the second one 0, as in torch.
    """
    x = as_arraylike(input)
    below = x < 0
    # The branch not taken must stay finite, or its derivative would be 0 * inf.
    curved = alpha * xp.expm1(xp.where(below, x, 0))
    is_one = type(alpha) in (int, float) and alpha == 1
    return xp.where(below, curved, x if is_one else xp.where(x > 0, x, alpha * x))


@rounded_once
@torch_arguments
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, alpha (e^(x / alpha) - 1) elsewhere: smooth at 0 for every alpha. Barron 2017.

    Raises `ValueError` where alpha is 0.
    """
    if type(alpha) in (int, float) and alpha == 0:
        raise ValueError(located("celu: alpha is not 0"))
    x = as_arraylike(input)
    below = x < 0
    return xp.where(below, alpha * xp.expm1(xp.where(below, x, 0) / alpha), x)


SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@rounded_once
@torch_arguments
def selu(input: Any, inplace: bool = False) -> Any:
    """scale times `elu` of such an alpha that mean 0 and variance 1 are kept from layer to layer.

    Klambauer, Unterthiner, Mayr and Hochreiter 2017, "Self-normalizing neural networks".
    """
    return SELU_SCALE * elu(input, SELU_ALPHA)


@rounded_once
def gelu(input: Any, approximate: Literal["none", "tanh"] = "none") -> Any:
    """x Φ(x), with the normal distribution function Φ, or its tanh form. Hendrycks and Gimpel 2016."""
    x = _bounded_below(input)
    bounded = _bounded_above(x)
    if approximate == "none":
        return x * emit(ew.ndtr, bounded)
    if approximate != "tanh":
        raise ValueError(located(f"approximate is 'none' or 'tanh', got {approximate!r}"))
    # (1 + tanh u) / 2 = sigmoid(2u), which keeps its digits for negative x.
    inner = 1 + 0.044715 * (bounded * bounded)
    return x * sigmoid(bounded * (2 * math.sqrt(2 / math.pi)) * inner)


@rounded_once
def sigmoid(input: Any) -> Any:
    """1 / (1 + e⁻ˣ)."""
    return xp.expit(input)


@rounded_once
@torch_arguments
def silu(input: Any, inplace: bool = False) -> Any:
    """x sigmoid(x)."""
    x = _bounded_below(input)
    return x * sigmoid(_bounded_above(x))


@rounded_once
@torch_arguments
def mish(input: Any, inplace: bool = False) -> Any:
    """x tanh(log(1 + eˣ)). Misra 2019."""
    x = _bounded_below(input)
    return x * xp.tanh(log_one_plus_exp(_bounded_above(x)))


@rounded_once
@torch_arguments
def glu(input: Any, axis: int = -1, *, dim: int | None = None) -> Any:
    """a sigmoid(b), for the first half a and the second half b of the input along `axis`, or `dim`.

    Dauphin, Fan, Auli and Grangier 2017. Raises `ShapeError` where the length is odd.
    """
    axis = chosen_axis(axis, dim, -1)
    x = as_arraylike(input)
    if x.ndim == 0 or x.shape[axis_index(axis, x.ndim)] % 2:
        raise ShapeError(located(f"glu: the length along axis {axis} is even, got {described(x)}"))
    first, second = xp.split(x, 2, axis=axis)
    return first * sigmoid(second)


def _bounded_below(x: Any) -> Any:
    """x as floats, from -10,000 on: for functions that are x times what is 0 below it, where -inf times that is NaN."""
    x = as_arraylike(x)
    x = xp.astype(x, float_dtype(dtype_of(x)))
    return xp.where(x < -_FAR, -_FAR, x)


def _bounded_above(x: Any) -> Any:
    """x up to 10,000: for a factor that is 1 above it, whose derivative there times an infinite x would be 0 * inf."""
    return xp.where(x > _FAR, _FAR, x)


_FAR = 1e4


@rounded_once
def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return xp.tanh(input)


@rounded_once
def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    x = as_arraylike(input)
    return x - xp.tanh(x)


@rounded_once
def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    x = as_arraylike(input)
    x = xp.astype(x, float_dtype(dtype_of(x)))
    # An infinite x would be inf / inf.
    most = float(finfo(x.dtype).max)
    x = xp.where(x > most, most, xp.where(x < -most, -most, x))
    return x / (1 + xp.abs(x))


@rounded_once
def logsigmoid(input: Any) -> Any:
    """log(1 / (1 + e⁻ˣ)), without overflow."""
    return -log_one_plus_exp(-as_arraylike(input))


@rounded_once
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""
    x = as_arraylike(input)
    z = x * beta
    return xp.where(z > threshold, x, log_one_plus_exp(z) / beta)


@rounded_once
def log_one_plus_exp(x: Any) -> Any:
    """log(1 + eˣ), without overflow, nor in its derivatives."""
    above = x > 0
    return xp.where(above, x, 0) + log_one_plus_exp_of_minus_abs(x, above)


@rounded_once
def log_one_plus_exp_of_minus_abs(x: Any, above: Any) -> Any:
    """log(1 + e^-|x|), with `above` for x > 0.

    It has a kink at 0. What is made of it there by the same condition is smooth, as each side is smooth as a whole:
    maximum and abs, with their own derivatives at a tie, would leave no curvature.
    """
    return xp.log1p(xp.exp(xp.where(above, -x, x)))
