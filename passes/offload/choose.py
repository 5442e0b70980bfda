"""Which values to move to host memory: one more at a time, until nothing lowers the peak any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir import Array
from ..memory.plan import Plan
from .absences import Absence, Offloading, absences
from .link import Link, phase_times
from .placement import Clock, Placed, placed, relaxed

_HASTES = (1.0, 2.0, 4.0, 16.0)
"""How much faster than it is the link is taken to be, see `placed`."""
_ROOM = 0.93
"""Transfers get more time as far as phases need no more than this part of what one needs anyway: blocks that live for
many different times leave gaps in an arena that is full."""
_STEP = 0.98
"""Of choices that follow one another, each is looked at that needs less than this part of the one before."""


@dataclass(frozen=True)
class Moved:
    """Transfers of a plan, the bytes that it then needs beside what is not moved, those in host memory, and the time
    that its phases wait, in nanoseconds of the GPU.
    """

    placed: Placed
    net_bytes: int
    host_bytes: int
    exposed: float


def choices(plan: Plan, offloading: Offloading) -> list[Moved]:
    """Choices for a plan of a GPU."""
    possible = absences(plan, offloading)
    chooser = _Chooser(possible, Clock(phase_times(plan)), Link.of(plan.target), plan, offloading)
    return [moved for haste in _HASTES for moved in chooser.greedy(haste)]


class _Chooser:
    """Chooses among `possible` absences of a plan."""

    def __init__(
        self, possible: Sequence[Absence], clock: Clock, link: Link, plan: Plan, offloading: Offloading
    ) -> None:
        self.clock, self.link, self.most_host_bytes = clock, link, offloading.most_host_bytes
        self.live = _live_bytes(plan, clock.phases)
        self.required = [one for one in possible if one.home is not None] if offloading.must else []
        # The longest first: it has the most time to move.
        others = (one for one in possible if one not in self.required)
        self.others = sorted(others, key=lambda one: (self._length(one), one.nbytes), reverse=True)

    def greedy(self, haste: float) -> Iterator[Moved]:
        """Choices for one `haste`, each with less memory than the one before: what is absent when most bytes are live
        is added one by one.
        """
        chosen = list(self.required)
        now = placed(self.clock, self.link, chosen, haste)
        if len(now.back) < len(chosen):
            return
        needed = self.live - now.saves(self.clock.phases)
        told = int(needed.max())
        if chosen:
            yield self._moved(now, told)
        while (better := self._one_more(chosen, needed, haste)) is not None:
            now, needed = better
            chosen = list(now.back)
            if needed.max() < _STEP * told:
                told = int(needed.max())
                yield self._moved(now, told)
        if needed.max() < told:
            yield self._moved(now, int(needed.max()))

    def _one_more(self, chosen: Sequence[Absence], needed: Array, haste: float) -> tuple[Placed, Array] | None:
        """The absences with one more of them, and what phases need then; None where no other helps."""
        peak, most = int(np.argmax(needed)), int(needed.max())
        for one in self.others:
            if one in chosen or not _covers(one, peak) or _host_bytes([*chosen, one]) > self.most_host_bytes:
                continue
            trial = placed(self.clock, self.link, [*chosen, one], haste)
            then = self.live - trial.saves(self.clock.phases)
            if len(trial.back) > len(chosen) and then[peak] < needed[peak] and then.max() <= most:
                return trial, then
        return None

    def _moved(self, now: Placed, limit: int) -> Moved:
        calm = relaxed(self.clock, self.link, now, self.live, int(_ROOM * limit))
        exposed = self.link.exposed(self.clock.times, calm.moves())
        return Moved(calm, limit, _host_bytes(calm.back), exposed)

    def _length(self, one: Absence) -> float:
        """Nanoseconds for which a value is absent, were it moved in no time."""
        begins, ends = self.clock.begins, self.clock.ends
        if one.home is not None:
            return ends[-1] - (ends[one.after] - begins[one.before])
        return begins[one.before] - ends[one.after]


def _live_bytes(plan: Plan, phases: int) -> Array:
    change = np.zeros(phases + 1, np.int64)
    for block in plan.blocks:
        change[block.birth] += block.nbytes
        change[min(block.death + 1, phases)] -= block.nbytes
    return np.cumsum(change)[:phases]


def _covers(one: Absence, phase: int) -> bool:
    inside = one.after < phase < one.before
    return inside if one.home is None else phase > one.after or phase < one.before


def _host_bytes(chosen: Iterable[Absence]) -> int:
    """Bytes in host memory, were all there at the same time."""
    return sum(value.type.nbytes for value in {one.value: None for one in chosen})
