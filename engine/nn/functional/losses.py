"""Losses. `reduction` is "mean", "sum" or "none"; shapes never broadcast."""

from __future__ import annotations

from typing import Any, Literal

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, TracingError, located
from ..spelling import torch_arguments
from .smooth_activations import log_one_plus_exp_of_minus_abs
from .softmax import shifted_by_largest
from .transformations import checked_index, class_places

Reduction = Literal["mean", "sum", "none"]


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction == "mean":
        return xp.mean(loss)
    if reduction == "sum":
        return xp.sum(loss)
    return loss


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(located(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}"))


def _pair(what: str, input: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    _check_reduction(reduction)
    input, target = as_arraylike(input), as_arraylike(target)
    if input.shape != target.shape:
        raise ShapeError(
            located(
                f"{what}: input is {described(input)} and target {described(target)}; reshape one to the other's shape"
            )
        )
    return input, target


@torch_arguments
def mse_loss(input: Any, target: Any, reduction: Reduction = "mean") -> Any:
    """(input - target)²."""
    input, target = _pair("mse_loss", input, target, reduction)
    difference = input - target
    return _reduced(difference * difference, reduction)


@torch_arguments
def l1_loss(input: Any, target: Any, reduction: Reduction = "mean") -> Any:
    """|input - target|."""
    input, target = _pair("l1_loss", input, target, reduction)
    return _reduced(xp.abs(input - target), reduction)


@torch_arguments
def smooth_l1_loss(input: Any, target: Any, reduction: Reduction = "mean", beta: float = 1.0) -> Any:
    """d² / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; d = input - target. `l1_loss` for beta = 0."""
    if beta < 0:
        raise ValueError(located(f"smooth_l1_loss: beta is 0 or more, got {beta}"))
    if beta == 0:
        return l1_loss(input, target, reduction)
    input, target = _pair("smooth_l1_loss", input, target, reduction)
    difference = input - target
    size = xp.abs(difference)
    near = size < beta
    # An infinite difference has no square, whose derivative would be 0 * inf.
    squared = xp.where(near, difference, 0)
    loss = xp.where(near, squared * squared * (0.5 / beta), size - 0.5 * beta)
    return _reduced(loss, reduction)


@torch_arguments
def huber_loss(input: Any, target: Any, reduction: Reduction = "mean", delta: float = 1.0) -> Any:
    """d² / 2 where |d| < delta, delta (|d| - delta / 2) elsewhere; d = input - target. Huber 1964."""
    if delta <= 0:
        raise ValueError(located(f"huber_loss: delta is above 0, got {delta}"))
    input, target = _pair("huber_loss", input, target, reduction)
    difference = input - target
    size = xp.abs(difference)
    near = size < delta
    # An infinite difference has no square, whose derivative would be 0 * inf.
    squared = xp.where(near, difference, 0)
    loss = xp.where(near, squared * squared * 0.5, delta * (size - 0.5 * delta))
    return _reduced(loss, reduction)


@torch_arguments
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: Reduction = "mean", pos_weight: Any = None
) -> Any:
    """-(pos_weight y log σ(x) + (1 - y) log(1 - σ(x))) for logits x and targets y from 0 to 1, without overflow.

    The loss and its derivatives keep their digits where σ(x) is nearly y.
    """
    x, y = _pair("binary_cross_entropy_with_logits", input, target, reduction)
    if y.dtype.kind != "f":
        y = xp.astype(y, x.dtype)
    # log(1 + eˣ) is x + log(1 + e^-|x|) for x > 0 and log(1 + e^-|x|) elsewhere: no large terms cancel.
    above = x > 0
    rest = log_one_plus_exp_of_minus_abs(x, above)
    if pos_weight is None:
        factor = xp.astype(above, x.dtype) - y
    else:
        positive, negative = pos_weight * y, 1 - y
        factor, rest = xp.where(above, negative, -positive), (positive + negative) * rest
    # An infinite logit that is right costs nothing.
    loss = factor * xp.where(xp.isinf(x) & (factor == 0), 0, x) + rest
    return _reduced(loss if weight is None else loss * weight, reduction)


def _classes_last(what: str, input: Any, reduction: str) -> Any:
    _check_reduction(reduction)
    x = as_arraylike(input)
    if x.ndim < 1 or x.dtype.kind != "f":
        raise ShapeError(located(f"{what}: input is (C,), (N, C) or (N, C, d1, ...) floats, got {described(x)}"))
    return xp.moveaxis(x, 1, -1) if x.ndim > 2 else x


def _labels(what: str, target: Any, x: Any, ignore_index: int) -> tuple[Any, Any]:
    """Labels as checked int32, ignored ones as 0; and which are not ignored, `None` where none can be."""
    target = as_arraylike(target)
    expected, classes = tuple(x.shape[:-1]), x.shape[-1]
    if target.dtype.kind not in "iu":
        hint = "write target.astype('int64')"
        raise TracingError(located(f"{what}: labels are integers of shape {expected}, got {described(target)}; {hint}"))
    if tuple(target.shape) != expected:
        hint = "labels are class numbers, one for each row"
        if tuple(target.shape) == (*expected, 1):
            hint = "write target[..., 0]"
        elif tuple(target.shape) == tuple(x.shape):
            hint = "a one-hot or probability target must be floats"
        raise ShapeError(
            located(f"{what}: for {classes} classes and input rows {expected}, labels are {described(target)}; {hint}")
        )
    kept = None
    if target.dtype.kind == "i" or 0 <= ignore_index < 256:
        kept = target != ignore_index
        target = xp.where(kept, target, 0)
    return xp.astype(checked_index(target, classes, what), "int32"), kept


def _class_weight(what: str, weight: Any, classes: int) -> Any:
    weight = as_arraylike(weight)
    if tuple(weight.shape) != (classes,):
        raise ShapeError(
            located(f"{what}: weight has one number for each of {classes} classes, got {described(weight)}")
        )
    return weight


def _at_label(x: Any, label: Any, weight: Any) -> tuple[Any, Any]:
    """x at the label of every row, without a gather; and the weight of every row, `None` where all are 1."""
    hit = class_places(x, tuple(x.shape)) == xp.expand_dims(label, -1)
    value = xp.sum(xp.where(hit, x, 0), axis=-1)
    return value, None if weight is None else xp.sum(xp.where(hit, xp.astype(weight, x.dtype), 0), axis=-1)


def _over_rows(loss: Any, row_weight: Any, kept: Any, reduction: str) -> Any:
    """`loss` of rows, already weighted, without those that are not `kept`; the mean is by weight."""
    if kept is not None:
        loss = xp.where(kept, loss, 0)
    if reduction != "mean" or (row_weight is None and kept is None):
        return _reduced(loss, reduction)
    if row_weight is None:
        return xp.sum(loss) / xp.sum(xp.astype(kept, loss.dtype))
    return xp.sum(loss) / xp.sum(row_weight if kept is None else xp.where(kept, row_weight, 0))


@torch_arguments
def nll_loss(
    input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: Reduction = "mean"
) -> Any:
    """-input at the label, for log-probabilities (N, C) or (N, C, d1, ...) and labels (N,) or (N, d1, ...).

    Rows labelled `ignore_index` count for nothing; "mean" is by `weight`, one for each class.
    """
    x = _classes_last("nll_loss", input, reduction)
    label, kept = _labels("nll_loss", target, x, ignore_index)
    weight = None if weight is None else _class_weight("nll_loss", weight, x.shape[-1])
    value, row_weight = _at_label(x, label, weight)
    return _over_rows(-value if row_weight is None else -value * row_weight, row_weight, kept, reduction)


@torch_arguments
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """log Σ eˣ - x at the label, for logits (C,), (N, C) or (N, C, d1, ...), as `torch.nn.functional.cross_entropy`.

    `target` holds labels of int32, int64 or uint8, of shape (), (N,) or (N, d1, ...); or probabilities, floats of the
    shape of the logits. Rows labelled `ignore_index` count for nothing; "mean" is by `weight`, one for each class. With
    `label_smoothing` s the target is 1 - s at the label plus s / C everywhere. A label that is no class stops the run
    with `IndexError`.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(located(f"cross_entropy: label_smoothing is from 0 to 1, got {label_smoothing}"))
    x = _classes_last("cross_entropy", input, reduction)
    classes = x.shape[-1]
    weight = None if weight is None else _class_weight("cross_entropy", weight, classes)
    shifted, _ = shifted_by_largest(x, -1)
    total = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    target = as_arraylike(target)
    if target.dtype.kind == "f" and tuple(target.shape) == tuple(as_arraylike(input).shape):
        return _soft_cross_entropy(x, shifted, total, target, weight, reduction, label_smoothing)
    label, kept = _labels("cross_entropy", target, x, ignore_index)
    value, row_weight = _at_label(shifted, label, weight)
    loss = total - value
    if row_weight is not None:
        loss = loss * row_weight
    if label_smoothing:
        if weight is None:
            smooth = total * classes - xp.sum(shifted, axis=-1)
        else:
            smooth = xp.sum((xp.expand_dims(total, -1) - shifted) * weight, axis=-1)
        loss = loss * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    return _over_rows(loss, row_weight, kept, reduction)


def _soft_cross_entropy(
    x: Any, shifted: Any, total: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Any:
    if target.ndim > 2:
        target = xp.moveaxis(target, 1, -1)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[-1]
    if weight is not None:
        target = target * weight
    return _reduced(xp.sum((xp.expand_dims(total, -1) - shifted) * target, axis=-1), reduction)
