"""The program of a step for batches of one type."""

from __future__ import annotations

from typing import Any

from ...runtime.backend import Backend, Memory
from ..compile.compile_progress import compile_phase
from ..ranks import Ranks
from ..tracing.debug import Prints
from .buckets import Fit
from .plans import StepPlan
from .step_graph import StepGraph


class StepProgram:
    """A step for batches of one type, with views of its outputs in the arena."""

    def __init__(
        self, traced: StepGraph, planned: StepPlan, backend: Backend, arena: Memory, ranks: Ranks | None = None
    ) -> None:
        self.traced = traced
        self.report = planned.report
        compile_phase("kernels")
        self.executable = backend.build(planned.plan, arena, ranks)
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

    def metric_arrays(self, fit: Fit[StepGraph] | None) -> list[Any]:
        """The metrics of the last run, of a batch that may have been padded: scalars as NumPy scalars, arrays as
        copies, since the next step overwrites the arena.
        """
        if fit is None:
            return [m[()] if m.ndim == 0 else m.copy() for m in self.metrics]
        places = self.traced.metrics_range
        return [m[()] if m.ndim == 0 else fit.cut(i, m) for i, m in zip(places, self.metrics)]

    def lines(self, fit: Fit[StepGraph] | None) -> tuple[Prints, list[Any]]:
        """What the last run prints, and the arrays that it needs for that."""
        if fit is None:
            return self.traced.prints, self.printed
        return fit.real.prints, [fit.cut(i, value) for i, value in zip(self.traced.prints_range, self.printed)]
