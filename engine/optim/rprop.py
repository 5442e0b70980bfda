"""Rprop, resilient propagation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import ArrayType, DType
from .. import array_api as xp
from ..tracing.errors import located
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec
from .schedules import Schedule


@dataclass(frozen=True)
class Rprop(Optimizer):
    """`p -= s sign(g)` with a step size s for each element, as `torch.optim.Rprop`.

    s is times `etas[1]` where g has the sign that it had the step before, and times `etas[0]` where it has the other
    one (there g counts as 0, in the next step too); it stays within `step_sizes`. s begins as the learning rate of the
    first step, which has no other use. `maximize` ascends. For whole batches: on parts of them signs are noise.
    Riedmiller and Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm".
    """

    lr: float | Schedule = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50)
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check_tuple("etas", 2)
        self.check_tuple("step_sizes", 2)
        self.check(etas=NOT_NEGATIVE, step_sizes=NOT_NEGATIVE)
        if not 0 < self.etas[0] < 1 < self.etas[1]:
            raise ValueError(located(f"Rprop: etas are one between 0 and 1 and one above 1, got {self.etas!r}"))
        if self.step_sizes[0] > self.step_sizes[1]:
            raise ValueError(located(f"Rprop: step_sizes are the least and the largest, got {self.step_sizes!r}"))

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        return {"prev": StateSpec(type), "step_size": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        return {"lr": xp.astype(lr, dtype), "steps": xp.astype(xp.minimum(step, 1), dtype)}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        if self.maximize:
            gradient = -gradient
        agreement = gradient * state["prev"]
        factor = xp.where(agreement > 0, self.etas[1], xp.where(agreement < 0, self.etas[0], 1.0))
        size = xp.where(scalars["steps"] == 0, scalars["lr"], state["step_size"])
        size = xp.clip(size * xp.astype(factor, parameter.dtype), *self.step_sizes)
        gradient = xp.where(agreement < 0, 0.0, gradient)
        return parameter - xp.sign(gradient) * size, {"prev": gradient, "step_size": size}
