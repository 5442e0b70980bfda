"""Averages of the parameters over the steps, kept beside the parameters that an optimizer trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ...ir import ArrayType, DType
from .. import array_api as xp
from ..nn import Module
from ..nn.taps import Tapped
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from .moments import lerp
from .optimizer import Optimizer, Within, state_name
from .rule_copies import RuleCopies
from .schedules import Schedule
from .update_inputs import Scalars, StateSpec, UpdateInputs


def count_name(kind: str) -> str:
    """The name of the state that counts the averages of a kind."""
    return f"n_{kind}"


@dataclass(frozen=True)
class Averaging(Optimizer):
    """An optimizer around another, which trains as that alone would; beside it keeps an average of every trained
    parameter.

    The first average is a copy of the parameters. Until then what computes with the average takes the parameters as
    they are. Buffers, such as running statistics, are not averaged: what computes with the average uses the live ones.
    """

    optimizer: Optimizer
    lr: float | Schedule = field(init=False)
    may_be_a_part: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            given: Any = self.optimizer
            got = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
            kind = type(self).__name__
            raise TypeError(
                located(
                    f"{kind} wraps an optimizer, got {got}; write gl.optim.{kind}(gl.optim.AdamW(1e-3), ...), whose "
                    "averages step.bind(fn, averaged=True) and step.averaged_parameters() use"
                )
            )
        object.__setattr__(self, "lr", self.optimizer.lr)

    def shares(self, step: Any, count: Any) -> Any:
        """The share of the new parameters in the average, a number or a float64 scalar; `count` averages were taken
        before, one at least.
        """
        raise NotImplementedError

    def is_due(self, step: Any) -> Any:
        """Whether an average is taken after `step` steps and this one."""
        return True

    # What is the inner optimizer's.

    def with_options(self, **options: Any) -> Optimizer:
        own = {name: value for name, value in options.items() if name in self.__dataclass_fields__ and name != "lr"}
        inner = {name: value for name, value in options.items() if name not in own}
        optimizer = own.pop("optimizer", self.optimizer).with_options(**inner)
        return replace(self, optimizer=optimizer, **own)

    def resolved(
        self, parameters: Mapping[str, ArrayType], trained: Collection[str], model: Module | None = None
    ) -> Optimizer:
        return replace(self, optimizer=self.optimizer.resolved(parameters, trained, model))

    @property
    def title(self) -> str:
        return f"{type(self).__name__}({self.optimizer.title})"

    @property
    def rates(self) -> dict[str, float | Schedule | None]:
        return self.optimizer.rates

    @property
    def tapped(self) -> Tapped | None:
        return self.optimizer.tapped

    @property
    def evaluates_again(self) -> bool:
        return self.optimizer.evaluates_again

    def settings(self) -> dict[str, Any]:
        own = {name: value for name, value in super().settings().items() if not name.endswith("'s optimizer")}
        return own | self.optimizer.settings()

    # The averages.

    @property
    def averaged(self) -> str | None:
        return self._kind

    @property
    def _kind(self) -> str:
        depth = 1
        inner = self.optimizer
        while isinstance(inner, Averaging):
            depth, inner = depth + 1, inner.optimizer
        return "averaged" if depth == 1 else f"averaged_{depth}"

    @property
    def _count(self) -> str:
        return count_name(self._kind)

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        averages = {state_name(self._kind, name): StateSpec(type) for name, type in types.items()}
        count = {self._count: StateSpec(ArrayType((), np.dtype("int64")))}
        return self.optimizer.init_all(types) | averages | count

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        new, new_state = self.optimizer.update_all(given)
        count = given.state[self._count]
        due = self.is_due(given.step)
        scalars: dict[DType, Scalars] = {}
        average = RuleCopies(_averaged)
        for name, before in given.parameters.items():
            parameter = new.get(name, before)
            dtype = parameter.dtype
            if dtype not in scalars:
                share = self.shares(given.step, xp.maximum(count, 1))
                share = share if isinstance(share, float) else xp.astype(share, dtype)
                scalars[dtype] = {"is_first": count == 0, "share": share} | ({} if due is True else {"is_due": due})
            kind, path = state_name(self._kind, name), name.rpartition(".")[0]
            new_state[kind], _ = average(path, given.state[kind], parameter, {}, scalars[dtype])
        new_state[self._count] = count + (1 if due is True else xp.astype(due, "int64"))
        return new, new_state


def _averaged(average: Any, parameter: Any, state: Mapping[str, Any], scalars: Scalars) -> tuple[Any, dict[str, Any]]:
    """The new average. A parameter that is infinite does not come into one that is not due."""
    moved = lerp(average, parameter, scalars["share"])
    if "is_due" in scalars:
        moved = xp.where(scalars["is_due"], moved, average)
    return xp.where(scalars["is_first"], parameter, moved), {}


@dataclass(frozen=True)
class EMA(Averaging):
    """`a += (1 - decay)(p - a)` after every step, the exponential moving average of the parameters, as torch's
    `AveragedModel` with `get_ema_multi_avg_fn(decay)`: the first average is a copy.

    The average and the number of averages are state, `averaged.*` and `n_averaged`: counted in the report, saved and
    loaded. `step.bind(fn, averaged=True)` and `step.averaged_parameters()` use it. It may wrap groups, or another
    average. Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_numbers(decay=Within(0.0, 1.0, closed=True))

    def shares(self, step: Any, count: Any) -> Any:
        return 1.0 - self.decay


@dataclass(frozen=True)
class SWA(Averaging):
    """`a += (p - a)/(n + 1)` after the step `start` (counted from 0, as schedules do) and every `every` steps from then
    on, with n the averages before: the mean of the parameters, as torch's `AveragedModel`.

    Until `start` the average is the parameters as they are. It is state and used as that of `EMA`. Izmailov et al.
    2018, "Averaging weights leads to wider optima and better generalization".
    """

    start: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("start", 0), ("every", 1)):
            value = as_whole(getattr(self, name))
            if value is None or value < least:
                raise ValueError(
                    located(f"SWA: {name} is a whole number of {least} or more, got {getattr(self, name)!r}")
                )
            object.__setattr__(self, name, value)

    def is_due(self, step: Any) -> Any:
        if (self.start, self.every) == (0, 1):
            return True
        return (step >= self.start) & ((step - self.start) % self.every == 0)

    def shares(self, step: Any, count: Any) -> Any:
        return 1.0 / (xp.astype(count, "float64") + 1.0)
