"""Averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir import ArrayType, DType
from .. import array_api as xp
from .moments import penalized
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class ASGD(Optimizer):
    """`p = (1 - lambd η) p - η g;  ax += μ (p - ax)`, with η = lr / (1 + lambd lr t)^alpha and μ = 1 / max(1, t - t0),
    both of the step before and at first lr and 1; as `torch.optim.ASGD`.

    `ax` is the average of the parameters from step `t0` on. `weight_decay` adds weight_decay p to g, `maximize`
    ascends. Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """

    lr: float | Schedule = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check(lambd=NOT_NEGATIVE, alpha=NOT_NEGATIVE, t0=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"ax": StateSpec(type)}

    def init_shared(self) -> dict[str, StateSpec]:
        return {"eta": StateSpec(ArrayType((), np.dtype("float64")))}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        return {}

    def advance(self, step: Any, lr: Any, shared: Mapping[str, Any]) -> tuple[Scalars, dict[str, Any]]:
        done = xp.astype(step, "float64")
        eta = xp.where(step == 0, lr, shared["eta"])
        scalars = {
            "minus_eta": -eta,
            "shrink": 1.0 - self.lambd * eta,
            "mu": 1.0 / xp.maximum(1.0, done - self.t0),
        }
        return scalars, {"eta": lr / (1.0 + self.lambd * lr * (done + 1.0)) ** self.alpha}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        new = parameter * scalars["shrink"] + gradient * scalars["minus_eta"]
        average = state["ax"]
        # A mean of one is that one, to the last bit.
        average = xp.where(scalars["mu"] == 1, new, average + (new - average) * scalars["mu"])
        return new, {"ax": average}
