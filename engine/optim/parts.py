"""The parts of a model that are trained each by an optimizer of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ...ir import ArrayType
from ..nn import Module
from ..nn.taps import Tapped
from .optimizer import Optimizer
from .schedules import Schedule
from .update_inputs import DEFAULT_GROUP, StateSpec, UpdateInputs


@dataclass(frozen=True)
class Part:
    """Parameters that one optimizer trains, at the rate of `group`. `label` names the patterns that they match; it is
    empty for those that match none.
    """

    optimizer: Optimizer
    group: str
    label: str
    parameters: tuple[str, ...] = ()

    def of(self, names: Iterable[str]) -> Part:
        """The same for these parameters."""
        return replace(self, parameters=tuple(names))

    def resolved(self, parameters: Mapping[str, ArrayType], model: Module | None) -> Part:
        """The same with the optimizer for this model."""
        return replace(self, optimizer=self.optimizer.resolved(parameters, self.parameters, model))

    def state_name(self, name: str) -> str:
        """The name in the step of what the part's optimizer calls `name`: what belongs to a parameter has its name
        already, and what all parameters of the part share is told apart by the label.
        """
        if not self.label or any(name.endswith(f".{parameter}") for parameter in self.parameters):
            return name
        return f"{name}[{self.label}]"


@dataclass(frozen=True)
class Parts(Optimizer):
    """The optimizer of a step whose parameters fall into groups. Each part is updated by its own rule, and its state is
    what that rule alone would have.
    """

    parts: tuple[Part, ...]
    by_group: tuple[tuple[str, float | Schedule | None], ...]
    name: str
    lr: float | Schedule = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", next(iter(self.rates.values())))

    may_be_a_part: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return self.name

    @property
    def rates(self) -> dict[str, float | Schedule | None]:
        return dict(self.by_group)

    @property
    def tapped(self) -> Tapped | None:
        chosen = [part.optimizer.tapped for part in self.parts if part.optimizer.tapped is not None]
        return (lambda call: any(choose(call) for choose in chosen)) if chosen else None

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in self.parts:
            of = f" in {part.label!r}" if part.label else ""
            found |= {name + of: value for name, value in part.optimizer.settings().items()}
            found[f"parameters{of or ' of no group'}"] = ", ".join(part.parameters)
        return found

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        found: dict[str, StateSpec] = {}
        for part in self.parts:
            own = part.optimizer.init_all({name: types[name] for name in part.parameters})
            found |= {part.state_name(name): spec for name, spec in own.items()}
        return found

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        new: dict[str, Any] = {}
        new_state: dict[str, Any] = {}
        for part in self.parts:
            own = {name: given.parameters[name] for name in part.parameters}
            types = {name: ArrayType(array.shape, array.dtype) for name, array in own.items()}
            names = {name: part.state_name(name) for name in part.optimizer.init_all(types)}
            parameters, state = part.optimizer.update_all(
                replace(
                    given,
                    parameters=own,
                    gradients={name: g for name, g in given.gradients.items() if name in own},
                    state={name: given.state[outer] for name, outer in names.items()},
                    rates={DEFAULT_GROUP: given.rates[part.group]},
                )
            )
            new |= parameters
            new_state |= {names[name]: array for name, array in state.items()}
        return new, new_state
