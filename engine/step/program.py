"""The program of a step for batches of one type."""

from __future__ import annotations

from ...runtime.backend import Backend, Memory
from .plans import StepPlan
from .step_graph import StepGraph


class StepProgram:
    """A step for batches of one type, with views of its outputs in the arena."""

    def __init__(self, traced: StepGraph, planned: StepPlan, backend: Backend, arena: Memory) -> None:
        self.traced = traced
        self.report = planned.report
        self.executable = backend.build(planned.plan, arena)
        self.first = traced.batch_range.start
        self._find_outputs()

    @property
    def arena_bytes(self) -> int:
        """What it needs of the arena."""
        return self.executable.arena_bytes

    def use_arena(self, arena: Memory) -> None:
        """Share another arena."""
        self.executable.use_arena(arena)
        self._find_outputs()

    def _find_outputs(self) -> None:
        self.loss = self.executable.output_in_arena(self.traced.loss_index)
        self.metrics = [self.executable.output_in_arena(i) for i in self.traced.metrics_range]
        self.printed = [self.executable.output_in_arena(i) for i in self.traced.prints_range]
        self.measured = [self.executable.output_in_arena(i) for i in self.traced.statistics_range]
