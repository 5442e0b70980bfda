"""`CompileReport`: where the time before the first step went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import Node
from ...runtime.codegen.kernel_cache import Kernel
from ..report.values import unit_name


@dataclass(frozen=True)
class CompileReport:
    """How a step was compiled, in seconds.

    `trace_seconds` for running the user's code and differentiating it; `plan_seconds` for the passes, the schedule and
    the memory plan; `kernel_seconds` for machine code: read from the disk, or compiled, by several processes at once
    where that is possible; `setup_seconds` for the initial parameters, the arena and the program's tables. `kernels`
    are the step's, each with the seconds that it took by itself, whether it was on disk, and why not; `uses` says what
    each of them runs.
    """

    trace_seconds: float
    plan_seconds: float
    kernel_seconds: float
    setup_seconds: float
    kernels: tuple[Kernel, ...]
    uses: tuple[str, ...]

    @property
    def total_seconds(self) -> float:
        """All of it."""
        return self.trace_seconds + self.plan_seconds + self.kernel_seconds + self.setup_seconds

    @property
    def hits(self) -> int:
        """Kernels whose machine code was on disk."""
        return sum(kernel.hit for kernel in self.kernels)

    def __repr__(self) -> str:
        return f"<CompileReport of {self.total_seconds:.3f} s, {len(self.kernels)} kernels, {self.hits} from the cache>"

    def __str__(self) -> str:
        lines = [
            f"trace    {self.trace_seconds:8.3f} s",
            f"plan     {self.plan_seconds:8.3f} s",
            f"kernels  {self.kernel_seconds:8.3f} s   {len(self.kernels)}, of which {self.hits} from the cache",
            f"set-up   {self.setup_seconds:8.3f} s",
            f"total    {self.total_seconds:8.3f} s",
        ]
        reasons = Counter(kernel.why for kernel in self.kernels if not kernel.hit)
        lines += [f"compiled {count} because: {why}" for why, count in reasons.most_common()]
        lines.append("seconds  from      runs")
        for kernel, use in sorted(zip(self.kernels, self.uses), key=lambda pair: -pair[0].seconds):
            lines.append(f"{kernel.seconds:7.3f}  {'cache' if kernel.hit else 'compiler':<8}  {use}")
        return "\n".join(lines)


def use_of(units: Sequence[Node]) -> str:
    """What a kernel runs, in words: its first unit, and how many more are like that."""
    if not units:
        return "the driver, which calls all others"
    first, more = units[0], len(set(units)) - 1
    scope = f" of {first.origin.scope}" if first.origin.scope else ""
    return f"{unit_name(first)}{scope} ({first.origin.role})" + (f" and {more} more" if more else "")
