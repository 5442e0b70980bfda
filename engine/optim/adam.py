"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...ir import ArrayType, DType
from .. import array_api as xp
from .optimizer import Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Adam(Optimizer):
    """`m += (1 - β₁)(g - m)`, `v = β₂ v + (1 - β₂) g²`, `p -= lr/(1 - β₁ᵗ) m / (√v/√(1 - β₂ᵗ) + eps)`.

    As `torch.optim.Adam`. `weight_decay` adds weight_decay p to g (L2 regularization). `amsgrad` divides by the largest
    v so far. `maximize` ascends. Where the schedule cycles the momentum, as `OneCycle` does, β₁ is that. Kingma and
    Ba 2015, "Adam: a method for stochastic optimization"; Reddi, Kale and Kumar 2018 for `amsgrad`.
    """

    lr: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    maximize: bool = False

    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if np.ndim(self.betas) != 1 or len(self.betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas are two numbers, got {self.betas!r}")
        object.__setattr__(self, "betas", tuple(self.betas))
        self.check(betas=(0, 1), eps=(0, math.inf), weight_decay=(0, math.inf))

    def init(self, type: ArrayType) -> dict[str, StateSpec]:
        names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if self.amsgrad else [])
        return {name: StateSpec(type) for name in names}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        beta1, beta2 = self.betas
        result: dict[str, Any] = {}
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result["share"] = 1.0 - beta1
        result |= {
            "minus_step_size": -(lr / (1.0 - beta1**count)),
            "inverse_root": 1.0 / xp.sqrt(1.0 - beta2**count),
        }
        if self.weight_decay and self.decoupled:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        share, beta2 = scalars.get("share", 1 - self.betas[0]), self.betas[1]
        if self.maximize:
            gradient = -gradient
        if self.weight_decay and self.decoupled:
            parameter = parameter * scalars["shrink"]
        elif self.weight_decay:
            gradient = gradient + parameter * self.weight_decay
        mean = _lerp(state["exp_avg"], gradient, share)
        square = state["exp_avg_sq"] * beta2 + (gradient * (1 - beta2)) * gradient
        new_state = {"exp_avg": mean, "exp_avg_sq": square}
        scale = square
        if self.amsgrad:
            scale = new_state["max_exp_avg_sq"] = xp.maximum(state["max_exp_avg_sq"], square)
        denominator = xp.sqrt(scale) * scalars["inverse_root"] + self.eps
        return parameter + mean * scalars["minus_step_size"] / denominator, new_state


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, `p *= 1 - lr weight_decay`, as `torch.optim.AdamW`.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization".
    """

    weight_decay: float = 1e-2

    decoupled: ClassVar[bool] = True


def _lerp(start: Any, end: Any, weight: Any) -> Any:
    """From `start` to `end` by `weight`, in the form that is exact at the nearer one, as `torch.lerp`; by a weight that
    is computed in the step, in that for a small one.
    """
    near = not isinstance(weight, float) or weight < 0.5
    return start + (end - start) * weight if near else end - (end - start) * (1 - weight)
