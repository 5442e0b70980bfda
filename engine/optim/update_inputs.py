"""What an update of all parameters is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir import ArrayType
from ..nn.taps import Tap

Scalars = Mapping[str, Any]

DEFAULT_GROUP = "default"
"""The group of the parameters that no pattern gives another learning rate."""


def of_group(name: str, group: str) -> str:
    """The name of what each group has one of, such as `lr`: its own for the default, and told apart for others."""
    return name if group == DEFAULT_GROUP else f"{name}[{group}]"


@dataclass(frozen=True)
class StateSpec:
    """One array of optimizer state: its type, and the number that fills it before the first step."""

    type: ArrayType
    value: float = 0.0


@dataclass(frozen=True)
class UpdateInputs:
    """Traced arrays by name, in the order of the model; outside a trace they are NumPy's."""

    parameters: Mapping[str, Any]
    """Every trained parameter."""
    gradients: Mapping[str, Any]
    """The gradients, after clipping; of parameters that the loss reads alone."""
    state: Mapping[str, Any]
    """Every array that `init_all` named."""
    step: Any
    """An int64 scalar: the steps done before this one."""
    rates: Mapping[str, Any]
    """The learning rate of each group, float64 scalars."""
    loss: Any = None
    """The loss of the step; `None` where there is none, as on bare pytrees."""
    loss_at: Callable[[Mapping[str, Any]], Any] | None = None
    """The loss of the same batch, with the same draws, at other parameters: a function to call, to differentiate by
    `gl.grad`, also in the body of a loop. Parameters that are not given are as they stand. What the model assigns to
    buffers is dropped. `None` where there is no loss.
    """
    evaluate: Callable[[Mapping[str, Any]], tuple[Any, dict[str, Any]]] | None = None
    """The loss at other parameters and its gradients for these, clipped as `gradients` are."""
    taps: Sequence[Tap] = ()
    """The calls of modules that the optimizer's `tapped` chose, with their arrays and the cotangents of their outputs.
    """

    @property
    def lr(self) -> Any:
        """The learning rate of the default group, a float64 scalar."""
        return self.rates[DEFAULT_GROUP]
