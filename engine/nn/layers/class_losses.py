"""Losses of scores of classes, with labels that are class numbers, as layers."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from ... import array_api as xp
from ...tracing.tracer import located
from .. import functional as F
from ..functional.linear_cross_entropy_options import check_options
from ..functional.reduction import Reduction
from .linear import Linear
from .loss import Loss


class NLLLoss(Loss):
    """-input at the label, for log-probabilities; see `functional.nll_loss`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: Reduction = "mean",
    ) -> None:
        self.hold("weight", weight)
        self.ignore_index = ignore_index
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.nll_loss(
            input, target, weight=self.held("weight"), ignore_index=self.ignore_index, reduction=self.reduction
        )

    def options(self) -> tuple[str, ...]:
        return ("ignore_index", "reduction")


class NLLLoss2d(NLLLoss):
    """`NLLLoss` under the name that it had before in torch, for images of classes (N, C, H, W)."""


class CrossEntropyLoss(Loss):
    """log Σ eˣ - x at the label, for logits; see `functional.cross_entropy`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.hold("weight", weight)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(located(f"CrossEntropyLoss: label_smoothing is from 0 to 1, got {label_smoothing}"))
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(
            input,
            target,
            weight=self.held("weight"),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def options(self) -> tuple[str, ...]:
        return ("ignore_index", "label_smoothing", "reduction")


class MultiMarginLoss(Loss):
    """Σ max(0, margin - x at the label + x)^p / C over the other classes; see `functional.multi_margin_loss`."""

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: None = None,
        reduce: None = None,
        reduction: Reduction = "mean",
    ) -> None:
        self.hold("weight", weight)
        if p not in (1, 2):
            raise ValueError(located(f"MultiMarginLoss: p is 1 or 2, got {p}"))
        self.p = p
        self.margin = margin
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.held("weight"), reduction=self.reduction
        )

    def options(self) -> tuple[str, ...]:
        return ("p", "margin", "reduction")


class MultiLabelMarginLoss(Loss):
    """Hinges between each label and each other class; see `functional.multilabel_margin_loss`."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean") -> None:
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class LinearCrossEntropyLoss(Loss):
    """`functional.linear_cross_entropy`, with a layer `linear` (num_classes times `out_features`, in_features)."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: npt.DTypeLike = "float32",
        reduction: Reduction = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        check_options("LinearCrossEntropyLoss", options)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(located(f"LinearCrossEntropyLoss: label_smoothing is from 0 to 1, got {label_smoothing}"))
        self.hold("weight", weight)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.linear = Linear(in_features, math.prod(self.out_features, start=num_classes), bias, dtype)
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        weight, bias, shape = self.linear.weight, self.linear.bias, (self.num_classes, *self.out_features)
        return F.linear_cross_entropy(
            input,
            xp.reshape(weight, (*shape, weight.shape[-1])),
            target,
            linear_bias=None if bias is None else xp.reshape(bias, shape),
            weight=self.held("weight"),
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def options(self) -> tuple[str, ...]:
        return ("num_classes", "out_features", "ignore_index", "label_smoothing", "reduction")


class CTCLoss(Loss):
    """-log of the probability of labels whose places in time are not known; see `functional.ctc_loss`."""

    def __init__(self, blank: int = 0, reduction: Reduction = "mean", zero_infinity: bool = False) -> None:
        self.blank = blank
        self.zero_infinity = zero_infinity
        self.reduce_by(reduction)

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Any:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )

    def options(self) -> tuple[str, ...]:
        return ("blank", "zero_infinity", "reduction")
