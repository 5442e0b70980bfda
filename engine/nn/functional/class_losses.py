"""Losses of scores of classes, with labels that are class numbers. A label that is no class stops the run."""

from __future__ import annotations

from typing import Any

from ....ir import is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.activations import float32_inside
from ...tracing.tracer import ShapeError, TracingError, located
from ..spelling import torch_arguments
from .linear_cross_entropy_options import check_options
from .piecewise_activations import relu
from .reduction import Reduction, check_reduction, reduced
from .softmax import shifted_by_largest
from .transformations import checked_index, class_places, linear


def _classes_last(what: str, input: Any, reduction: str) -> Any:
    check_reduction(reduction)
    x = as_arraylike(input)
    if x.ndim < 1 or not is_float(x.dtype):
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


def _class_weight(what: str, weight: Any, x: Any) -> Any:
    """A weight for each class, in the dtype of x (..., C)."""
    weight, classes = as_arraylike(weight), x.shape[-1]
    if tuple(weight.shape) != (classes,):
        raise ShapeError(
            located(f"{what}: weight has one number for each of {classes} classes, got {described(weight)}")
        )
    return xp.astype(weight, x.dtype)


def _at_label(x: Any, label: Any, weight: Any) -> tuple[Any, Any]:
    """x at the label of every row, without a gather; and the weight of every row, `None` where all are 1."""
    hit = class_places(x, tuple(x.shape)) == xp.expand_dims(label, -1)
    value = xp.sum(xp.where(hit, x, 0), axis=-1)
    return value, None if weight is None else xp.sum(xp.where(hit, weight, 0), axis=-1)


def _over_rows(loss: Any, row_weight: Any, kept: Any, reduction: str) -> Any:
    """`loss` of rows, already weighted, without those that are not `kept`; the mean is by weight."""
    if kept is not None:
        loss = xp.where(kept, loss, 0)
    if reduction != "mean" or (row_weight is None and kept is None):
        return reduced(loss, reduction)
    if row_weight is None:
        return xp.sum(loss) / xp.sum(xp.astype(kept, loss.dtype))
    return xp.sum(loss) / xp.sum(row_weight if kept is None else xp.where(kept, row_weight, 0))


@float32_inside
@torch_arguments
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """-input at the label, for log-probabilities (N, C) or (N, C, d1, ...) and labels (N,) or (N, d1, ...).

    Rows labelled `ignore_index` count for nothing; "mean" is by `weight`, one for each class.
    """
    x = _classes_last("nll_loss", input, reduction)
    label, kept = _labels("nll_loss", target, x, ignore_index)
    weight = None if weight is None else _class_weight("nll_loss", weight, x)
    value, row_weight = _at_label(x, label, weight)
    return _over_rows(-value if row_weight is None else -value * row_weight, row_weight, kept, reduction)


@float32_inside
@torch_arguments
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
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
    weight = None if weight is None else _class_weight("cross_entropy", weight, x)
    shifted, _ = shifted_by_largest(x, -1)
    total = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    target = as_arraylike(target)
    if is_float(target.dtype) and tuple(target.shape) == tuple(as_arraylike(input).shape):
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


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Any:
    """`cross_entropy` of the logits `input @ linear_weight.T + linear_bias`, for input (N, F) or (F,) and
    `linear_weight` (C, F), or (C, d1, ..., F) for logits (N, C, d1, ...).

    Planned, the logits are made some rows at a time where that saves memory: torch's `options` are taken, and no result
    depends on them. Raises `ValueError` for an `ignore_index` of probabilities.
    """
    check_options("linear_cross_entropy", options)
    x, matrix = as_arraylike(input), as_arraylike(linear_weight)
    if matrix.ndim < 2 or x.ndim not in (1, 2) or (x.ndim == 1 and matrix.ndim > 2):
        fit = f"input is (N, F), or (F,) for linear_weight (C, F), got {tuple(x.shape)} and {tuple(matrix.shape)}"
        raise ShapeError(located(f"linear_cross_entropy: {fit}"))
    features, shape = matrix.shape[-1], tuple(matrix.shape[:-1])
    bias = None if linear_bias is None else as_arraylike(linear_bias)
    if bias is not None and tuple(bias.shape) != shape:
        raise ShapeError(located(f"linear_cross_entropy: linear_bias is {shape}, as the weight, got {described(bias)}"))
    bias = None if bias is None else xp.reshape(bias, (-1,))
    logits = xp.reshape(linear(x, xp.reshape(matrix, (-1, features)), bias), (*x.shape[:-1], *shape))
    target = as_arraylike(target)
    if ignore_index is not None and is_float(target.dtype) and target.shape == logits.shape:
        raise ValueError(located("linear_cross_entropy: ignore_index is for labels, and the target has probabilities"))
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )


def _soft_cross_entropy(
    x: Any, shifted: Any, total: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Any:
    if target.ndim > 2:
        target = xp.moveaxis(target, 1, -1)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[-1]
    if weight is not None:
        target = target * weight
    return reduced(xp.sum((xp.expand_dims(total, -1) - shifted) * target, axis=-1), reduction)


@float32_inside
@torch_arguments
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """Σ max(0, margin - x at the label + x)^p / C over the other classes, for scores (C,) or (N, C) and labels () or
    (N,); times the label's `weight`. p is 1 or 2.
    """
    x, target = _scores("multi_margin_loss", input, reduction), as_arraylike(target)
    if x.ndim == 1 and tuple(target.shape) == (1,):
        x = xp.expand_dims(x, 0)
    if p not in (1, 2):
        raise ValueError(located(f"multi_margin_loss: p is 1 or 2, got {p}"))
    classes = x.shape[-1]
    label, _ = _labels("multi_margin_loss", target, x, -1 - classes)
    weight = None if weight is None else _class_weight("multi_margin_loss", weight, x)
    hit = class_places(x, tuple(x.shape)) == xp.expand_dims(label, -1)
    value, row_weight = _at_label(x, label, weight)
    over = relu(xp.where(hit, 0, margin - xp.expand_dims(value, -1) + x))
    loss = xp.sum(over if p == 1 else over * over, axis=-1) / classes
    return reduced(loss if row_weight is None else loss * row_weight, reduction)


def _scores(what: str, input: Any, reduction: str) -> Any:
    """Scores (C,) or (N, C), or a scalar for the one class that there is."""
    check_reduction(reduction)
    x = as_arraylike(input)
    if x.ndim > 2 or not is_float(x.dtype):
        raise ShapeError(located(f"{what}: input is (C,) or (N, C) floats, got {described(x)}"))
    return x if x.ndim else xp.expand_dims(x, 0)


@float32_inside
@torch_arguments
def multilabel_margin_loss(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
) -> Any:
    """Σ max(0, 1 - x at a label + x at another class) / C over all pairs of both, for scores (C,) or (N, C).

    `target` has the shape of the scores: the labels of a row are those before its first -1.
    """
    what = "multilabel_margin_loss"
    x, target = _scores(what, input, reduction), as_arraylike(target)
    target = target if target.ndim else xp.expand_dims(target, 0)
    if target.shape != x.shape or target.dtype.kind not in "iu":
        raise ShapeError(
            located(f"{what}: labels are integers of the input's shape {tuple(x.shape)}, got {described(target)}")
        )
    classes = x.shape[-1]
    label = xp.astype(checked_index(xp.where(target == -1, 0, target), classes, f"{what}: labels"), "int32")
    is_label = xp.cumulative_sum(xp.astype(target == -1, "int32"), axis=-1) == 0
    # (..., label, class)
    shape = (*x.shape, classes)
    hit = (class_places(x, shape) == xp.expand_dims(label, -1)) & xp.expand_dims(is_label, -1)
    at_label = xp.sum(xp.where(hit, xp.expand_dims(x, -2), 0), axis=-1)
    is_other = ~xp.any(hit, axis=-2, keepdims=True) & xp.expand_dims(is_label, -1)
    over = relu(xp.where(is_other, 1 - xp.expand_dims(at_label, -1) + xp.expand_dims(x, -2), 0))
    return reduced(xp.sum(over, axis=(-2, -1)) / max(classes, 1), reduction)
