"""What the bits of a step depend on beside its arrays, as a checkpoint says it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ...ir.printable import brief
from ..optim import Optimizer
from ..report.schema import MemoryReport
from ..saving.checkpoint_file import CheckpointError, CheckpointWarning

_MOST_STEPS = 2**48
"""More updates than any run can do: at a microsecond each they take nine years."""

_RATE = "the learning rate"
_LONGEST = 1000


def settings_of(optimizer: Optimizer, options: Mapping[str, Any], report: MemoryReport) -> dict[str, str]:
    """The settings of a step by name, as text that is the same in each process."""
    kind = type(optimizer).__name__
    found = {f"{kind}'s {f.name}": _described(getattr(optimizer, f.name)) for f in fields(optimizer)}
    rate = found.pop(f"{kind}'s lr")
    found |= {name: _described(value) for name, value in options.items()}
    found[_RATE] = rate
    found["the plan"] = report.other_bits or "runs in the tiles of a step without a budget"
    return found


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
        raise CheckpointError(f"{path} does not say with which settings it was made")
    return found


def warn_of_other_settings(path: Any, before: Mapping[str, str], now: Mapping[str, str], has_rate: bool) -> None:
    """A `CheckpointWarning` where a checkpoint was made with other settings. A rate that was set goes before schedules,
    and comes from the checkpoint. That one constant rate takes the place of another is what its user wrote.
    """
    names = [name for name in now if name in before]
    if has_rate or (_is_number(before.get(_RATE, "0")) and _is_number(now[_RATE])):
        names = [name for name in names if name != _RATE]
    differing = [
        f"{name}: {brief(before[name], _LONGEST)} before, {now[name]} now"
        for name in names
        if before[name] != now[name]
    ]
    if differing:
        lines = "\n  ".join(differing)
        text = f"{path} was made with other settings, so training goes on to other bits\n  {lines}"
        warnings.warn(text, CheckpointWarning, stacklevel=4)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_state(path: Any, given: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for a number of steps or a learning rate that no step can have written."""
    steps = int(given["step"])
    if not 0 <= steps < _MOST_STEPS:
        raise CheckpointError(f"{path} says that {steps:,} steps were done, which cannot be")
    if "lr" in given and not 0 <= float(given["lr"]) < np.inf:
        raise CheckpointError(f"{path} has a learning rate of {float(given['lr'])}; it must be 0 or more, and finite")
