"""What an optimizer is: the rule by which one parameter is updated, written with traced arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from ...ir import ArrayType, DType
from ..tracing.numbers import as_rate, as_real
from ..tracing.tracer import located
from .schedules import Schedule, momentum_of, rate

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

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Before `__init__`, which would say that lr came twice where the parameters stand first, as in torch.
        # A subclass of the user's has arguments of its own.
        if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            return super().__new__(cls)
        if (args and _is_of_a_model(args[0])) or "params" in kwargs:
            given = f"a {type(args[0]).__name__}" if args else "params"
            raise TypeError(
                located(
                    f"{cls.__name__}: lr is a number of 0 or more or a schedule, and comes first; got {given}. An "
                    "optimizer here is a value without parameters: gl.compile_step(model, loss_fn, optimizer, batch) "
                    f"gives it those of the model; write gl.optim.{cls.__name__}(1e-3)"
                )
            )
        unknown = [name for name in kwargs if name not in cls.__dataclass_fields__]
        if unknown:
            there = ", ".join(cls.__dataclass_fields__)
            raise TypeError(located(f"{cls.__name__} has no argument {unknown[0]!r}; there are {there}"))
        return super().__new__(cls)

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

        Raises `ValueError` where a schedule gives a rate that is negative, infinite or no number.
        """
        return rate(self.lr, step)

    @property
    def momentum_schedule(self) -> Callable[[Any], Any] | None:
        """The momentum by the number of steps done, where the schedule of the learning rate says it; else `None`."""
        return momentum_of(self.lr)

    def check(self, **limits: tuple[float, float]) -> None:
        """Make hyper-parameters Python's numbers. Raises `ValueError` for one outside [low, high), for a learning rate
        that is negative or infinite, and for a flag that is neither `True` nor `False`.
        """
        kind = type(self).__name__
        if not callable(self.lr):
            if as_rate(self.lr) is None:
                raise ValueError(f"{kind}: lr is a number of 0 or more or a schedule, got {self.lr!r}")
            object.__setattr__(self, "lr", as_real(self.lr))
        for name, (low, high) in limits.items():
            given = getattr(self, name)
            numbers = [as_real(value) for value in (given if isinstance(given, tuple) else (given,))]
            if any(value is None or not low <= value < high for value in numbers):
                above = "" if high == math.inf else f" and below {high:g}"
                raise ValueError(f"{kind}: {name} is {low:g} or more{above}, got {given!r}")
            object.__setattr__(self, name, tuple(numbers) if isinstance(given, tuple) else numbers[0])
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool" and not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{kind}: {field.name} is True or False, got {value!r}")


def _is_of_a_model(value: Any) -> bool:
    """Whether something is a model, its parameters, or groups of them."""
    return isinstance(value, (Iterator, list, tuple, dict)) or any(
        hasattr(value, name) for name in ("requires_grad", "forward")
    )
