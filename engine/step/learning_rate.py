"""The learning rates of a step: by the optimizer's numbers or schedules, or as they were set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from ...ir import Array
from ..optim import Optimizer
from ..optim.schedules import plateau, rate
from ..optim.update_inputs import DEFAULT_GROUP, of_group
from ..tracing.numbers import as_rate
from ..tracing.tracer import located


class LearningRates:
    """The rates of the next update by group. `arrays` are what the program reads; `given` has the rates that were set.

    A group without a rate of its own follows the default's.
    """

    def __init__(self, optimizer: Optimizer, state: Mapping[str, Array]) -> None:
        self._rates = optimizer.rates
        self._state = state
        self._is_scheduled = any(callable(lr) for lr in self._rates.values())
        self.given: dict[str, float] = {}
        self._counted: tuple[int, int] | None = None
        self.arrays = {group: np.array(value, np.float64) for group, value in self.at(0, {}, {}).items()}

    def at(self, steps: int, given: Mapping[str, float], state: Mapping[str, Array]) -> dict[str, float]:
        """The rates after so many steps, where those `given` were set. Raises `ValueError` where a schedule gives a
        rate that cannot be.
        """
        found: dict[str, float] = {}
        for group, lr in self._rates.items():
            if group in given:
                found[group] = given[group]
            elif lr is None:
                found[group] = found[DEFAULT_GROUP]
            else:
                # A schedule that follows the loss is state of the step.
                held = state.get(of_group(plateau.RATE, group))
                try:
                    found[group] = rate(lr if held is None else float(held), steps)
                except ValueError as error:
                    if len(self._rates) == 1:
                        raise
                    raise ValueError(located(f"the group {group!r}: {error}")) from None
        return found

    def next(self) -> dict[str, float]:
        """The rates of the next update, the default's first where a parameter has it."""
        return self.at(int(self._state["step"]), self.given, self._state)

    def follow_schedules(self, undone: int) -> None:
        """Make `arrays` the rates of the next update.

        Updates are counted, so that nobody waits to read the state. They are counted anew where more than before were
        `undone`: given to the device, and then not done.
        """
        if self._is_scheduled and len(self.given) < len(self._rates):
            if self._counted is None or self._counted[1] != undone:
                self._counted = int(self._state["step"]), undone
            self._write(self.at(self._counted[0], self.given, self._state))

    def count_update(self) -> None:
        """One more update was given to the device."""
        if self._counted is not None:
            self._counted = self._counted[0] + 1, self._counted[1]

    def set(self, rates: Mapping[str, Any]) -> None:
        """Hold rates from now on, or, with `None`, go back to the optimizer's own. Raises before anything changes:
        `KeyError` for a group that there is not, `ValueError` for what is no rate.
        """
        given = dict(self.given)
        for group, value in rates.items():
            self.check_group(group)
            number = None if value is None else as_rate(value)
            if number is None and value is not None:
                of = "" if len(self._rates) == 1 else f" of the group {group!r}"
                raise ValueError(
                    located(
                        f"a learning rate{of} is a number of 0 or more, or None for the optimizer's own, got {value!r}"
                    )
                )
            given.pop(group, None)
            if number is not None:
                given[group] = number
        self._write(self.at(int(self._state["step"]), given, self._state))
        self.given = given

    def check_group(self, group: Any) -> None:
        """Raises `KeyError` for a group that there is not."""
        if group not in self._rates:
            there = ", ".join(map(repr, self._rates))
            raise KeyError(located(f"no parameter has its learning rate from a group {group!r}; there are {there}"))

    def take_up(self, given: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Go on with the rates of a checkpoint."""
        self.given = dict(given)
        self._counted = None
        self._write(rates)

    def _write(self, rates: Mapping[str, float]) -> None:
        for group, value in rates.items():
            self.arrays[group][()] = value


class RatesByGroup(dict[str, float]):
    """The rates of the next update as they were when this was read; what is set in it is set in the step."""

    def __init__(self, rates: Mapping[str, float], put: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> None:
        super().__init__(rates)
        self._put = put

    def update(self, *rates: Any, **named: Any) -> None:
        super().update(self._put(dict(*rates, **named)))

    def __setitem__(self, group: str, rate: Any) -> None:
        self.update({group: rate})

    def __missing__(self, group: Any) -> NoReturn:
        raise KeyError(located(f"there is no group {group!r}; there are {', '.join(map(repr, self))}"))

    def _fixed(self, *args: Any) -> NoReturn:
        instead = "write step.learning_rates = {group: rate} to set some, with the rate None to go back to its own"
        raise TypeError(located(f"the groups of a step are fixed; {instead}"))

    __delitem__ = __ior__ = pop = popitem = clear = setdefault = _fixed  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> Any:
        return dict, (dict(self),)
