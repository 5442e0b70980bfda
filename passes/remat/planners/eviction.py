"""Eviction: one walk through the units under a limit, in which what is cheapest to recompute is dropped first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..problem import Order, Problem, Run

# More runs than this many for each unit mean that values are thrown out as fast as they are made; in a large graph it
# takes long to find out.
_MOST_RUNS, _MOST_RUNS_OF_LARGE = 5, 3
# Values looked at to tell what the recomputation of one costs.
_MOST_LOOKED_AT = 400
# In a graph of more units, where many costs are asked for, fewer are looked at, and what costs so many times as much as
# what is dropped next is not added up to its end.
_LARGE, _ENOUGH = 1_000, 4.0
_GONE = -2
"""Where a place is asked for, below all places and below -1, which is that of no use."""


@dataclass(frozen=True)
class Guide:
    """What is done whether or not there is room.

    Values of `dropped` go as soon as they were made and their next use is not the next unit but two. Those of `held`
    wait after their last use until the unit at the place that it tells, to recompute others. Of the values of a tuple
    of `together`, given by each of them, all are recomputed when the first one is.
    """

    dropped: frozenset[int] = frozenset()
    held: Mapping[int, int] = field(default_factory=dict[int, int])
    together: Mapping[int, tuple[int, ...]] = field(default_factory=dict[int, "tuple[int, ...]"])


def evict(problem: Problem, limit: int, distance: float = 0.1, guide: Guide | None = None) -> Order | None:
    """An order with at most `limit` bytes alive, or as few more as this finds; None where it does not end.

    Units run in their order. Before one runs, values that it does not read are dropped until what it makes has room:
    first those with the least time to recompute them, for each byte and each unit of distance to their next use to the
    power `distance`. A value that was dropped is recomputed right before it is read, from what is there then. (Kirisame
    et al., Dynamic Tensor Rematerialization, 2021; here the next use is known.)
    """
    return _Walk(problem, limit, distance, guide or Guide()).run()


@dataclass
class _Walk:
    problem: Problem
    limit: int
    distance: float
    guide: Guide
    runs: list[Run] = field(default_factory=list[Run])
    cost: float = 0.0
    bytes_alive: int = 0
    now: int = 0

    def __post_init__(self) -> None:
        problem = self.problem
        count = len(problem.sizes)
        self.alive = [False] * count
        self.until = [_GONE] * count
        """Of what is alive the place until which it is needed, as far as is known."""
        self.there = [0] * len(problem.units)  # of each unit, the bits of what it makes that is alive
        self.known = problem.known_alone
        self.is_large = len(problem.units) > _LARGE
        self.looks = _MOST_LOOKED_AT * _LARGE // max(len(problem.units), _LARGE)
        self.made = [False] * count
        self.pins = [0] * count
        self.left = list(map(len, problem.uses))  # how many of the uses are not over
        self.heap: list[tuple[float, int]] = []
        self.pinned_scores: dict[int, float] = {}  # of what was taken off the heap while it was pinned
        self.stays = problem.stays
        self.held = held = self.guide.held
        self.needed_until = [max(problem.last_use(v), held.get(v, -1)) for v in range(count)]
        self.dropped = set(self.guide.dropped)
        self.held_until: dict[int, list[int]] = {}
        for value, place in self.guide.held.items():
            self.held_until.setdefault(place, []).append(value)

    # ---- what is known of a value

    def next_use(self, value: int) -> int:
        left = self.left[value]
        return self.problem.uses[value][-left] if left else self.held.get(value, -1)

    def is_over(self, value: int) -> bool:
        return not self.left[value] and (not self.held or self.now >= self.held.get(value, -1))

    def may_go(self, value: int) -> bool:
        """Whether `value` can be recomputed; where it cannot, it never can later."""
        return (
            not self.stays[value]
            and self.problem.deadline[value] > self.next_use(value)
            and value not in self.problem.lasting
        )

    def recompute_cost(self, value: int, enough: float) -> float:
        """Time to recompute `value` for its next use, with all that will be gone until then; a part of it, where that
        is `enough` already. What is alive now will be there if it is needed then or later, as far as can be known now.
        """
        when, bits, there, until = self.next_use(value), self.problem.bits, self.there, self.until
        maker, alone, known, looks = self.problem.maker, self.problem.whole_alone, self.known, self.looks
        total = 0.0
        seen = {value}
        stack = [value]
        counted: set[int] = set()
        own, was = maker[value], until[value]
        if was != _GONE:
            until[value] = _GONE
            there[own] &= ~bits[value]
        while stack:
            top = stack.pop()
            found = alone[top]
            if found is None:
                place = maker[top]
                beside = there[place] & ~bits[top]
                reads, cost = known[top].get(beside) or self.problem.recomputed_alone(top, beside)
                if place in counted:
                    cost = 0.0
                else:
                    counted.add(place)
            else:
                reads, cost = found
            for read in reads:
                if until[read] < when and read not in seen:
                    seen.add(read)
                    stack.append(read)
            total += cost
            if total > enough or len(seen) >= looks:
                break
        if was != _GONE:
            until[value] = was
            there[own] |= bits[value]
        return total

    def score(self, value: int, enough: float = math.inf) -> float:
        """What it costs to drop `value`; in a large graph a part of it, where that is `enough` already."""
        gap = max(self.next_use(value) - self.now, 1)
        weight = self.problem.sizes[value] * gap**self.distance
        return self.recompute_cost(value, enough * weight if self.is_large else math.inf) / weight

    # ---- changes of what is alive

    def enter(self, value: int) -> None:
        self.alive[value] = self.made[value] = True
        self.until[value] = self.needed_until[value]
        self.there[self.problem.maker[value]] |= self.problem.bits[value]
        self.bytes_alive += self.problem.sizes[value]
        if not self.stays[value] and not self.is_over(value):
            heapq.heappush(self.heap, (0.0, value))

    def drop(self, value: int) -> None:
        self.alive[value] = False
        self.until[value] = _GONE
        self.there[self.problem.maker[value]] &= ~self.problem.bits[value]
        self.bytes_alive -= self.problem.sizes[value]

    def make_room(self, wanted: int) -> None:
        """Drop values until `wanted` bytes more fit, as long as there are any that may go; what is read next, last."""
        soon: list[tuple[float, int]] = []
        while self.bytes_alive + wanted > self.limit and self.heap:
            known, value = heapq.heappop(self.heap)
            if not self.alive[value] or self.is_over(value) or not self.may_go(value):
                continue
            if self.pins[value]:
                self.pinned_scores[value] = known
                continue
            if self.next_use(value) == self.now:
                soon.append((self.score(value), value))
                continue
            # Scores on the heap are old, and mostly too low: what was dropped since makes recomputation dearer. What is
            # much dearer than the next one waits with a part of its cost, or most time would go into adding up costs.
            score = self.score(value, _ENOUGH * max(known, self.heap[0][0])) if self.heap else self.score(value)
            if self.heap and score > self.heap[0][0] * 1.001 and score > known * 1.001:
                heapq.heappush(self.heap, (score, value))
                continue
            self.drop(value)
        for score, value in sorted(soon):
            if self.bytes_alive + wanted > self.limit:
                self.drop(value)
            else:
                heapq.heappush(self.heap, (score, value))

    def ensure(self, targets: Sequence[int]) -> bool:
        """Make all of `targets` alive and pin them; False where too much has to run."""
        missing = [v for v in targets if not self.alive[v]]
        if not missing:
            for value in targets:
                self.pins[value] += 1
            return True
        done = self.recompute(missing)
        # What was there may have had to make room meanwhile.
        gone = [v for v in targets if not self.alive[v]]
        for value in targets:
            if self.alive[value] and value not in missing:
                self.pins[value] += 1
        return done and (not gone or self.recompute(gone))

    def recompute(self, targets: Sequence[int]) -> bool:
        """Make all of `targets`, which are not there, and pin them; False where too much has to run.

        All that is missing is found first, from the last unit to the first, so that each runs once and what several
        of them read stays until the last.
        """
        wanted: dict[int, list[int]] = {}
        heap: list[int] = []

        def want(value: int) -> None:
            place = self.problem.maker[value]
            if place not in wanted:
                wanted[place] = []
                heapq.heappush(heap, -place)
            if value not in wanted[place]:
                wanted[place].append(value)

        def pin(value: int) -> None:
            self.pins[value] += 1
            if not self.alive[value]:
                want(value)

        for target in targets:
            pin(target)
            for other in self.guide.together.get(target, ()):
                if self.made[other] and not self.alive[other] and not self.is_over(other):
                    want(other)
        runs: list[tuple[Run, float]] = []
        while heap:
            place = -heapq.heappop(heap)
            makes = self.with_others(place, wanted[place])
            reads, cost = self.problem.recompute_inputs(place, makes, self.alive)
            reads = tuple(dict.fromkeys(reads))
            runs.append((Run(place, reads, makes, True), cost))
            for read in reads:
                pin(read)
        for run, cost in reversed(runs):
            self.repeat(run, cost)
        most = _MOST_RUNS_OF_LARGE if self.is_large else _MOST_RUNS
        return len(self.runs) <= most * len(self.problem.units) + 100

    def with_others(self, place: int, wanted: Sequence[int]) -> tuple[int, ...]:
        """What a second run of the unit at `place` had better make: what is `wanted` and what will be read later."""
        makes = self.problem.units[place].makes
        return tuple(v for v in makes if v in wanted or not (self.alive[v] or self.is_over(v)))

    def repeat(self, run: Run, cost: float) -> None:
        self.make_room(sum(self.problem.sizes[v] for v in run.makes) + self.problem.scratch(run))
        self.runs.append(run)
        self.cost += cost
        for value in run.makes:
            self.enter(value)
        self.dropped.difference_update(run.makes)
        for read in run.reads:
            self.unpin(read)

    def unpin(self, value: int) -> None:
        self.pins[value] -= 1
        if self.pins[value] or not self.alive[value]:
            return
        if not self.is_over(value):
            if value in self.pinned_scores:
                heapq.heappush(self.heap, (self.pinned_scores.pop(value), value))
        elif not self.stays[value]:
            self.drop(value)

    def run(self) -> Order | None:
        problem, alive, left, pins = self.problem, self.alive, self.left, self.pins
        sizes, stays, first_runs = problem.sizes, self.stays, problem.each_once
        for place, unit in enumerate(problem.units):
            self.now = place
            reads = problem.reads_once[place]
            if not self.ensure(reads):
                return None
            for value in self.held_until.get(place, ()):
                if alive[value] and not pins[value] and self.is_over(value) and not stays[value]:
                    self.drop(value)
            wanted = unit.scratch
            for value in unit.makes:
                wanted += sizes[value]
            for new, old in unit.over:
                if old in reads and problem.last_use(old) == place:
                    wanted -= sizes[new]
            if self.bytes_alive + wanted > self.limit:
                self.make_room(wanted)
            self.runs.append(first_runs[place])
            for value in unit.makes:
                self.enter(value)
            for value in reads:
                left[value] -= 1
                if self.is_over(value):
                    # No first run reads it any more; recomputation may.
                    pins[value] -= 1
                    if not stays[value]:
                        self.drop(value)
                else:
                    self.unpin(value)
            for value in unit.makes:
                if self.is_over(value) and not stays[value]:
                    self.drop(value)
            for value in (*reads, *unit.makes) if self.dropped else ():
                far = value in self.dropped and self.next_use(value) > place + 2
                if far and alive[value] and not pins[value] and self.may_go(value):
                    self.drop(value)
        return problem.order(self.runs, self.cost)
