"""Rates that go up and down."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ... import array_api as xp
from ...tracing.errors import located
from .schedule import check_function, check_numbers, check_rates
from .spelling import Spelled
from .traced_steps import floor


@dataclass(frozen=True)
class Cyclic(Spelled):
    """From `lr` along a line up to `max_lr` in `step_size_up` steps and down again in `step_size_down` (as many, if not
    given), over and over, as torch's `CyclicLR`, of which `lr` is the `base_lr`.

    The height of a cycle is scaled: by 1 in the `mode` "triangular", by half of that of the cycle before in
    "triangular2", by `gamma^step` in "exp_range"; or by `scale_fn` of the number of the cycle, counted from 1, or of
    the step where `scale_mode` is "iterations". With `cycle_momentum` the momentum of SGD, or the first beta of Adam,
    goes the other way, from `max_momentum` down to `base_momentum` and back; `scale_fn` is then traced too. Smith 2017,
    "Cyclical learning rates for training neural networks".
    """

    lr: float
    max_lr: float
    step_size_up: float = 2000
    step_size_down: float | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: Literal["cycle", "iterations"] = "cycle"
    cycle_momentum: bool = True
    base_momentum: float = 0.8
    max_momentum: float = 0.9

    def __post_init__(self) -> None:
        check_rates(self, "lr", "max_lr")
        least = 0 if self.step_size_down == 0 else 1
        check_numbers(self, step_size_up=(1, math.inf), gamma=(0, math.inf))
        if self.step_size_down is not None:
            check_numbers(self, step_size_down=(least, math.inf))
        if self.scale_fn is not None:
            check_function(self, "scale_fn")
        elif self.mode not in ("triangular", "triangular2", "exp_range"):
            modes = "'triangular', 'triangular2' or 'exp_range'"
            raise ValueError(located(f"Cyclic: mode is {modes}, or scale_fn is given, got {self.mode!r}"))
        if self.scale_mode not in ("cycle", "iterations"):
            raise ValueError(located(f"Cyclic: scale_mode is 'cycle' or 'iterations', got {self.scale_mode!r}"))
        check_momenta(self)

    def __call__(self, step: int) -> float:
        cycle, way = self._place(step / self._length, floor)
        return self.lr + (self.max_lr - self.lr) * way * self._scale(cycle, step)

    def momentum(self, step: Any) -> Any:
        """The momentum for the update after `step` steps were done, which may be traced."""
        step = xp.astype(step, "float64")
        cycle, way = self._place(step / self._length, xp.floor)
        return self.max_momentum - (self.max_momentum - self.base_momentum) * way * self._scale(cycle, step)

    @property
    def _length(self) -> float:
        return float(self.step_size_up) + self._down

    @property
    def _down(self) -> float:
        return float(self.step_size_up if self.step_size_down is None else self.step_size_down)

    def _place(self, cycles: Any, whole: Callable[[Any], Any]) -> tuple[Any, Any]:
        """The number of the cycle, from 1, and the part of the way up at which it is."""
        cycle = whole(1 + cycles)
        x = 1.0 + cycles - cycle
        rising = self.step_size_up / self._length
        if not self._down:
            return cycle, x
        up, down = x / rising, (x - 1) / (rising - 1)
        return cycle, (up if x <= rising else down) if isinstance(x, float) else xp.where(x <= rising, up, down)

    def _scale(self, cycle: Any, step: Any) -> Any:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else step)
        if self.mode == "triangular":
            return 1.0
        return 1 / (2.0 ** (cycle - 1)) if self.mode == "triangular2" else float(self.gamma) ** step


def check_momenta(schedule: Any) -> None:
    """Raises `ValueError` where a momentum that a schedule cycles is not 0 or more and below 1, or the flag no flag."""
    kind = type(schedule).__name__
    for name in ("base_momentum", "max_momentum"):
        check_numbers(schedule, **{name: (0, math.inf)})
        if not getattr(schedule, name) < 1:
            raise ValueError(located(f"{kind}: {name} is 0 or more and below 1, got {getattr(schedule, name)!r}"))
    if not isinstance(schedule.cycle_momentum, bool):
        raise ValueError(located(f"{kind}: cycle_momentum is True or False, got {schedule.cycle_momentum!r}"))
