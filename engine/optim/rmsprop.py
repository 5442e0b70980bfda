"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import lerp, penalized, quotient, root
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec, Within
from .schedules import Schedule


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """`v = α v + (1 - α) g²;  p -= lr g / (√v + eps)`, as `torch.optim.RMSprop`.

    With `momentum` the step is along `b = momentum b + g / (√v + eps)`. `centered` divides by the root of the variance,
    v - m² with m the moving average of g. `weight_decay` adds weight_decay p to g, `maximize` ascends. Where the
    schedule cycles the momentum, that holds in place of `momentum`. With `eps_inside_root` the root is √(v + eps);
    `init_moments="gradient"` begins with v = g² (and m = g) in place of 0. Without memory and eps, `alpha=0, eps=0`, it
    is descent along the sign of g. Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning";
    Graves 2013, "Generating sequences with recurrent neural networks" for `centered`.
    """

    lr: float | Schedule = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    maximize: bool = field(default=False, kw_only=True)
    eps_inside_root: bool = field(default=False, kw_only=True)
    init_moments: Literal["zero", "gradient"] = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        self.check(
            alpha=Within(0.0, 1.0, closed=True), eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE, momentum=NOT_NEGATIVE
        )
        self.check_choice("init_moments", "zero", "gradient")

    @property
    def _has_momentum(self) -> bool:
        return self.momentum != 0 or self.momentum_schedule is not None

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if self._has_momentum else []
        names += ["grad_avg"] if self.centered else []
        return {name: StateSpec(type) for name in names}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        result: dict[str, Any] = {"minus_lr": -lr}
        if self.momentum_schedule is not None:
            result["momentum"] = self.momentum_schedule(step)
        if self.init_moments == "gradient":
            result["share"] = xp.where(step == 0, 1.0, 1.0 - self.alpha)
            result["alpha"] = xp.where(step == 0, 0.0, self.alpha)
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        alpha, share = scalars.get("alpha", self.alpha), scalars.get("share", 1 - self.alpha)
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        square = state["square_avg"] * alpha + (gradient * share) * gradient
        new_state = {"square_avg": square}
        if self.centered:
            mean = new_state["grad_avg"] = lerp(state["grad_avg"], gradient, share)
            square = xp.maximum(square - mean * mean, 0.0)  # by rounding it may come out below 0
        denominator = root(square, self.eps, self.eps_inside_root)
        if not self._has_momentum:
            return parameter + quotient(gradient * scalars["minus_lr"], denominator, self.eps), new_state
        moved = state["momentum_buffer"] * scalars.get("momentum", self.momentum)
        moved = new_state["momentum_buffer"] = moved + quotient(gradient, denominator, self.eps)
        return parameter + moved * scalars["minus_lr"], new_state


RMSProp = RMSprop
"""RMSprop under its other spelling."""
