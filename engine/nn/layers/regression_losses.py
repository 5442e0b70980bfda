"""Losses of predicted numbers, and of the parameters of their distributions, as layers."""

from __future__ import annotations

from typing import Any

from ...tracing.tracer import located
from .. import functional as F
from ..functional.reduction import Reduction
from .loss import Loss


class MSELoss(Loss):
    """(input - target)²."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean") -> None:
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """|input - target|."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean") -> None:
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """d² / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; d = input - target."""

    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean", beta: float = 1.0
    ) -> None:
        if beta < 0:
            raise ValueError(located(f"SmoothL1Loss: beta is 0 or more, got {beta}"))
        self.beta = beta
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)

    def options(self) -> tuple[str, ...]:
        return ("beta", "reduction")


class HuberLoss(Loss):
    """d² / 2 where |d| < delta, delta (|d| - delta / 2) elsewhere; d = input - target."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        if delta <= 0:
            raise ValueError(located(f"HuberLoss: delta is above 0, got {delta}"))
        self.delta = delta
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)

    def options(self) -> tuple[str, ...]:
        return ("delta", "reduction")


class PoissonNLLLoss(Loss):
    """-log of Poisson's distribution, of whose mean the input is the logarithm; see `functional.poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: None = None,
        eps: float = 1e-8,
        reduce: None = None,
        reduction: Reduction = "mean",
    ) -> None:
        self.log_input = log_input
        self.full = full
        self.eps = eps
        self.reduce_by(reduction)

    def forward(self, log_input: Any, target: Any) -> Any:
        return F.poisson_nll_loss(
            log_input, target, log_input=self.log_input, full=self.full, eps=self.eps, reduction=self.reduction
        )

    def options(self) -> tuple[str, ...]:
        return ("log_input", "full", "eps", "reduction")


class GaussianNLLLoss(Loss):
    """-log of a normal distribution of mean input and variance var; see `functional.gaussian_nll_loss`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: Reduction = "mean") -> None:
        self.full = full
        self.eps = eps
        self.reduce_by(reduction)

    def forward(self, input: Any, target: Any, var: Any) -> Any:
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)

    def options(self) -> tuple[str, ...]:
        return ("full", "eps", "reduction")
