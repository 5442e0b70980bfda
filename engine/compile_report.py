"""`CompileReport`: where the time before the first step went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..runtime.kernel_cache import Kernel


@dataclass(frozen=True)
class CompileReport:
    """How a step was compiled, in seconds.

    `trace_seconds` for running the user's code and differentiating it; `plan_seconds` for the passes, the schedule and
    the memory plan; `kernel_seconds` for machine code: read from the disk, or compiled, by several processes at once
    where that is possible; `setup_seconds` for the initial parameters, the arena and the program's tables. `kernels`
    are the step's, each with the seconds that it took by itself, whether it was on disk, and why not.
    """

    trace_seconds: float
    plan_seconds: float
    kernel_seconds: float
    setup_seconds: float
    kernels: tuple[Kernel, ...]

    @property
    def total_seconds(self) -> float:
        """All of it."""
        return self.trace_seconds + self.plan_seconds + self.kernel_seconds + self.setup_seconds

    @property
    def hits(self) -> int:
        """Kernels whose machine code was on disk."""
        return sum(kernel.hit for kernel in self.kernels)

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
        lines.append("kernel        seconds  from")
        for kernel in sorted(self.kernels, key=lambda kernel: -kernel.seconds):
            lines.append(f"{kernel.name:<12} {kernel.seconds:8.3f}  {'the cache' if kernel.hit else kernel.why}")
        return "\n".join(lines)
