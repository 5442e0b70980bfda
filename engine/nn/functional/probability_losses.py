"""Losses of probabilities and of their logits, element by element."""

from __future__ import annotations

import math
from typing import Any, Literal

from ... import array_api as xp
from ...tracing.activations import float32_inside
from ...tracing.tracer import ShapeError, located
from ...tracing.transforms import stop_gradient
from ..spelling import torch_arguments
from .reduction import Reduction, broadcast_weight, float_pair, pair, reduced
from .smooth_activations import log_one_plus_exp, log_one_plus_exp_of_minus_abs


def _of_logits(x: Any, y: Any, pos_weight: Any = None) -> Any:
    """-(pos_weight y log σ(x) + (1 - y) log(1 - σ(x)))."""
    # log(1 + eˣ) is x + log(1 + e^-|x|) for x > 0 and log(1 + e^-|x|) elsewhere: no large terms cancel.
    above = x > 0
    rest = log_one_plus_exp_of_minus_abs(x, above)
    if pos_weight is None:
        factor = xp.astype(above, x.dtype) - y
    else:
        positive, negative = pos_weight * y, 1 - y
        factor, rest = xp.where(above, negative, -positive), (positive + negative) * rest
    # An infinite logit that is right costs nothing.
    return factor * xp.where(xp.isinf(x) & (factor == 0), 0, x) + rest


@float32_inside
@torch_arguments
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
    pos_weight: Any = None,
) -> Any:
    """-(pos_weight y log σ(x) + (1 - y) log(1 - σ(x))) for logits x and targets y from 0 to 1, without overflow.

    The loss and its derivatives keep their digits where σ(x) is nearly y. `weight` and `pos_weight` broadcast.
    """
    what = "binary_cross_entropy_with_logits"
    x, y = float_pair(what, input, target, reduction)
    pos_weight = None if pos_weight is None else broadcast_weight(what, "pos_weight", pos_weight, x)
    loss = _of_logits(x, y, pos_weight)
    return reduced(loss if weight is None else loss * broadcast_weight(what, "weight", weight, x), reduction)


@float32_inside
@torch_arguments
def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p and targets y from 0 to 1; logarithms are -100 or more.

    The derivative is (p - y) / max(p (1 - p), 1e-12), as in torch. The loss of a p outside [0, 1] is NaN. Prefer
    `binary_cross_entropy_with_logits`, which keeps the digits of large logits. `weight` broadcasts.
    """
    what = "binary_cross_entropy"
    p, y = float_pair(what, input, target, reduction)
    at_end = p * (1 - p) < 1e-12
    inside = xp.where(at_end, 0.5, p)
    loss = -(y * xp.log(inside) + (1 - y) * xp.log1p(-inside))
    # A step at the ends, and the slope that torch has there.
    end = stop_gradient(p)
    step = -(y * xp.maximum(xp.log(end), -100) + (1 - y) * xp.maximum(xp.log1p(-end), -100))
    loss = xp.where(at_end, step + (p - end) * stop_gradient((p - y) * 1e12), loss)
    return reduced(loss if weight is None else loss * broadcast_weight(what, "weight", weight, p), reduction)


@float32_inside
@torch_arguments
def kl_div(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean",
    log_target: bool = False,
) -> Any:
    """target (log target - input), with the logarithm of the approximating distribution as input.

    With `log_target` the target is a logarithm too. "mean" is over all elements; "batchmean" divides their sum by the
    length of the first axis, which is the divergence of Kullback and Leibler 1951. A target of probability 0 costs
    nothing.
    """
    x, y = pair("kl_div", input, target, "sum" if reduction == "batchmean" else reduction)
    if log_target:
        loss = xp.exp(y) * xp.where(y == -math.inf, 0, y - x)
    else:
        zero = y == 0
        loss = y * (xp.log(xp.where(zero, 1, y)) - xp.where(zero, 0, x))
    if reduction != "batchmean":
        return reduced(loss, reduction)
    return xp.sum(loss) / (x.shape[0] if x.ndim else 1)


@float32_inside
@torch_arguments
def soft_margin_loss(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
) -> Any:
    """log(1 + e^(-target input)) for targets -1 and 1, without overflow."""
    x, y = float_pair("soft_margin_loss", input, target, reduction)
    return reduced(log_one_plus_exp(-y * x), reduction)


@float32_inside
@torch_arguments
def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """The mean over the last axis, of classes, of -(y log σ(x) + (1 - y) log(1 - σ(x))), times `weight`."""
    what = "multilabel_soft_margin_loss"
    x, y = float_pair(what, input, target, reduction)
    if x.ndim == 0:
        raise ShapeError(located(f"{what}: the last axis is that of classes, and the input has none"))
    loss = _of_logits(x, y)
    loss = loss if weight is None else loss * broadcast_weight(what, "weight", weight, x)
    return reduced(xp.mean(loss, axis=-1), reduction)
