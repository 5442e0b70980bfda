"""Losses of predicted numbers, and of the parameters of their distributions."""

from __future__ import annotations

import math
from typing import Any

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, broadcasts_to, described
from ...tracing.activations import float32_inside
from ...tracing.tracer import ShapeError, located
from ...tracing.transforms import stop_gradient
from ..spelling import torch_arguments
from .reduction import Reduction, as_floats, float_pair, pair, reduced


def _of_weight(what: str, weight: Any, loss: Any) -> Any:
    """A weight for each element. Raises `ShapeError` for another shape."""
    weight = as_arraylike(weight)
    if weight.shape != loss.shape:
        raise ShapeError(located(f"{what}: weight has the shape of the input, {loss.shape}, got {described(weight)}"))
    return xp.astype(weight, loss.dtype)


def _weighted_mean(what: str, loss: Any, weight: Any, reduction: str) -> Any:
    """The loss times its weights, whose mean is divided by the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)
    weight = _of_weight(what, weight, loss)
    return xp.sum(loss * weight) / xp.sum(weight) if reduction == "mean" else reduced(loss * weight, reduction)


@float32_inside
@torch_arguments
def mse_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
    weight: Any = None,
) -> Any:
    """(input - target)²; times `weight`, of the input's shape, and its mean is then by weight."""
    input, target = pair("mse_loss", input, target, reduction)
    difference = input - target
    return _weighted_mean("mse_loss", difference * difference, weight, reduction)


@float32_inside
@torch_arguments
def l1_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
    weight: Any = None,
) -> Any:
    """|input - target|; times `weight`, of the input's shape, and its mean is then by weight."""
    input, target = pair("l1_loss", input, target, reduction)
    return _weighted_mean("l1_loss", xp.abs(input - target), weight, reduction)


@float32_inside
@torch_arguments
def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
    beta: float = 1.0,
) -> Any:
    """d² / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; d = input - target. `l1_loss` for beta = 0."""
    if beta < 0:
        raise ValueError(located(f"smooth_l1_loss: beta is 0 or more, got {beta}"))
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    input, target = pair("smooth_l1_loss", input, target, reduction)
    size, near, short = _near(input - target, beta)
    return reduced(xp.where(near, short * short * (0.5 / beta), size - 0.5 * beta), reduction)


@float32_inside
@torch_arguments
def huber_loss(input: Any, target: Any, reduction: Reduction = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """d² / 2 where |d| < delta, delta (|d| - delta / 2) elsewhere; d = input - target. Huber 1964.

    A `weight`, of the input's shape, multiplies; the mean is then by the number of elements, as in torch.
    """
    if delta <= 0:
        raise ValueError(located(f"huber_loss: delta is above 0, got {delta}"))
    input, target = pair("huber_loss", input, target, reduction)
    size, near, short = _near(input - target, delta)
    loss = xp.where(near, short * short * 0.5, delta * (size - 0.5 * delta))
    return reduced(loss if weight is None else loss * _of_weight("huber_loss", weight, loss), reduction)


def _near(difference: Any, bound: float) -> tuple[Any, Any, Any]:
    """|difference|, where it is below the bound, and the difference there; 0 elsewhere, since an infinite one has no
    square, whose derivative would be 0 * inf.
    """
    size = xp.abs(difference)
    near = size < bound
    return size, near, xp.where(near, difference, 0)


@float32_inside
@torch_arguments
def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: None = None,
    eps: float = 1e-8,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """e^input - target input; without `log_input`, input - target log(input + eps): -log of Poisson's distribution.

    With `full` comes Stirling's approximation of log(target!), where target > 1: t log t - t + log(2 π t) / 2.
    """
    x, y = float_pair("poisson_nll_loss", input, target, reduction)
    loss = xp.exp(x) - y * x if log_input else x - y * xp.log(x + eps)
    if full:
        above = y > 1
        t = xp.where(above, y, 1)
        loss = loss + xp.where(above, t * xp.log(t) - t + 0.5 * xp.log(2 * math.pi * t), 0)
    return reduced(loss, reduction)


@float32_inside
@torch_arguments
def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: Reduction = "mean"
) -> Any:
    """(log v + (input - target)² / v) / 2, with `full` plus log(2 π) / 2: -log of a normal distribution.

    The target broadcasts to the input's shape. `var` is a number, of the input's shape, of that without the last axis,
    or with one axis of length 1. v is `var`, or eps where that is larger, and its derivative is that of `var`
    everywhere. Nix and Weigend 1994. Raises `ValueError` for a negative number; the loss of a negative element is NaN.
    """
    x, y = as_arraylike(input), as_arraylike(target)
    if broadcasts_to(y.shape, x.shape):
        y = xp.broadcast_to(y, x.shape)
    x, y = float_pair("gaussian_nll_loss", x, y, reduction)
    variance = _variance(var, x)
    bounded = xp.where(variance < 0, math.nan, xp.maximum(variance, eps))
    variance = variance + stop_gradient(bounded - variance)
    difference = x - y
    loss = 0.5 * (xp.log(variance) + difference * difference / variance)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def _variance(var: Any, x: Any) -> Any:
    """`var` in a shape that broadcasts to that of x. Raises for others, and for a negative number."""
    if isinstance(var, (int, float)) and var < 0:
        raise ValueError(located(f"gaussian_nll_loss: var is 0 or more, got {var}"))
    var = xp.astype(as_floats(var, x), x.dtype)
    shape, whole = tuple(var.shape), tuple(x.shape)
    if shape in (whole, ()):
        return var
    if shape == whole[:-1]:
        return xp.expand_dims(var, -1)
    if len(shape) == len(whole) and [v for v, n in zip(shape, whole) if v != n] == [1]:
        return var
    raise ShapeError(
        located(
            f"gaussian_nll_loss: for an input of {described(x)}, var has its shape, that without the last axis, or one "
            f"with a single axis of length 1, got {described(var)}"
        )
    )
