"""What an optimizer is: the rule by which one parameter is updated, written with traced arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...ir import ArrayType, DType
from .schedules import Schedule, rate

Scalars = Mapping[str, Any]


@dataclass(frozen=True)
class StateSpec:
    """One array of optimizer state of a parameter: its type, and the number that fills it before the first step."""

    type: ArrayType
    value: float = 0.0


@dataclass(frozen=True)
class Optimizer(ABC):
    """A value: hyper-parameters and an update rule, no arrays.

    Laws that a subclass must keep:

    - `init(type)` names the state arrays of a parameter of `type`, the same names for every parameter.
    - `scalars(step, lr, dtype)` computes from the int64 scalar `step` (steps done before this one) and the float64
      scalar `lr` all that is the same for every element, in float64, and gives it in `dtype`. It runs once a step for
      each dtype.
    - `update(parameter, gradient, state, scalars)` is element-wise and gives the new parameter and the new state, in
      the types of the old.
    """

    lr: float | Schedule

    @abstractmethod
    def init(self, type: ArrayType) -> dict[str, StateSpec]:
        """The state of one parameter of `type`."""

    @abstractmethod
    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        """What all elements of all parameters of `dtype` share in this step."""

    @abstractmethod
    def update(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        """The new parameter and its new state."""

    def learning_rate(self, step: int) -> float:
        """The rate for the update after `step` steps were done: `lr`, or what it returns if it is a schedule.

        Raises `ValueError` where a schedule gives a rate that is negative or not a number.
        """
        value = rate(self.lr, step)
        if not value >= 0:
            raise ValueError(f"the learning rate for step {step} is {value}; it must be 0 or more")
        return value

    def check(self, **limits: tuple[float, float]) -> None:
        """Raise `ValueError` for a hyper-parameter outside [low, high) and for a learning rate that is negative."""
        if not callable(self.lr) and not (isinstance(self.lr, (int, float)) and 0 <= self.lr < math.inf):
            raise ValueError(f"{type(self).__name__}: lr is a number of 0 or more or a schedule, got {self.lr!r}")
        for name, (low, high) in limits.items():
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if not (isinstance(value, (int, float)) and low <= value < high):
                    above = "" if high == math.inf else f" and below {high:g}"
                    raise ValueError(f"{type(self).__name__}: {name} is {low:g} or more{above}, got {values!r}")
