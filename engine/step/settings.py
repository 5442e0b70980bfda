"""What the bits of a step depend on beside its arrays, as a checkpoint says it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ...ir.printable import brief
from ..optim import Optimizer
from ..optim.update_inputs import DEFAULT_GROUP
from ..report.schema import MemoryReport
from ..saving.checkpoint_file import CheckpointError, CheckpointWarning
from ..tracing.errors import located, warn

_MOST_STEPS = 2**48
"""More updates than any run can do: at a microsecond each they take nine years."""

_RATE = "the learning rate"
_UNSAID = {
    "precision": repr("fp32"),
    "loss_scaling": repr(None),
    "parts": "none, as of a step without ranks, whose sums over the batch have another order",
}
"""Of a step whose settings do not say it."""
_OF_NO_BITS = ("diagnose", "check_finite")
_LONGEST = 1000


def settings_of(optimizer: Optimizer, options: Mapping[str, Any], report: MemoryReport) -> dict[str, str]:
    """The settings of a step by name, as text that is the same in each process."""
    found = {name: _described(value) for name, value in optimizer.settings().items()}
    found |= {name: _described(value) for name, value in options.items() if name not in _OF_NO_BITS}
    found |= {_rate_of(group): _described(lr) for group, lr in optimizer.rates.items()}
    found["the plan"] = report.other_bits or "runs in the tiles of a step without a budget"
    return found


def _rate_of(group: str) -> str:
    return _RATE if group == DEFAULT_GROUP else f"{_RATE} of the group {group!r}"


def _described(value: Any) -> str:
    """A value without what changes from process to process, such as its address."""
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={_described(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({inside})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def settings_in_file(path: Any, text: str) -> dict[str, str]:
    """The settings that a checkpoint holds. Raises `CheckpointError` where that is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CheckpointError(located(f"{path} does not say with which settings it was made"))
    return found


def warn_of_other_settings(
    path: Any, before: Mapping[str, str], now: Mapping[str, str], groups_set: Collection[str]
) -> None:
    """A `CheckpointWarning` where a checkpoint was made with other settings. A rate that was set goes before schedules,
    and comes from the checkpoint. That one constant rate takes the place of another is what its user wrote.
    """
    before, now = ({**_UNSAID, **settings} for settings in (before, now))
    names = [name for name in now if name in before]
    rates = {name for name in names if name.startswith(_RATE)}
    rates_set = {_rate_of(group) for group in groups_set}
    left_out = {n for n in rates if n in rates_set or (_is_number(before[n]) and _is_number(now[n]))}
    names = [name for name in names if name not in left_out]
    differing = [
        f"{name}: {brief(before[name], _LONGEST)} before, {now[name]} now"
        for name in names
        if before[name] != now[name]
    ]
    if differing:
        lines = "\n  ".join(differing)
        text = f"{path} was made with other settings, so training goes on to other bits\n  {lines}"
        warn(text, CheckpointWarning)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_state(path: Any, steps: int, rates: Iterable[float]) -> None:
    """Raise `CheckpointError` for a number of steps or a learning rate that no step can have written."""
    if not 0 <= steps < _MOST_STEPS:
        raise CheckpointError(located(f"{path} says that {steps:,} steps were done, which cannot be"))
    for rate in rates:
        if not 0 <= rate < np.inf:
            raise CheckpointError(located(f"{path} has a learning rate of {rate}; it must be 0 or more, and finite"))
