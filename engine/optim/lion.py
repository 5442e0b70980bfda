"""Lion, evolved sign momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Lion(Optimizer):
    """`p = (1 - lr weight_decay) p - lr sign(β₁ m + (1 - β₁) g);  m = β₂ m + (1 - β₂) g`.

    One state array. `maximize` ascends. Where the schedule cycles the momentum, β₁ is that. With `betas=(0, 0)` it is
    descent along the sign of the gradient. torch has none; Chen et al. 2023, "Symbolic discovery of optimization
    algorithms", whose advice is a rate of a third to a tenth of AdamW's and as much more weight decay.
    """

    lr: float | Schedule = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, weight_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"exp_avg": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        result: dict[str, Any] = {"minus_lr": -lr}
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result |= {"beta1": beta1, "share": 1.0 - beta1}
        if self.weight_decay:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        (beta1, beta2), mean = self.betas, state["exp_avg"]
        if self.maximize:
            gradient = -gradient
        if self.weight_decay:
            parameter = parameter * scalars["shrink"]
        direction = mean * scalars.get("beta1", beta1) + gradient * scalars.get("share", 1 - beta1)
        new = parameter + xp.sign(direction) * scalars["minus_lr"]
        return new, {"exp_avg": mean * beta2 + gradient * (1 - beta2)}
