"""What a step takes on any number of cores: its tiles are timed here on one thread, and replayed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...passes.tiling.parallel_loops import parallel_iterations
from ...runtime.cpu.memory_traffic import memory_traffic
from ...runtime.cpu.replay import CoreTime, TimedLaunch, TimedStretch, replay
from ...runtime.cpu.unit_tables import UnitTables
from .step import Step

_ROUNDS = 5
_SECONDS = 2.0
"""Steps are timed so often at least, and so long."""
_MOST_ROUNDS = 60


class _Timed:
    """A step whose tiles are timed, run by run."""

    def __init__(self, step: Step, batch: Any) -> None:
        self.step, self.batch = step, batch
        self.executable: Any = step._first.executable
        self.rounds: list[np.ndarray] = []
        self.runs: np.ndarray = np.zeros(0)
        step(batch)

    def round(self) -> None:
        with self.executable.program.timed() as (tiles, runs):
            self.step(self.batch)
        self.rounds.append(tiles.copy())
        self.runs = runs.copy()

    def stretches(self) -> list[TimedStretch]:
        """The median of each tile. What flags decide on is as in the last run."""
        program, plan = self.executable.program, self.executable.plan
        tables = UnitTables(plan)
        moved = memory_traffic(tables, plan.target.l3_bytes)
        median = np.median(self.rounds, axis=0)
        ends = np.cumsum(program.launches[:, 0]).tolist()
        launches: list[TimedLaunch] = []
        for end, nbytes, (tiles, barrier, first, count, *_) in zip(ends, moved, program.launches.tolist()):
            units = tuple(unit.node for unit in tables.units_of(first, count))
            launches.append(TimedLaunch(median[end - tiles : end].tolist(), bool(barrier), nbytes, units))
        found: list[TimedStretch] = []
        for row, runs in zip(program.stretches.tolist(), self.runs.tolist()):
            within = [_in_each_run(launch, runs) for launch in launches[row[0] : row[1]]]
            found.append(TimedStretch(within, runs, bool(row[-1])))
        return found


def _in_each_run(launch: TimedLaunch, runs: int) -> TimedLaunch:
    """A launch whose tiles were timed in so many runs of its stretch together."""
    return launch if runs < 2 else replace(launch, tiles=[time / runs for time in launch.tiles])


@dataclass(frozen=True)
class CoreTimes:
    """What a step takes on each number of cores, how many tiles it has, and how often it was timed."""

    times: Sequence[CoreTime]
    tiles: int
    rounds: int


def core_times(
    make: Callable[[int], Step], batch: Any, cores: Sequence[int], bytes_per_ns: Callable[[int], float]
) -> CoreTimes:
    """What the steps that `make` compiles for a number of threads take on each of `cores` for a batch, with memory that
    moves so many bytes a nanosecond for so many cores.

    A step is the same program for most numbers of threads, but for loops whose iterations run concurrently; each
    program is compiled and timed once, in turn.
    """
    most = max(cores)
    largest = _Timed(make(most), batch)
    plan = largest.executable.plan
    iterations = sorted({parallel_iterations(node) for node in plan.graph.nodes} - {1})
    timed = {_concurrent(iterations, most): largest}
    for n in sorted(cores, reverse=True):
        kind = _concurrent(iterations, n)
        if kind not in timed:
            timed[kind] = _Timed(make(n), batch)
    begun = time.perf_counter()
    rounds = 0
    while rounds < _ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() < begun + _SECONDS * len(timed)):
        for each in timed.values():
            each.round()
        rounds += 1
    stretches = {kind: each.stretches() for kind, each in timed.items()}
    found: list[CoreTime] = []
    for n in cores:
        # A step that is too small to wake others runs on one thread.
        threads = min(n, largest.executable.program.threads)
        time_of = replay(stretches[_concurrent(iterations, n)], threads, bytes_per_ns(n))
        found.append(replace(time_of, cores=n))
    return CoreTimes(found, len(largest.rounds[0]), rounds)


def _concurrent(iterations: Sequence[int], threads: int) -> tuple[bool, ...]:
    return tuple(1 < threads <= each for each in iterations)
