"""Activation functions, softmax and its relatives, on arrays of any shape: by element or along `axis`."""

from __future__ import annotations

import math
from typing import Any, Literal

from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, dtype_of
from ...tracing.promotion import float_dtype
from ...tracing.torch_methods import numpy_dtype
from ...tracing.tracer import emit, located
from ...tracing.transforms import stop_gradient
from ..spelling import chosen_axis, torch_arguments


@torch_arguments
def relu(input: Any) -> Any:
    """max(x, 0); the derivative at 0 is 0."""
    return emit(ew.relu, as_arraylike(input))


@torch_arguments
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x between min_val and max_val, and the nearer one beyond them.

    The derivative at both is 0, where that of `np.clip` is 1. Raises `ValueError` where min_val is above max_val.
    """
    if min_val > max_val:
        raise ValueError(located(f"hardtanh: min_val is not above max_val, got {min_val} and {max_val}"))
    x = as_arraylike(input)
    return xp.where(x <= min_val, min_val, xp.where(x >= max_val, max_val, x))


@torch_arguments
def relu6(input: Any) -> Any:
    """x between 0 and 6, and the nearer one beyond them; the derivative at both is 0. Krizhevsky 2010."""
    x = relu(input)
    return xp.where(x >= 6, 6, x)


@torch_arguments
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """x where x > 0, negative_slope x elsewhere."""
    x = as_arraylike(input)
    return xp.where(x > 0, x, x * negative_slope)


@torch_arguments
def elu(input: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, alpha (eˣ - 1) elsewhere. Clevert, Unterthiner and Hochreiter 2016.

    At 0 the derivative is alpha and the second one 0, as in torch.
    """
    x = as_arraylike(input)
    below = x < 0
    # The branch not taken must stay finite, or its derivative would be 0 * inf.
    curved = alpha * xp.expm1(xp.where(below, x, 0))
    is_one = type(alpha) in (int, float) and alpha == 1
    return xp.where(below, curved, x if is_one else xp.where(x > 0, x, alpha * x))


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


def sigmoid(input: Any) -> Any:
    """1 / (1 + e⁻ˣ)."""
    return xp.expit(input)


@torch_arguments
def silu(input: Any) -> Any:
    """x sigmoid(x)."""
    x = _bounded_below(input)
    return x * sigmoid(_bounded_above(x))


def _bounded_below(x: Any) -> Any:
    """x as floats, from -10,000 on: for functions that are x times what is 0 below it, where -inf times that is NaN."""
    x = as_arraylike(x)
    x = xp.astype(x, float_dtype(dtype_of(x)))
    return xp.where(x < -_FAR, -_FAR, x)


def _bounded_above(x: Any) -> Any:
    """x up to 10,000: for a factor that is 1 above it, whose derivative there times an infinite x would be 0 * inf."""
    return xp.where(x > _FAR, _FAR, x)


_FAR = 1e4


def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return xp.tanh(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""
    x = as_arraylike(input)
    z = x * beta
    return xp.where(z > threshold, x, log_one_plus_exp(z) / beta)


def log_one_plus_exp(x: Any) -> Any:
    """log(1 + eˣ), without overflow, nor in its derivatives."""
    above = x > 0
    return xp.where(above, x, 0) + log_one_plus_exp_of_minus_abs(x, above)


def log_one_plus_exp_of_minus_abs(x: Any, above: Any) -> Any:
    """log(1 + e^-|x|), with `above` for x > 0.

    It has a kink at 0. What is made of it there by the same condition is smooth, as each side is smooth as a whole:
    maximum and abs, with their own derivatives at a tie, would leave no curvature.
    """
    return xp.log1p(xp.exp(xp.where(above, -x, x)))


def shifted_by_largest(x: Any, axis: int | tuple[int, ...]) -> tuple[Any, Any]:
    """x less its largest along `axis`, which softmax does not see, and that largest."""
    top = _largest(x, axis)
    return x - top, top


def _largest(x: Any, axis: int | tuple[int, ...]) -> Any:
    """The largest elements along `axis`, kept with length 1, without a derivative; 0 of nothing."""
    return stop_gradient((xp.max if x.size else xp.sum)(x, axis=axis, keepdims=True))


def _as_dtype(x: Any, dtype: Any) -> Any:
    return as_arraylike(x) if dtype is None else xp.astype(x, numpy_dtype(dtype))


@torch_arguments
def softmax(input: Any, axis: int = -1, *, dim: int | None = None, dtype: Any = None) -> Any:
    """eˣ / Σ eˣ along `axis`, or `dim`; of `input` as `dtype`, if one is given."""
    axis = chosen_axis(axis, dim, -1)
    e = xp.exp(shifted_by_largest(_as_dtype(input, dtype), axis)[0])
    return e / xp.sum(e, axis=axis, keepdims=True)


@torch_arguments
def log_softmax(input: Any, axis: int = -1, *, dim: int | None = None, dtype: Any = None) -> Any:
    """x - log Σ eˣ along `axis`, or `dim`; of `input` as `dtype`, if one is given."""
    axis = chosen_axis(axis, dim, -1)
    shifted, _ = shifted_by_largest(_as_dtype(input, dtype), axis)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


@torch_arguments
def logsumexp(
    input: Any, axis: int | tuple[int, ...] = -1, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False
) -> Any:
    """log Σ eˣ along `axis`, or `dim`, without overflow."""
    axis, keepdims = chosen_axis(axis, dim, -1), keepdims or keepdim
    x = as_arraylike(input)
    top = _largest(x, axis)
    # An infinite largest element would give inf - inf.
    top = xp.where(xp.isfinite(top), top, 0)
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=True)
    # Nothing but -inf has the derivative 0, where the logarithm's is infinite.
    nothing = total == 0
    result = xp.where(nothing, -math.inf, xp.log(xp.where(nothing, 1, total))) + top
    return result if keepdims else xp.squeeze(result, axis)
