"""RAdam, rectified Adam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import decayed, lerp, quotient
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class RAdam(Optimizer):
    """Adam's m and v, and `p -= lr/(1 - β₁ᵗ) m r √(1 - β₂ᵗ) / (√v + eps)` where v has seen enough steps for a variance
    of its own (ρₜ > 5), `p -= lr/(1 - β₁ᵗ) m` before that; as `torch.optim.RAdam`.

    ρₜ = ρ - 2 t β₂ᵗ/(1 - β₂ᵗ) with ρ = 2/(1 - β₂) - 1, and r² = (ρₜ - 4)(ρₜ - 2) ρ / ((ρ - 4)(ρ - 2) ρₜ).
    `weight_decay` adds weight_decay p to g, or where it is decoupled shrinks p to (1 - lr weight_decay) p. `maximize`
    ascends. Where the schedule cycles the momentum, β₁ is that. Liu et al. 2020, "On the variance of the adaptive
    learning rate and beyond".
    """

    lr: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"exp_avg": StateSpec(type), "exp_avg_sq": StateSpec(type)}

    @property
    def _longest(self) -> float:
        return 2 / (1 - self.betas[1]) - 1

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        beta1, beta2 = self.betas
        result: dict[str, Any] = {}
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result["share"] = 1.0 - beta1
        result["minus_step_size"] = -(lr / (1.0 - beta1**count))
        longest = self._longest
        if longest > 5:
            correction = 1.0 - beta2**count
            length = longest - 2.0 * count * beta2**count / correction
            safe = xp.maximum(length, 5.0)
            square = (safe - 4.0) * (safe - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * safe)
            result["rectified"] = xp.where(length > 5.0, xp.sqrt(square * correction), 0.0)
        if self.weight_decay and self.decoupled_weight_decay:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        beta1, beta2 = self.betas
        parameter, gradient = decayed(parameter, gradient, self.weight_decay, self.maximize, scalars)
        mean = lerp(state["exp_avg"], gradient, scalars.get("share", 1 - beta1))
        square = state["exp_avg_sq"] * beta2 + (gradient * (1 - beta2)) * gradient
        step = mean * scalars["minus_step_size"]
        if "rectified" in scalars:
            scaled = quotient(step * scalars["rectified"], xp.sqrt(square) + self.eps, self.eps)
            step = xp.where(scalars["rectified"] > 0, scaled, step)
        return parameter + step, {"exp_avg": mean, "exp_avg_sq": square}
