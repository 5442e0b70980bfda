"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import penalized, quotient
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec, Within
from .schedules import Schedule


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """`v = ρ v + (1 - ρ) g²;  d = √(u + eps)/√(v + eps) g;  u = ρ u + (1 - ρ) d²;  p -= lr d`, as
    `torch.optim.Adadelta`.

    `weight_decay` adds weight_decay p to g, `maximize` ascends. Zeiler 2012, "ADADELTA: an adaptive learning rate
    method".
    """

    lr: float | Schedule = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check(rho=Within(0.0, 1.0, closed=True), eps=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"square_avg": StateSpec(type), "acc_delta": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        return {"minus_lr": xp.astype(-lr, dtype)}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        square = state["square_avg"] * self.rho + (gradient * (1 - self.rho)) * gradient
        root = xp.sqrt(square + self.eps)
        delta = quotient(xp.sqrt(state["acc_delta"] + self.eps), root, self.eps) * gradient
        moved = state["acc_delta"] * self.rho + (delta * (1 - self.rho)) * delta
        return parameter + delta * scalars["minus_lr"], {"square_avg": square, "acc_delta": moved}
