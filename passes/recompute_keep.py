"""Keeping more where there is room: what an order makes again stays instead, where that saves most for its bytes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir import Array
from .recompute_problem import Order, Problem, Run

_STEEPNESS = 16.0
"""How much more a byte counts where little is left: by this power of e from nothing to all of the limit."""
_LEAST_PRICE = 0.02
"""A byte counts so much at least, as a part of one that is there all the time."""

# A value and the number of the run that made it.
_Made = tuple[int, int]


def kept_more(problem: Problem, order: Order, limits: Sequence[int]) -> list[Order]:
    """For each of `limits`, from the smallest on, an order that keeps some of what `order` makes again, with no more
    bytes alive than that.

    The run that is left out is always the one that saves most time, with all that only it reads, for what its results
    take until they are read: bytes count where few are left.
    """
    keeping = _Keeping(problem, order)
    return [keeping.within(limit) for limit in limits]


@dataclass(frozen=True, slots=True)
class _Saving:
    """What leaving out a run changes: the runs that go, the reads that go with them, bytes from one run to another."""

    gone: list[int]
    unread: dict[_Made, set[int]]
    stays: list[tuple[int, int, int]]
    goes: list[tuple[int, int, int]]
    time: float


@dataclass
class _Keeping:
    problem: Problem
    order: Order
    time: list[float] = field(init=False)
    """Of each run, 0 for first ones."""
    reads: list[list[_Made]] = field(init=False)
    makes: list[list[_Made]] = field(init=False)
    readers: dict[_Made, list[int]] = field(init=False)
    """The runs that read what a run has made, in order; the number of all runs for what lasts."""
    before: dict[_Made, int] = field(init=False)
    """The run that made the same value before."""
    after: dict[_Made, int] = field(init=False)
    over: dict[int, list[tuple[int, _Made]]] = field(init=False)
    """For each run what it writes over what it reads last."""
    alive: Array = field(init=False)
    """Bytes alive during each run."""
    known: dict[int, _Saving] = field(init=False)
    """What leaving out a run changes, as far as it was looked at."""
    told_by: dict[_Made, set[int]] = field(init=False)
    """The runs of which what is known follows from the readers of a value."""

    def __post_init__(self) -> None:
        problem, runs = self.problem, self.order.runs
        there = [False] * len(problem.sizes)
        self.time, self.reads, self.readers, self.before, self.after = [], [], {}, {}, {}
        made: dict[int, int] = {}
        for now, run in enumerate(runs):
            self.time.append(self._time(run, there))
            self.reads.append([(v, made[v]) for v in dict.fromkeys(run.reads)])
            for one in self.reads[-1]:
                self.readers[one].append(now)
            for v in run.makes:
                self.readers[v, now] = []
                if v in made:
                    self.before[v, now], self.after[v, made[v]] = made[v], now
                made[v] = now
        for v in problem.lasting:
            self.readers[v, made[v]].append(len(runs))
        self.makes = [[(v, now) for v in run.makes] for now, run in enumerate(runs)]
        self.left = [run.again for run in runs]
        self.known, self.told_by = {}, {}
        self.alive = np.zeros(len(runs) + 1, np.int64)
        for one in self.readers:
            self.alive[one[1] : self._until(one) + 1] += problem.sizes[one[0]]
        self.over = {}
        for now, run in enumerate(runs):
            self.alive[now] += problem.scratch(run)
            born = dict(self.reads[now])
            for new, old in problem.units[run.unit].over:
                if new in run.makes and old in born and self._until((old, born[old])) == now:
                    self.over.setdefault(now, []).append((new, (old, born[old])))
                    self.alive[now] -= problem.sizes[new]

    def _time(self, run: Run, there: list[bool]) -> float:
        """The time of a run again."""
        if not run.again:
            return 0.0
        for v in run.reads:
            there[v] = True
        time = self.problem.again(run.unit, run.makes, there)[1]
        for v in run.reads:
            there[v] = False
        return time

    def _until(self, one: _Made) -> int:
        readers = self.readers[one]
        return readers[-1] if readers else one[1]

    def within(self, limit: int) -> Order:
        """Leave out what fits the limit."""
        weights = np.exp(_STEEPNESS * (np.minimum(self.alive / max(limit, 1), 1.0) - 1.0))
        self.prices = np.concatenate(([0.0], np.cumsum(weights / weights.sum()))).tolist()
        heap = [(-self._worth(self._saving(now)), now) for now, left in enumerate(self.left) if left]
        heapq.heapify(heap)
        while heap:
            worth, now = heapq.heappop(heap)
            if not self.left[now]:
                continue
            saving = self._saving(now)
            current = -self._worth(saving)
            if current > worth and heap and current > heap[0][0]:
                heapq.heappush(heap, (current, now))
            elif self._has_room(saving, limit):
                self._leave_out(saving)
        runs = tuple([run for run, left in zip(self.order.runs, self.left) if left or not run.again])
        return Order(runs, int(self.alive.max()), sum(t for t, left in zip(self.time, self.left) if left))

    def _saving(self, run: int) -> _Saving:
        """What leaving out a run changes: what only it reads is not made again either."""
        if run in self.known:
            return self.known[run]
        sizes, readers, makes = self.problem.sizes, self.readers, self.makes
        kept = {(one[0], self.before[one]) for one in makes[run] if readers[one]}
        looked_at = {*kept, *makes[run]}
        gone, going, unread = [run], {run}, dict[_Made, set[int]]()
        for now in gone:
            for one in self.reads[now]:
                if one in unread:
                    unread[one].add(now)
                else:
                    unread[one] = {now}
                maker = one[1]
                if not self.left[maker] or maker in going:
                    continue
                looked_at.update(makes[maker])
                for made in makes[maker]:
                    if made in kept or len(readers[made]) != len(unread.get(made, ())):
                        break
                else:
                    gone.append(maker)
                    going.add(maker)
        stays: list[tuple[int, int, int]] = []
        for v, born in kept:
            last = self._until((v, born))
            if last + 1 < run:
                stays.append((last + 1, run, sizes[v]))
            stays += ((last, last + 1, sizes[new]) for new, old in self.over.get(last, ()) if old == (v, born))
        goes: list[tuple[int, int, int]] = []
        for one, lost in unread.items():
            if one[1] in going:
                goes.append((one[1], readers[one][-1] + 1, sizes[one[0]]))
            elif one not in kept and readers[one][-1] in lost:
                last = next((r for r in reversed(readers[one]) if r not in lost), one[1])
                goes.append((last + 1, readers[one][-1] + 1, sizes[one[0]]))
        looked_at.update(unread)
        for one in looked_at:
            self.told_by.setdefault(one, set()).add(run)
        self.known[run] = _Saving(gone, unread, stays, goes, sum(self.time[now] for now in gone))
        return self.known[run]

    def _worth(self, saving: _Saving) -> float:
        """Time for what is paid."""
        prices = self.prices
        paid = sum(size * (prices[end] - prices[begin]) for begin, end, size in saving.stays)
        won = sum(size * (prices[end] - prices[begin]) for begin, end, size in saving.goes)
        least = _LEAST_PRICE * sum(size for _, _, size in saving.stays)
        return saving.time / max(paid - won, least, 1.0)

    def _has_room(self, saving: _Saving, limit: int) -> bool:
        """Whether what stays has room within the limit; if so, it takes it."""
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
            if (alive[first:end] + change[:-1].cumsum()).max() > limit:
                return False
        for begin, until, size in saving.goes:
            alive[begin:until] -= size
        for begin, until, size in saving.stays:
            alive[begin:until] += size
        return True

    def _leave_out(self, saving: _Saving) -> None:
        """Leave out the runs of a saving: what they made is read as it was made before."""
        runs = self.order.runs
        changed = set(saving.unread)
        for one, lost in saving.unread.items():
            self.readers[one] = [r for r in self.readers[one] if r not in lost]
        for now in saving.gone:
            self.left[now] = False
            self.alive[now] -= self.problem.scratch(runs[now])
            for new, _ in self.over.pop(now, ()):
                self.alive[now] += self.problem.sizes[new]
            for v in runs[now].makes:
                before, later = self.before.pop((v, now)), self.after.pop((v, now), None)
                changed |= {(v, now), (v, before)}
                if later is None:
                    del self.after[v, before]
                else:
                    self.after[v, before], self.before[v, later] = later, before
                    changed.add((v, later))
                moved = self.readers.pop((v, now))
                if not moved:
                    continue
                last = self._until((v, before))
                if last in self.over:
                    self.over[last] = [pair for pair in self.over[last] if pair[1] != (v, before)]
                self.readers[v, before] += moved
                for reader in moved:
                    if reader < len(runs):
                        self.reads[reader] = [(w, before if w == v else b) for w, b in self.reads[reader]]
        for one in changed:
            for run in self.told_by.pop(one, ()):
                self.known.pop(run, None)
