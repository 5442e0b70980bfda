"""What was measured, and what follows from it."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from .machine import Noise, Speed

OURS = "gradloom"

PEERS: Mapping[str, str] = {
    "torch": "torch",
    "torch-compile": "torch",
    "torch-autotune": "torch",
    "torch-graph": "torch",
    "torch-compile-graph": "torch",
    "jax": "jax",
}
"""What `--against` says, and the package that it takes."""

GPU_PEERS = ("torch-autotune", "torch-graph", "torch-compile-graph")
"""Those that there are on a GPU alone."""


@dataclass(frozen=True)
class Figures:
    """One side of one workload over all rounds, in seconds. `cold` and `warm` are until the end of the first step; on
    one core, they are those of the processor. `warm` is `None` where there was one round only.
    """

    step: float
    least: float
    cpu: float
    """The processor time of a step, of all cores together."""
    cold: float
    warm: float | None
    loss: float
    bytes_beyond: int
    spread: float
    rounds: list[dict[str, Any]]

    @staticmethod
    def of(rounds: list[dict[str, Any]], pinned: bool = False) -> Figures:
        """The figures of a side's rounds, the first of which was cold and reported its memory."""
        first = "first_cpu" if pinned else "first"
        medians = [statistics.median(turn["median"] for turn in r["turns"]) for r in rounds]
        turns = [turn for r in rounds for turn in r["turns"]]
        step = statistics.median(turn["median"] for turn in turns)
        return Figures(
            step,
            min(turn["least"] for turn in turns),
            statistics.median(turn["cpu"] for turn in turns),
            rounds[0][first],
            statistics.median(r[first] for r in rounds[1:]) if rounds[1:] else None,
            rounds[0]["loss"],
            int(rounds[0]["bytes_beyond"]),
            (max(medians) - min(medians)) / step,
            rounds,
        )

    def times(self, kind: str) -> list[float]:
        """Of every turn its "median" or its "cpu", in the order in which sides took turns."""
        return [turn[kind] for r in self.rounds for turn in r["turns"]]


@dataclass(frozen=True)
class Comparison:
    """All sides of one workload, Gradloom first. On one core sides are compared by the processor time of a step, which
    other processes do not change; else by the time that passed.
    """

    sides: Mapping[str, Figures]
    pinned: bool = False
    threads: Mapping[int, Figures] = field(default_factory=dict[int, Figures])
    """Gradloom on so many threads."""

    @property
    def peers(self) -> dict[str, Figures]:
        """All but Gradloom."""
        return {name: figures for name, figures in self.sides.items() if name != OURS}

    def seconds(self, side: str) -> float:
        """The time of a step that a side is compared by."""
        figures = self.sides[side]
        return figures.cpu if self.pinned else figures.step

    @property
    def ratios(self) -> dict[str, float]:
        """For each peer how many times as fast Gradloom is: the median over turns, each of which compares what was
        measured one after the other. A machine that changes its speed for minutes changes both sides of a turn.
        """
        kind = "cpu" if self.pinned else "median"
        ours = self.sides[OURS].times(kind)
        return {
            name: statistics.median(theirs / mine for theirs, mine in zip(figures.times(kind), ours))
            for name, figures in self.peers.items()
        }

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the best peer Gradloom is."""
        return min(self.ratios.values(), default=None)

    def gain(self, threads: int) -> float:
        """How many times as fast Gradloom is on so many threads as on the fewest that were measured; the median over
        turns.
        """
        fewest = self.threads[min(self.threads)].times("median")
        return statistics.median(few / many for few, many in zip(fewest, self.threads[threads].times("median")))

    @property
    def bytes_ratio(self) -> float | None:
        """Gradloom's bytes beyond parameters and optimizer state, as a share of the best peer's."""
        least = min((f.bytes_beyond for f in self.peers.values()), default=0)
        return self.sides[OURS].bytes_beyond / least if least else None

    def floor(self, speed: Speed) -> float:
        """Seconds that the machine needs at least."""
        first = self.sides[OURS].rounds[0]
        return speed.floor(int(first["matmul_flops"]), int(first["parameters"]))


@dataclass(frozen=True)
class Results:
    """A whole run of the benchmark."""

    workloads: Mapping[str, Comparison]
    speed: Speed
    noise: Noise

    @property
    def side_names(self) -> list[str]:
        """Every side that was measured."""
        return list(dict.fromkeys(name for c in self.workloads.values() for name in c.sides))

    @property
    def complaints(self) -> list[str]:
        """Why the figures are not to be trusted, if they are not."""
        sides = {
            f"{side} on {workload}": figures.spread
            for workload, comparison in self.workloads.items()
            for side, figures in comparison.sides.items()
        }
        return self.noise.complaints(sides)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        packages = dict.fromkeys([OURS, "numpy", "numba", *(PEERS[s] for s in self.side_names if s in PEERS)])
        return {
            "machine": {
                "system": platform.platform(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "flops_per_second": self.speed.flops,
                "bytes_per_second": self.speed.bandwidth,
                "noise": asdict(self.noise),
                "complaints": self.complaints,
            },
            "versions": {package: version(package) for package in packages},
            "workloads": {name: self._workload(comparison) for name, comparison in self.workloads.items()},
        }

    def _workload(self, comparison: Comparison) -> dict[str, Any]:
        floor = comparison.floor(self.speed)
        on_threads = {f"{OURS}, threads={n}": figures for n, figures in comparison.threads.items()}
        return {
            side: {
                "step_seconds": f.step,
                "least_seconds": f.least,
                "cpu_seconds": f.cpu,
                "slower_than_gradloom": comparison.ratios.get(side),
                "first_cold_seconds": f.cold,
                "first_warm_seconds": f.warm,
                "bytes_beyond": f.bytes_beyond,
                "floor_seconds": floor,
                "spread": f.spread,
                "rounds": f.rounds,
            }
            for side, f in {**comparison.sides, **on_threads}.items()
        }
