"""The learning rate of a step: by the optimizer's number or schedule, or as it was set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import Array
from ..optim import Optimizer
from ..optim.schedules import plateau, rate
from ..tracing.numbers import as_rate


class LearningRate:
    """The rate of the next update. `array` is what the program reads; `given` is the rate that was set, if one was."""

    def __init__(self, optimizer: Optimizer, state: Mapping[str, Array]) -> None:
        self._optimizer = optimizer
        self._state = state
        self._scheduled = callable(optimizer.lr)
        self.array = np.array(optimizer.learning_rate(0), np.float64)
        self.given: float | None = None

    @property
    def next(self) -> float:
        """The rate of the next update."""
        return self.own if self.given is None else self.given

    @property
    def own(self) -> float:
        """The rate of the next update by the optimizer's own number or schedule."""
        held = self._state.get(plateau.RATE)  # a schedule that follows the loss is state of the step
        steps = int(self._state["step"])
        return self._optimizer.learning_rate(steps) if held is None else rate(float(held), steps)

    def follow_schedule(self) -> None:
        """Make `array` the rate of the next update."""
        if self._scheduled and self.given is None:
            self.array[()] = self.own

    def set(self, value: float | None) -> None:
        """Hold a rate from now on, or, with `None`, go back to the optimizer's own. A schedule may raise: before
        anything changes.
        """
        self.array[()] = self.own if value is None else value
        self.given = value


def checked_rate(value: Any) -> float | None:
    """A rate that a user sets. Raises `ValueError` for what is none."""
    number = None if value is None else as_rate(value)
    if number is None and value is not None:
        raise ValueError(f"a learning rate is a number of 0 or more, or None for the optimizer's own, got {value!r}")
    return number
