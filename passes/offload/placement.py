"""When what is absent moves: as early away and as late back as the link has time for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ...ir import Array, Value
from .absences import Absence
from .link import Link, Move


@dataclass(frozen=True)
class Placed:
    """Transfers of some absences: of each value the phases of the one away, `away[value] = (begin, done)`, and of each
    absence the phase in which the one back begins.
    """

    away: dict[Value, tuple[int, int]]
    back: dict[Absence, int]

    def moves(self) -> list[Move]:
        """All of them, in the order in which they begin."""
        found = [Move(begin, done, value.type.nbytes, True) for value, (begin, done) in self.away.items()]
        found += (Move(begin, absence.before - 1, absence.nbytes, False) for absence, begin in self.back.items())
        return sorted(found, key=lambda move: (move.begin, move.done))

    def saves(self, phases: int) -> Array:
        """Bytes that each of so many phases needs less."""
        change = np.zeros(phases + 1, np.int64)
        for absence, begin in self.back.items():
            left = max(absence.after, self.away[absence.value][1]) + 1
            spans = [(left, begin)] if absence.home is None else [(0, begin), (left, phases)]
            for first, last in spans:
                change[first] += absence.nbytes
                change[max(first, last)] -= absence.nbytes
        return np.cumsum(change)[:phases]


class Clock:
    """When phases begin and end that take `times` and wait for nothing; one more, of no time, is behind them."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times = [*times, 0.0]
        self.ends = list(accumulate(self.times))
        self.begins = [0.0, *self.ends[:-1]]

    @property
    def phases(self) -> int:
        """How many there are."""
        return len(self.times)


def placed(clock: Clock, link: Link, chosen: Iterable[Absence], haste: float) -> Placed:
    """Transfers of the `chosen` absences such that no phase waits if the link is so many times as fast as it is.

    The more `haste`, the sooner the memory is free, and the longer some phases wait. An absence for which there is no
    time is left out.
    """
    absent = list(chosen)
    away: dict[Value, tuple[int, int]] = {}
    free = 0.0
    values = {absence.value: absence.made for absence in absent}
    for value, made in sorted(values.items(), key=lambda item: item[1]):
        begin = made + 1
        free = max(free, clock.begins[begin]) + link.nanoseconds(value.type.nbytes) / haste
        away[value] = begin, min(max(bisect_left(clock.ends, free), begin), clock.phases - 1)
    back: dict[Absence, int] = {}
    free = clock.ends[-1]
    for absence in sorted(absent, key=lambda one: one.before, reverse=True):
        wanted = min(free, clock.begins[absence.before])
        start = wanted - link.nanoseconds(absence.nbytes) / haste
        begin = min(bisect_right(clock.begins, max(start, 0.0)) - 1, absence.before - 1)
        if absence.home is None:
            begin = max(begin, max(absence.after, away[absence.value][1]) + 1)
            if begin >= absence.before:
                continue
        elif begin < 0:
            continue
        free = start
        back[absence] = begin
    used = {absence.value for absence in back}
    return Placed({value: span for value, span in away.items() if value in used}, back)


def relaxed(clock: Clock, link: Link, hasty: Placed, live: Array, limit: int) -> Placed:
    """The same transfers with more time: waited for later, and begun earlier on the way back, as far as no phase then
    needs more than `limit` of the bytes that are `live` without any. No more time is given than a phase could wait for.
    """
    calm = placed(clock, link, hasty.back, 1.0)
    away, back = dict(hasty.away), dict(hasty.back)
    needed = live - hasty.saves(clock.phases)
    of_value: dict[Value, list[Absence]] = {}
    for absence in back:
        of_value.setdefault(absence.value, []).append(absence)
    for value, (begin, done) in sorted(away.items(), key=lambda item: item[1]):
        returns = (back[one] - 1 for one in of_value[value] if one.home is None)
        last = min([calm.away.get(value, (0, clock.phases - 1))[1], *returns])
        first = max(done, min(one.after for one in of_value[value])) + 1
        full = np.flatnonzero(needed[first : last + 1] + value.type.nbytes > limit)
        later = max(done, first + int(full[0]) - 1 if full.size else last)
        for one in of_value[value]:
            needed[max(one.after, done) + 1 : max(one.after, later) + 1] += one.nbytes
        away[value] = begin, later
    for one, begin in sorted(back.items(), key=lambda item: item[0].before, reverse=True):
        first = 0 if one.home is not None else max(one.after, away[one.value][1]) + 1
        first = max(first, calm.back.get(one, 0))
        full = np.flatnonzero(needed[first:begin] + one.nbytes > limit)
        earlier = min(begin, first + int(full[-1]) + 1 if full.size else first)
        needed[earlier:begin] += one.nbytes
        back[one] = earlier
    return Placed(away, back)
