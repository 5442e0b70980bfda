"""Gradloom's side of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engine.step import compile_step
from ..recipes import RECIPES
from .workloads import Mlp


def build(workload: Mlp) -> Callable[[], Any]:
    """A function that does one training step and returns its loss."""
    x, y = workload.batch()
    batch = {"x": x, "y": y}
    step = compile_step(*RECIPES[workload.name]()[:3], batch)
    step.set_parameters(workload.parameters())
    return lambda: step(batch)
