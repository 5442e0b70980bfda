"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import decayed, lerp, quotient
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Adam(Optimizer):
    """`m += (1 - β₁)(g - m)`, `v = β₂ v + (1 - β₂) g²`, `p -= lr/(1 - β₁ᵗ) m / (√v/√(1 - β₂ᵗ) + eps)`.

    As `torch.optim.Adam`. `weight_decay` adds weight_decay p to g (L2 regularization), or where it is decoupled shrinks
    p to (1 - lr weight_decay) p, as AdamW. `amsgrad` divides by the largest v so far. `maximize` ascends. Where the
    schedule cycles the momentum, as `OneCycle` does, β₁ is that.

    With `eps_inside_root` the root is √(v/(1 - β₂ᵗ) + eps). `init_moments="gradient"` begins with m = g and v = g² in
    place of 0, and without the corrections 1 - β₁ᵗ and 1 - β₂ᵗ. Without memory and eps, `betas=(0, 0), eps=0`, it is
    descent along the sign of g. Kingma and Ba 2015, "Adam: a method for stochastic optimization"; Reddi, Kale and Kumar
    2018 for `amsgrad`.
    """

    lr: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    maximize: bool = False
    decoupled_weight_decay: bool = field(default=False, kw_only=True)
    eps_inside_root: bool = field(default=False, kw_only=True)
    init_moments: Literal["zero", "gradient"] = field(default="zero", kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)
        self.check_choice("init_moments", "zero", "gradient")

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if self.amsgrad else [])
        return {name: StateSpec(type) for name in names}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        beta1, beta2 = self.betas
        result: dict[str, Any] = {}
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result["share"] = 1.0 - beta1
        if self.init_moments == "gradient":
            result["share"] = xp.where(step == 0, 1.0, 1.0 - beta1)
            result["square_share"] = xp.where(step == 0, 1.0, 1.0 - beta2)
            result["beta2"] = xp.where(step == 0, 0.0, beta2)
            result["minus_step_size"] = -lr
        else:
            result["minus_step_size"] = -(lr / (1.0 - beta1**count))
            correction = 1.0 - beta2**count
            if self.eps_inside_root:
                result["correction"] = 1.0 / correction
            else:
                result["inverse_root"] = 1.0 / xp.sqrt(correction)
        if self.weight_decay and self.decoupled_weight_decay:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        share, beta2 = scalars.get("share", 1 - self.betas[0]), scalars.get("beta2", self.betas[1])
        parameter, gradient = decayed(parameter, gradient, self.weight_decay, self.maximize, scalars)
        mean = lerp(state["exp_avg"], gradient, share)
        square = state["exp_avg_sq"] * beta2 + (gradient * scalars.get("square_share", 1 - self.betas[1])) * gradient
        new_state = {"exp_avg": mean, "exp_avg_sq": square}
        scale = square
        if self.amsgrad:
            scale = new_state["max_exp_avg_sq"] = xp.maximum(state["max_exp_avg_sq"], square)
        step = quotient(mean * scalars["minus_step_size"], self._root(scale, scalars), self.eps)
        return parameter + step, new_state

    def _root(self, square: Any, scalars: Scalars) -> Any:
        """What the step is divided by."""
        if self.eps_inside_root:
            return xp.sqrt((square * scalars["correction"] if "correction" in scalars else square) + self.eps)
        found = xp.sqrt(square)
        return (found * scalars["inverse_root"] if "inverse_root" in scalars else found) + self.eps


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, `p *= 1 - lr weight_decay`, as `torch.optim.AdamW`.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization".
    """

    weight_decay: float = 1e-2
    decoupled_weight_decay: bool = field(default=True, init=False)
