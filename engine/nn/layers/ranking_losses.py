"""Losses that compare, of pairs and triplets of scores or of embeddings, as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...tracing.tracer import located
from .. import functional as F
from ..functional.reduction import Reduction
from .loss import Loss


class MarginRankingLoss(Loss):
    """max(0, margin - target (input1 - input2))."""

    def __init__(
        self, margin: float = 0.0, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        self.margin = margin
        self.reduce_by(reduction)

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)

    def options(self) -> tuple[str, ...]:
        return ("margin", "reduction")


class HingeEmbeddingLoss(Loss):
    """The input where the target is 1, max(0, margin - input) where it is -1."""

    def __init__(
        self, margin: float = 1.0, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        self.margin = margin
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)

    def options(self) -> tuple[str, ...]:
        return ("margin", "reduction")


class CosineEmbeddingLoss(Loss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""

    def __init__(
        self, margin: float = 0.0, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        self.margin = margin
        self.reduce_by(reduction)

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)

    def options(self) -> tuple[str, ...]:
        return ("margin", "reduction")


class TripletMarginLoss(Loss):
    """max(0, margin + d(anchor, positive) - d(anchor, negative)); see `functional.triplet_margin_loss`."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: None = None,
        reduce: None = None,
        reduction: Reduction = "mean",
    ) -> None:
        if not margin > 0:
            raise ValueError(located(f"TripletMarginLoss: margin is above 0, got {margin}"))
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap
        self.reduce_by(reduction)

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )

    def options(self) -> tuple[str, ...]:
        return ("margin", "p", "eps", "swap", "reduction")


class TripletMarginWithDistanceLoss(Loss):
    """As `TripletMarginLoss`, with a distance of the user's."""

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        if not margin > 0:
            raise ValueError(located(f"TripletMarginWithDistanceLoss: margin is above 0, got {margin}"))
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap
        self.reduce_by(reduction)

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )

    def options(self) -> tuple[str, ...]:
        return ("margin", "swap", "reduction")
