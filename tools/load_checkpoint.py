"""How a command takes up the checkpoint of an earlier run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from ..engine.saving.checkpoint_file import CheckpointWarning
from ..engine.step.step import Step
from .command_error import CommandError


def load_checkpoint(step: Step, path: str, expected: Mapping[str, str | None], say: Callable[[str], None]) -> None:
    """Load a checkpoint whose metadata were read before, and say what differs from the step that wrote it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", CheckpointWarning)
        found = step.load(path)
    if any(found.get(name) != text for name, text in expected.items()):
        raise CommandError(f"{path} was replaced while the step was compiled; begin again")
    for warning in warned:
        if issubclass(warning.category, CheckpointWarning):
            say(f"note: {warning.message}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
