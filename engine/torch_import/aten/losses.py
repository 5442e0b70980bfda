"""Losses that are kept whole."""

from __future__ import annotations

from typing import Any

from ...nn import functional as F
from ..table import aten, op

_REDUCTIONS = ("none", "mean", "sum")


@aten("cross_entropy_loss.default", whole=True)
def cross_entropy_loss(
    x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100, label_smoothing: float = 0.0
) -> Any:
    """The negative logarithm of the probability of each class."""
    return F.cross_entropy(
        x,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=_REDUCTIONS[reduction],
        label_smoothing=label_smoothing,
    )


@aten("nll_loss_nd.default", "nll_loss.default", "nll_loss2d.default", whole=True)
def nll_loss(x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100) -> Any:
    """The negative of the element of each class."""
    return F.nll_loss(x, target, weight=weight, ignore_index=ignore_index, reduction=_REDUCTIONS[reduction])


@aten("nll_loss_forward.default")
def nll_loss_forward(x: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> Any:
    """The negative of the element of each class."""
    return nll_loss(x, target, weight, reduction, ignore_index), None


@aten("mse_loss.default", whole=True)
def mse_loss(x: Any, target: Any, reduction: int = 1) -> Any:
    """Squared differences."""
    return F.mse_loss(x, target, reduction=_REDUCTIONS[reduction])


@aten("binary_cross_entropy_with_logits.default", whole=True)
def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """The cross-entropy of yes and no, of logits."""
    return F.binary_cross_entropy_with_logits(
        x, target, weight=weight, pos_weight=pos_weight, reduction=_REDUCTIONS[reduction]
    )


@aten("multilabel_margin_loss_forward.default", whole=True)
def multilabel_margin_loss_forward(x: Any, target: Any, reduction: int) -> Any:
    """How far the classes of each row are from standing above all others by 1."""
    return F.multilabel_margin_loss(x, target, reduction=_REDUCTIONS[reduction]), None


@aten("multi_margin_loss.default", whole=True)
def multi_margin_loss(
    x: Any, target: Any, p: float = 1, margin: float = 1, weight: Any = None, reduction: int = 1
) -> Any:
    """How far the class of each row is from standing above all others by a margin."""
    return F.multi_margin_loss(x, target, p=int(p), margin=margin, weight=weight, reduction=_REDUCTIONS[reduction])


@op("gradloom.ctc_loss.default")
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: Any, zero: bool
) -> Any:
    """Graves et al. 2006."""
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero)


@op("gradloom.gaussian_nll_loss.default")
def gaussian_nll_loss(x: Any, target: Any, var: Any, full: bool, eps: float, reduction: Any) -> Any:
    """The negative logarithm of normal densities."""
    return F.gaussian_nll_loss(x, target, var, full, eps, reduction)
