"""Losses of probabilities and of their logits, element by element, as layers."""

from __future__ import annotations

from typing import Any, Literal

from .. import functional as F
from ..functional.reduction import Reduction, check_reduction
from .loss import Loss


class BCELoss(Loss):
    """-(y log p + (1 - y) log(1 - p)); see `functional.binary_cross_entropy`."""

    def __init__(
        self, weight: Any = None, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        self.hold("weight", weight)
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy(input, target, weight=self.held("weight"), reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """-(y log σ(x) + (1 - y) log(1 - σ(x))); see `functional.binary_cross_entropy_with_logits`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        reduce: None = None,
        reduction: Reduction = "mean",
        pos_weight: Any = None,
    ) -> None:
        self.hold("weight", weight)
        self.hold("pos_weight", pos_weight)
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(
            input, target, weight=self.held("weight"), reduction=self.reduction, pos_weight=self.held("pos_weight")
        )


class KLDivLoss(Loss):
    """target (log target - input); `reduction` may be "batchmean" too, see `functional.kl_div`."""

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: Literal["mean", "sum", "none", "batchmean"] = "mean",
        log_target: bool = False,
    ) -> None:
        self.log_target = log_target
        if reduction != "batchmean":
            check_reduction(reduction)
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)

    def options(self) -> tuple[str, ...]:
        return ("log_target", "reduction")


class SoftMarginLoss(Loss):
    """log(1 + e^(-target input)) for targets -1 and 1."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean") -> None:
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """The mean over classes of -(y log σ(x) + (1 - y) log(1 - σ(x)))."""

    def __init__(
        self, weight: Any = None, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        self.hold("weight", weight)
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.multilabel_soft_margin_loss(input, target, weight=self.held("weight"), reduction=self.reduction)
