"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from ..tracing.errors import located
from .moments import penalized
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec, Within
from .schedules import Schedule


@dataclass(frozen=True)
class SGD(Optimizer):
    """`g += weight_decay p;  b = momentum b + (1 - dampening) g;  p -= lr b`, as `torch.optim.SGD`.

    In the first step b is g, undampened. With `nesterov` the step is along g + momentum b. `maximize` ascends. Where
    the schedule cycles the momentum, as `OneCycle` does, that holds in place of `momentum`.
    Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and momentum in deep learning".
    """

    lr: float | Schedule = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False

    def __post_init__(self) -> None:
        self.check(momentum=NOT_NEGATIVE, weight_decay=NOT_NEGATIVE, dampening=Within(-math.inf))
        if self.nesterov and (not self._has_momentum or self.dampening != 0):
            raise ValueError(located("SGD: nesterov needs a momentum above 0 and no dampening"))

    @property
    def keeps_unread_rows(self) -> bool:
        return not self.weight_decay

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"momentum_buffer": StateSpec(type)} if self._has_momentum else {}

    @property
    def _has_momentum(self) -> bool:
        return self.momentum != 0 or self.momentum_schedule is not None

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        result = {"minus_lr": xp.astype(-lr, dtype)}
        if self.momentum_schedule is not None:
            result["momentum"] = xp.astype(self.momentum_schedule(step), dtype)
        if self._has_momentum and self.dampening:
            result["share"] = xp.astype(xp.where(step == 0, 1.0, 1.0 - self.dampening), dtype)
        return result

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        gradient = penalized(parameter, gradient, self.weight_decay, self.maximize)
        if not self._has_momentum:
            return parameter + gradient * scalars["minus_lr"], {}
        added = gradient * scalars["share"] if self.dampening else gradient
        momentum = scalars.get("momentum", self.momentum)
        moved = state["momentum_buffer"] * momentum + added
        step = gradient + moved * momentum if self.nesterov else moved
        return parameter + step * scalars["minus_lr"], {"momentum_buffer": moved}
