"""The time of a program on any number of threads, from the time of each of its tiles: a simulation of the driver.

Threads go through the launches as `driver.take_part` does: whoever is free takes the next tile of the launch, then of
the next launch, up to a barrier, where all wait for the last. Two things are added. A cache line that several threads
write goes from core to core. And what launches between two barriers move to and from memory takes as long as the memory
needs for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir import Node

LINE_NANOSECONDS = 100.0
"""A cache line goes from one core to another: from 40 to 150 on the sockets of today."""
_LINES_OF_A_RUN = 10
"""Such moves from one thread to all others, when a run begins and when it ends."""


@dataclass(frozen=True)
class TimedLaunch:
    """A launch: the nanoseconds of its tiles, whether it waits for all before it, the bytes that it moves to and from
    memory, and the units that it runs.
    """

    tiles: Sequence[float]
    barrier: bool
    memory_bytes: float = 0.0
    units: tuple[Node | None, ...] = ()


@dataclass(frozen=True)
class TimedStretch:
    """Launches that run one after the other, how often in a run, and whether one thread runs them alone."""

    launches: Sequence[TimedLaunch]
    runs: float = 1.0
    alone: bool = False


@dataclass
class CoreTime:
    """The nanoseconds of a run on so many cores, a thread on each, and what they are made of: the work, in equal parts;
    what threads are idle for lack of parts; what they lose at barriers and where they take tiles; what they wait for
    memory. `lost` has what each unit loses beside its work.
    """

    cores: int
    work: float = 0.0
    idle: float = 0.0
    barriers: float = 0.0
    memory: float = 0.0
    lost: dict[Node | None, float] = field(default_factory=dict["Node | None", float])

    @property
    def nanoseconds(self) -> float:
        """All of it."""
        return self.work + self.idle + self.barriers + self.memory


def replay(stretches: Sequence[TimedStretch], cores: int, bytes_per_ns: float = float("inf")) -> CoreTime:
    """A run on so many cores of a machine whose memory moves so many bytes a nanosecond."""
    found = CoreTime(cores)
    for stretch in stretches:
        for phase in _phases(stretch.launches):
            _add_phase(found, phase, stretch, bytes_per_ns)
        if cores > 1 and not stretch.alone:
            found.barriers += stretch.runs * _LINES_OF_A_RUN * LINE_NANOSECONDS
    return found


def _phases(launches: Sequence[TimedLaunch]) -> list[list[TimedLaunch]]:
    """The launches between two barriers."""
    phases: list[list[TimedLaunch]] = []
    for launch in launches:
        if launch.barrier or not phases:
            phases.append([])
        phases[-1].append(launch)
    return phases


def _add_phase(found: CoreTime, phase: Sequence[TimedLaunch], stretch: TimedStretch, bytes_per_ns: float) -> None:
    work = sum(sum(launch.tiles) for launch in phase)
    threads = 1 if stretch.alone else found.cores
    busy = work if threads == 1 else makespan(phase, threads, 0.0)
    end = work if threads == 1 else makespan(phase, threads, LINE_NANOSECONDS)
    # On one thread the waiting for memory is in the times of the tiles.
    waits = 0.0 if found.cores == 1 else max(0.0, sum(launch.memory_bytes for launch in phase) / bytes_per_ns - end)
    found.work += stretch.runs * work / found.cores
    found.idle += stretch.runs * (busy - work / found.cores)
    found.barriers += stretch.runs * (end - busy)
    found.memory += stretch.runs * waits
    lost = stretch.runs * (end + waits - work / found.cores)
    for launch in phase:
        share = lost * sum(launch.tiles) / max(work, 1e-9) / max(len(launch.units), 1)
        for unit in launch.units:
            found.lost[unit] = found.lost.get(unit, 0.0) + share


def makespan(phase: Sequence[TimedLaunch], threads: int, line: float) -> float:
    """When the last tile of launches is done that wait for none of each other, and all threads know of it; a tile is
    taken, and a thread's tiles are counted, by a write to a line that one thread has at a time.
    """
    free = [0.0] * threads
    for launch in phase:
        counter = 0.0
        for tile in launch.tiles:
            counter = max(free[0], counter) + line
            heapq.heapreplace(free, counter + tile)
    done = 0.0
    for end in sorted(time for time in free if time > 0):
        done = max(done, end) + line
    return done + line
