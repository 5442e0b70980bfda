"""SparseAdam, Adam of the elements that have a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import quotient
from .optimizer import NOT_NEGATIVE, PART, Optimizer, Scalars, StateSpec
from .read_rows import read_rows
from .schedules import Schedule


@dataclass(frozen=True)
class SparseAdam(Optimizer):
    """`m += (1 - β₁)(g - m);  v += (1 - β₂)(g² - v);  p -= lr √(1 - β₂ᵗ)/(1 - β₁ᵗ) m / (√v + eps)` in rows of a
    table that the step has looked up; all others keep p, m and v. As `torch.optim.SparseAdam`.

    A step does not touch the other rows at all where there are at least four times as many rows as look-ups. In a
    parameter whose gradient is not made of look-ups alone an element keeps its values where g is 0. t counts all steps.
    `maximize` ascends. Where the schedule cycles the momentum, β₁ is that.
    """

    lr: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("betas", 2)
        self.check(betas=PART, eps=NOT_NEGATIVE)

    @property
    def keeps_unread_rows(self) -> bool:
        return True

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"exp_avg": StateSpec(type), "exp_avg_sq": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        (beta1, beta2), result = self.betas, dict[str, Any]()
        if self.momentum_schedule is not None:
            beta1 = self.momentum_schedule(step)
            result["share"] = 1.0 - beta1
        result["minus_step_size"] = -(lr * xp.sqrt(1.0 - beta2**count) / (1.0 - beta1**count))
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        rows = read_rows(gradient)
        read = gradient != 0 if rows is None else rows
        if self.maximize:
            gradient = -gradient
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean = mean + (gradient - mean) * scalars.get("share", 1 - self.betas[0])
        square = square + (gradient * gradient - square) * (1 - self.betas[1])
        step = quotient(mean * scalars["minus_step_size"], xp.sqrt(square) + self.eps, self.eps)
        new = {"exp_avg": mean, "exp_avg_sq": square}
        kept = {name: xp.where(read, value, state[name]) for name, value in new.items()}
        return xp.where(read, parameter + step, parameter), kept
