"""A step in a notebook, and in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.html import block, table
from ..report.notebook import report_html, report_line

if TYPE_CHECKING:
    from .step import Step


def step_line(step: Step) -> str:
    """What is trained, by what, and how far it is."""
    steps = f"{step.steps} step{'s' * (step.steps != 1)} done"
    return f"{type(step._model).__name__} with {step._optimizer.title}, {steps}, {report_line(step.report)}"


def step_html(step: Step) -> str:
    """A step as HTML, with the memory of its first program."""
    parameters = sum(array.size for array in step._parameters.values())
    rows = [
        ("model", type(step._model).__name__),
        ("parameters", f"{parameters:,}"),
        ("optimizer", step._optimizer.title),
        ("learning rate", f"{step.learning_rate:.4g}"),
        ("steps done", str(step.steps)),
        ("batch", ", ".join(f"{name.removeprefix('batch.')}: {type}" for name, type in step._first.traced.batch)),
        ("target", str(step._target)),
        ("programs", str(len(step._signatures))),
    ]
    return block("Training step", table(rows), report_html(step.report, "Memory"))
