"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import lerp, penalized, quotient
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Adamax(Optimizer):
    """`m += (1 - β₁)(g - m);  u = max(β₂ u, |g| + eps);  p -= lr/(1 - β₁ᵗ) m / u`, as `torch.optim.Adamax`.

    Adam with the largest gradient in place of the mean square. `weight_decay` adds weight_decay p to g, `maximize`
    ascends. Where the schedule cycles the momentum, β₁ is that. Kingma and Ba 2015, section 7.1.
    """

    lr: float | Schedule = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"exp_avg": StateSpec(type), "exp_inf": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        beta1, result = self.betas[0], dict[str, Any]()
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result["share"] = 1.0 - beta1
        result["minus_step_size"] = -(lr / (1.0 - beta1 ** (xp.astype(step, "float64") + 1.0)))
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        mean = lerp(state["exp_avg"], gradient, scalars.get("share", 1 - self.betas[0]))
        largest = xp.maximum(state["exp_inf"] * self.betas[1], xp.abs(gradient) + self.eps)
        step = quotient(mean * scalars["minus_step_size"], largest, self.eps)
        return parameter + step, {"exp_avg": mean, "exp_inf": largest}
