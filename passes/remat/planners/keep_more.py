"""Keeping more where there is room: of what an order recomputes, what saves most time for its bytes stays instead."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from ....ir import Array
from ..problem import Order, Problem, Run

_STEEPNESS = 16.0
"""How much more a byte counts where little is left: by this power of e from nothing to all of the limit."""
_LEAST_PRICE = 0.02
"""A byte counts so much at least, as a part of one that is there all the time."""

# The first of some runs, the one after them, bytes.
_Interval = tuple[int, int, int]


def kept_more(problem: Problem, order: Order, limits: Sequence[int]) -> list[Order]:
    """For each of `limits`, from the smallest on, an order that keeps some of what `order` recomputes, with no more
    bytes alive than that.

    The run that is left out is always the one that saves most time, with all that only it reads, for what its results
    take until they are read: bytes count where few are left.
    """
    keeping = _Keeping(problem, order)
    return [keeping.within(limit) for limit in limits]


@dataclass(frozen=True, slots=True)
class _Saving:
    """What leaving out a run changes: the runs that go, what they read, and what stays or goes during which runs."""

    gone: set[int]
    unread: Collection[int]
    stays: list[_Interval]
    goes: list[_Interval]
    time: float


@dataclass
class _Keeping:
    """Arrays are what one run has made of one value, in the order in which they are made."""

    problem: Problem
    order: Order
    value: list[int] = field(default_factory=list[int])
    """Of each array."""
    born: list[int] = field(default_factory=list[int])
    """The run that makes each array."""
    readers: list[list[int]] = field(default_factory=list[list[int]])
    """The runs that read each array, in order; the number of all runs for what lasts."""
    before: dict[int, int] = field(default_factory=dict[int, int])
    """For each array the one that was made before of the same value."""
    after: dict[int, int] = field(default_factory=dict[int, int])
    time: list[float] = field(default_factory=list[float])
    """Of each run, 0 for first ones."""
    reads: list[list[int]] = field(default_factory=list[list[int]])
    makes: list[range] = field(default_factory=list[range])
    over: dict[int, list[tuple[int, int]]] = field(default_factory=dict[int, "list[tuple[int, int]]"])
    """For each run the values that it writes over arrays that it reads last."""
    alive: Array = field(init=False)
    """Bytes alive during each run."""
    known: dict[int, _Saving] = field(default_factory=dict[int, _Saving])
    """What leaving out a run changes, as far as it was looked at."""
    told_by: list[set[int]] = field(init=False)
    """For each array the runs of which what is known follows from its readers."""
    tight: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    """For runs that could not be left out one during which there was no room, and the bytes that there would be more:
    mostly there is no room before something moves or goes there.
    """

    def __post_init__(self) -> None:
        problem, runs = self.problem, self.order.runs
        there = [False] * len(problem.sizes)
        made: dict[int, int] = {}
        for now, run in enumerate(runs):
            self.time.append(self._time(run, there))
            self.reads.append([made[v] for v in dict.fromkeys(run.reads)])
            for array in self.reads[-1]:
                self.readers[array].append(now)
            first = len(self.value)
            self.makes.append(range(first, first + len(run.makes)))
            for array, v in enumerate(run.makes, first):
                self.value.append(v)
                self.born.append(now)
                self.readers.append([])
                if v in made:
                    self.before[array], self.after[made[v]] = made[v], array
                made[v] = array
        for v in problem.lasting:
            self.readers[made[v]].append(len(runs))
        self.left = [run.is_recompute for run in runs]
        self.size = [problem.sizes[v] for v in self.value]
        self.told_by = [set() for _ in self.value]
        change = [0] * (len(runs) + 2)
        for array, size in enumerate(self.size):
            change[self.born[array]] += size
            change[self._until(array) + 1] -= size
        alive = list(accumulate(change[:-1]))
        for now, run in enumerate(runs):
            alive[now] += problem.scratch(run)
            over = problem.units[run.unit].over
            read = {self.value[array]: array for array in self.reads[now]} if over else dict[int, int]()
            for new, old in over:
                if new in run.makes and old in read and self._until(read[old]) == now:
                    self.over.setdefault(now, []).append((new, read[old]))
                    alive[now] -= problem.sizes[new]
        self.alive = np.array(alive, np.int64)

    def _time(self, run: Run, there: list[bool]) -> float:
        """The time of a run, if it recomputes."""
        if not run.is_recompute:
            return 0.0
        for v in run.reads:
            there[v] = True
        time = self.problem.recompute_inputs(run.unit, run.makes, there)[1]
        for v in run.reads:
            there[v] = False
        return time

    def _until(self, array: int) -> int:
        readers = self.readers[array]
        return readers[-1] if readers else self.born[array]

    def within(self, limit: int) -> Order:
        """Leave out what fits the limit."""
        weights = np.exp(_STEEPNESS * (np.minimum(self.alive / max(limit, 1), 1.0) - 1.0))
        self.prices = np.concatenate(([0.0], np.cumsum(weights / weights.sum()))).tolist()
        waiting = [now for now, left in enumerate(self.left) if left]
        while chosen := [now for now in waiting if self.left[now] and not self._is_tight(now, limit)]:
            self._leave_out_of(chosen, limit)
            waiting = sorted(set(waiting).difference(chosen))
        runs = tuple([run for run, left in zip(self.order.runs, self.left) if left or not run.is_recompute])
        return Order(runs, int(self.alive.max()), sum(t for t, left in zip(self.time, self.left) if left))

    def _is_tight(self, run: int, limit: int) -> bool:
        """Whether there still is no room where there was none."""
        place, more = self.tight.get(run, (0, 0))
        return more > 0 and self.alive[place] + more > limit

    def _leave_out_of(self, chosen: Sequence[int], limit: int) -> None:
        """Leave out those of the chosen runs that fit the limit."""
        known_savings = self.known
        savings = [known_savings.get(now) or self._saving(now) for now in chosen]
        heap = [(-self._worth(saving), now, saving) for now, saving in zip(chosen, savings)]
        heapq.heapify(heap)
        while heap:
            worth, now, known = heapq.heappop(heap)
            if not self.left[now] or self._is_tight(now, limit):
                continue
            saving = known_savings.get(now) or self._saving(now)
            current = worth if saving is known else -self._worth(saving)
            if current > worth and heap and current > heap[0][0]:
                heapq.heappush(heap, (current, now, saving))
            elif self._has_room(now, saving, limit):
                self._leave_out(saving)

    def _saving(self, run: int) -> _Saving:
        """What leaving out a run changes: what only it reads is not recomputed either."""
        if run in self.known:
            return self.known[run]
        readers, reads, makes, born, left = self.readers, self.reads, self.makes, self.born, self.left
        kept = {self.before[array] for array in makes[run] if readers[array]}
        looked_at = {*kept, *makes[run]}
        gone, going, unread = [run], {run}, dict[int, int]()
        for now in gone:
            for array in reads[now]:
                unread[array] = unread.get(array, 0) + 1
                maker = born[array]
                if not left[maker] or maker in going:
                    continue
                looked_at.update(makes[maker])
                for made in makes[maker]:
                    if made in kept or len(readers[made]) != unread.get(made, 0):
                        break
                else:
                    gone.append(maker)
                    going.add(maker)
        stays: list[_Interval] = []
        for array in kept:
            last = self._until(array)
            if last + 1 < run:
                stays.append((last + 1, run, self.size[array]))
            stays += ((last, last + 1, self.problem.sizes[new]) for new, old in self.over.get(last, ()) if old == array)
        goes: list[_Interval] = []
        for array in unread:
            if born[array] in going:
                goes.append((born[array], readers[array][-1] + 1, self.size[array]))
            elif array not in kept and readers[array][-1] in going:
                last = next((r for r in reversed(readers[array]) if r not in going), born[array])
                goes.append((last + 1, readers[array][-1] + 1, self.size[array]))
        looked_at.update(unread)
        for array in looked_at:
            self.told_by[array].add(run)
        self.known[run] = _Saving(going, unread, stays, goes, sum(self.time[now] for now in gone))
        return self.known[run]

    def _worth(self, saving: _Saving) -> float:
        """Time for what is paid."""
        prices = self.prices
        paid = won = 0.0
        stays = 0
        for begin, end, size in saving.stays:
            paid += size * (prices[end] - prices[begin])
            stays += size
        for begin, end, size in saving.goes:
            won += size * (prices[end] - prices[begin])
        return saving.time / max(paid - won, _LEAST_PRICE * stays, 1.0)

    def _has_room(self, run: int, saving: _Saving, limit: int) -> bool:
        """Whether what stays for a run has room within the limit; if so, it takes it."""
        alive = self.alive
        first = min((begin for begin, _, _ in saving.stays), default=0)
        end = max((end for _, end, _ in saving.stays), default=0)
        if first < end:
            change = np.zeros(end - first + 1, np.int64)
            for intervals, sign in ((saving.stays, 1), (saving.goes, -1)):
                for begin, until, size in intervals:
                    if begin < end and until > first:
                        change[max(begin - first, 0)] += sign * size
                        change[min(until, end) - first] -= sign * size
            change = change[:-1].cumsum()
            place = int((alive[first:end] + change).argmax())
            if alive[first + place] + change[place] > limit:
                self.tight[run] = first + place, int(change[place])
                return False
        for begin, until, size in saving.goes:
            alive[begin:until] -= size
        for begin, until, size in saving.stays:
            alive[begin:until] += size
        return True

    def _leave_out(self, saving: _Saving) -> None:
        """Leave out the runs of a saving: what they made is read as it was made before."""
        runs = self.order.runs
        moved_from = set[int]()
        for array in saving.unread:
            self.readers[array] = [r for r in self.readers[array] if r not in saving.gone]
        for now in saving.gone:
            self.left[now] = False
            self.alive[now] -= self.problem.scratch(runs[now])
            for new, _ in self.over.pop(now, ()):
                self.alive[now] += self.problem.sizes[new]
            for array in self.makes[now]:
                before, later = self.before.pop(array), self.after.pop(array, None)
                moved_from |= {array, before}
                if later is None:
                    del self.after[before]
                else:
                    self.after[before], self.before[later] = later, before
                    moved_from.add(later)
                moved, self.readers[array] = self.readers[array], []
                if not moved:
                    continue
                last = self._until(before)
                if last in self.over:
                    self.over[last] = [pair for pair in self.over[last] if pair[1] != before]
                self.readers[before] += moved
                for reader in moved:
                    if reader < len(runs):
                        self.reads[reader] = [before if a == array else a for a in self.reads[reader]]
        for array in (*saving.unread, *moved_from):
            for run in self.told_by[array]:
                self.known.pop(run, None)
                if array in moved_from:
                    self.tight.pop(run, None)
            self.told_by[array].clear()
