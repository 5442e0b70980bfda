"""What a value that stands in a file may be: whoever wrote it."""

from __future__ import annotations

from typing import Any

from ..engine.step.budget import budget_of
from ..engine.step.loss_scaling import checked_loss_scaling
from ..engine.tracing.precisions import half_of
from ..passes.target import MOST_CORES

_MOST = 2**48
_LARGEST_RATE = 3e38
_LONGEST = 300


def brief(value: Any) -> str:
    """What stands in a file, for a message: printable, and not long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def is_text(value: Any) -> bool:
    """Whether a value of a file is text."""
    return isinstance(value, str)


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value of a file is a whole number of `least` or more, and within reason."""
    return type(value) is int and least <= value < _MOST


def is_cores(value: Any) -> bool:
    """Whether a value of a file is a number of cores."""
    return is_count(value) and value <= MOST_CORES


def is_rate(value: Any) -> bool:
    """Whether a value of a file is a number of 0 or more, and within the range of float32."""
    return type(value) in (int, float) and 0 <= value <= _LARGEST_RATE


def loss_scaling_of(text: str | None) -> str | float | None:
    """How the loss is scaled, of its text: "dynamic" or a number."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def is_loss_scaling(value: Any) -> bool:
    """Whether a value of a file says how a loss is scaled."""
    try:
        return isinstance(value, str) and checked_loss_scaling(loss_scaling_of(value), "fp32") is not None
    except ValueError:
        return False


def is_half(value: Any) -> bool:
    """Whether a value of a file is what a budget may allow."""
    return half_of(value) == value


def is_memory(value: Any) -> bool:
    """Whether a value of a file is a budget."""
    try:
        return isinstance(value, str) and budget_of(value).nbytes != 0
    except ValueError:
        return False
