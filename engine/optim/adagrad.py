"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import penalized, quotient, root
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """`G += g²;  p -= lr/(1 + (t - 1) lr_decay) g / (√G + eps)`, as `torch.optim.Adagrad`.

    G begins as `initial_accumulator_value`. `weight_decay` adds weight_decay p to g, `maximize` ascends. With
    `eps_inside_root` the step is along g / √(G + eps). Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for
    online learning and stochastic optimization".
    """

    lr: float | Schedule = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    maximize: bool = field(default=False, kw_only=True)
    eps_inside_root: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check(
            lr_decay=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE, initial_accumulator_value=NOT_NEGATIVE, eps=NOT_NEGATIVE
        )

    @property
    def keeps_unread_rows(self) -> bool:
        return not self.weight_decay

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"sum": StateSpec(type, self.initial_accumulator_value)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        rate = lr / (1.0 + xp.astype(step, "float64") * self.lr_decay) if self.lr_decay else lr
        return {"minus_lr": xp.astype(-rate, dtype)}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        total = state["sum"] + gradient * gradient
        denominator = root(total, self.eps, self.eps_inside_root)
        return parameter + quotient(gradient * scalars["minus_lr"], denominator, self.eps), {"sum": total}
