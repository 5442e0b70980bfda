"""NAdam, Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import decayed, lerp, quotient
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class NAdam(Optimizer):
    """Adam's m and v, and `p -= lr (μₜ₊₁/(1 - Πₜ₊₁) m + (1 - μₜ)/(1 - Πₜ) g) / (√(v/(1 - β₂ᵗ)) + eps)`, with
    μₜ = β₁ (1 - 0.96^(t momentum_decay)/2) and Πₜ the product of μ up to t; as `torch.optim.NAdam`.

    `weight_decay` adds weight_decay p to g, or where it is decoupled shrinks p to (1 - lr weight_decay) p. `maximize`
    ascends. Where the schedule cycles the momentum, β₁ is that. Dozat 2016, "Incorporating Nesterov momentum into
    Adam".
    """

    lr: float | Schedule = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE, momentum_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"exp_avg": StateSpec(type), "exp_avg_sq": StateSpec(type)}

    def init_shared(self) -> dict[str, StateSpec]:
        return {"mu_product": StateSpec(ArrayType((), np.dtype("float64")), 1.0)}

    def _beta1(self, step: Any) -> Any:
        return self.betas[0] if self.momentum_schedule is None else self.momentum_schedule(step)

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        result = {"inverse": 1.0 / (1.0 - self.betas[1] ** count)}
        if self.momentum_schedule is not None:
            result["share"] = 1.0 - self._beta1(step)
        if self.weight_decay and self.decoupled_weight_decay:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def advance(self, step: Any, lr: Any, shared: Mapping[str, Any]) -> tuple[Scalars, dict[str, Any]]:
        count, beta1 = xp.astype(step, "float64") + 1.0, self._beta1(step)
        now, after = (beta1 * (1.0 - 0.5 * 0.96 ** (t * self.momentum_decay)) for t in (count, count + 1.0))
        product = shared["mu_product"] * now
        scalars = {
            "gradient_rate": -(lr * (1.0 - now) / (1.0 - product)),
            "mean_rate": -(lr * after / (1.0 - product * after)),
        }
        return scalars, {"mu_product": product}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        beta1, beta2 = self.betas
        parameter, gradient = decayed(parameter, gradient, self.weight_decay, self.maximize, scalars)
        mean = lerp(state["exp_avg"], gradient, scalars.get("share", 1 - beta1))
        square = state["exp_avg_sq"] * beta2 + (gradient * (1 - beta2)) * gradient
        denominator = xp.sqrt(square * scalars["inverse"]) + self.eps
        step = quotient(gradient * scalars["gradient_rate"] + mean * scalars["mean_rate"], denominator, self.eps)
        return parameter + step, {"exp_avg": mean, "exp_avg_sq": square}
