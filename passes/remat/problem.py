"""Rematerialization as a problem of numbers: units, the bytes of their values, and orders that run some units twice."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit is what runs as one: a fused region, a loop, or a lone op. It reads values and makes others, by number.

    `cost` is the time of one run in nanoseconds, `scratch` the bytes it needs only while it runs. `over` are pairs
    (made, read): the first is written over the second, if nothing reads that afterwards. `recomputable` says whether
    it may run a second time, `whole` that a second run makes all of its values, wanted or not, `must` that it runs even
    if nothing reads what it makes.
    """

    cost: float
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    scratch: int = 0
    over: tuple[tuple[int, int], ...] = ()
    recomputable: bool = True
    whole: bool = True
    must: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `unit`: it reads and makes these values. `is_recompute` tells a second run from the first."""

    unit: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    is_recompute: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """Units in the order in which they run, some more than once.

    What a run reads is what the latest run before it that makes the value has left. `peak` is the most bytes alive
    at once, `cost` the time of all recomputation in nanoseconds. `planner` is the name of what found it, see
    `PLANNERS`; "none" is the order in which every unit runs once.
    """

    runs: tuple[Run, ...]
    peak: int
    cost: float
    planner: str = field(default="none", compare=False)

    def by(self, planner: str) -> Order:
        """The same order, found by `planner`."""
        return replace(self, planner=planner)


@dataclass
class Problem:
    """Units in an order that computes every value before it is used, and the bytes of each value.

    `lasting` values are alive to the end. `deadline[v]` is the place of the first unit from which on `v` cannot be
    recomputed, because something that it is computed from has been overwritten; 0 where it never can.
    """

    units: Sequence[Unit]
    sizes: Sequence[int]
    lasting: frozenset[int] = frozenset()
    overwritten: Sequence[int] = ()
    """For each unit the place of the first unit that overwrites what it reads of the graph's inputs."""
    fixed: frozenset[int] = frozenset()
    """Values that are made once and stay until their last use."""
    smallest: int = 64
    """Bytes of the largest value that always stays."""
    maker: list[int] = field(init=False)
    reads_once: list[tuple[int, ...]] = field(init=False)
    """What each unit reads, once each."""
    uses: list[list[int]] = field(init=False)
    deadline: list[int] = field(init=False)
    stays: list[bool] = field(init=False)
    """Values so small that they are never dropped: they may be all that is left of something large or of something
    that was overwritten, such as the key of random bits."""

    def __post_init__(self) -> None:
        end = len(self.units)
        self.maker = [-1] * len(self.sizes)
        self.uses = [[] for _ in self.sizes]
        self.reads_once = [tuple(dict.fromkeys(unit.reads)) for unit in self.units]
        for place, unit in enumerate(self.units):
            for value in unit.makes:
                self.maker[value] = place
            for value in self.reads_once[place]:
                self.uses[value].append(place)
        for value in self.lasting:
            self.uses[value].append(end)
        small = max(self.smallest, sum(self.sizes) // (200 * max(end, 1)))
        self.stays = [size <= small for size in self.sizes]
        self.deadline = [end + 1] * len(self.sizes)
        for place, unit in enumerate(self.units):
            limit = self.overwritten[place] if self.overwritten else end + 1
            for value in unit.reads:
                if not self.stays[value]:
                    limit = min(limit, max(self.deadline[value], self.last_use(value) + 1))
            for value in unit.makes:
                self.deadline[value] = limit if unit.recomputable and value not in self.fixed else 0

    def last_use(self, value: int) -> int:
        """The place of the last unit that reads `value`; of its maker if none does."""
        return self.uses[value][-1] if self.uses[value] else self.maker[value]

    def recompute_inputs(
        self, place: int, makes: tuple[int, ...], alive: Sequence[bool]
    ) -> tuple[tuple[int, ...], float]:
        """What a run reads that recomputes `makes`, of the unit at `place`, while the values that `alive` tells are
        there; and its time.
        """
        unit = self.units[place]
        return unit.reads, unit.cost

    def recomputed_alone(self, value: int, there: int) -> tuple[tuple[int, ...], float]:
        """What has to be there for a run that recomputes `value` alone, and its time; without what always stays. The
        bits of `there` tell which others of its unit are there, see `bits`.
        """
        known = self.known_alone[value]
        if there not in known:
            place = self.maker[value]
            alive = [False] * len(self.sizes)
            for other in self.siblings[value]:
                alive[other] = bool(there & self.bits[other])
            reads, cost = self.recompute_inputs(place, (value,), alive)
            known[there] = tuple([v for v in reads if not self.stays[v]]), cost
        return known[there]

    @cached_property
    def whole_alone(self) -> list[tuple[tuple[int, ...], float] | None]:
        """What `recomputed_alone` tells of the values that their units make alone, whatever else is there; None for
        others.
        """
        found: list[tuple[tuple[int, ...], float] | None] = [None] * len(self.sizes)
        for unit in self.units:
            if len(unit.makes) == 1:
                found[unit.makes[0]] = self.recomputed_alone(unit.makes[0], 0)
        return found

    @cached_property
    def known_alone(self) -> list[dict[int, tuple[tuple[int, ...], float]]]:
        """What `recomputed_alone` has told of each value, by what is there."""
        return [{} for _ in self.sizes]

    @cached_property
    def bits(self) -> list[int]:
        """For each value a bit that tells it from others of its unit; 0 where that matters to no second run."""
        bits = [0] * len(self.sizes)
        for unit in self.units:
            for i, value in enumerate(unit.makes):
                bits[value] = 0 if unit.whole else 1 << i
        return bits

    @cached_property
    def siblings(self) -> list[tuple[int, ...]]:
        """For each value the others of its unit, where a second run need not make all of them."""
        apart = [() if unit.whole else unit.makes for unit in self.units]
        return [tuple(v for v in apart[place] if v != value) for value, place in enumerate(self.maker)]

    def scratch(self, run: Run) -> int:
        """Bytes that a run needs besides what it reads and makes."""
        unit = self.units[run.unit]
        if not unit.whole or len(run.makes) == len(unit.makes):
            return unit.scratch
        return unit.scratch + sum(self.sizes[v] for v in unit.makes if v not in run.makes)

    def floor(self) -> int:
        """Bytes that are alive at once in every order: those of the unit that needs the most."""
        most = 0
        for place, unit in enumerate(self.units):
            over = sum(self.sizes[new] for new, old in unit.over if self.last_use(old) == place)
            most = max(most, sum(self.sizes[v] for v in {*unit.reads, *unit.makes}) - over + unit.scratch)
        return most

    def first_runs(self) -> list[Run]:
        """Every unit once."""
        return list(self.each_once)

    @cached_property
    def each_once(self) -> tuple[Run, ...]:
        """The first run of every unit."""
        return tuple([Run(i, u.reads, u.makes) for i, u in enumerate(self.units)])

    def order(self, runs: Sequence[Run], cost: float) -> Order:
        """An order of `runs`, with the most bytes that it has alive at once."""
        return Order(tuple(runs), peak(self, runs), cost)


def recompute_runs(
    problem: Problem, wanted: Iterable[int], alive: Sequence[bool], first: int, at: int
) -> list[tuple[Run, float]] | None:
    """The runs, with their times, that recompute `wanted` before the place `at` from what is `alive`; None where that
    takes a unit before the place `first`, or comes too late.
    """
    # From the last unit to the first, so that each runs once, whatever reads its values.
    makes: dict[int, list[int]] = {}
    heap: list[int] = []

    def want(value: int) -> None:
        if alive[value]:
            return
        place = problem.maker[value]
        if place not in makes:
            makes[place] = []
            heapq.heappush(heap, -place)
        if value not in makes[place]:
            makes[place].append(value)

    for value in wanted:
        want(value)
    runs: list[tuple[Run, float]] = []
    while heap:
        place = -heapq.heappop(heap)
        made = tuple(v for v in problem.units[place].makes if v in makes[place])
        if place < first or any(problem.deadline[v] <= at for v in made):
            return None
        reads, cost = problem.recompute_inputs(place, made, alive)
        reads = tuple(dict.fromkeys(reads))
        runs.append((Run(place, reads, made, True), cost))
        for read in reads:
            want(read)
    runs.reverse()
    return runs


def without_dead_runs(problem: Problem, order: Order) -> Order:
    """The order without dead runs: nothing reads what they make before another run makes it.

    Where the first run of a unit is dead, the next one is its first. Planners leave dead runs: what a unit made was
    evicted before its reader ran, and recomputed for it.
    """
    # A unit that makes what nothing ever reads is there for something else.
    wanted = {*problem.lasting, *(v for v, uses in enumerate(problem.uses) if not uses)}
    alive = [False] * len(problem.sizes)
    kept: list[Run] = []
    cost, units = order.cost, problem.units
    late: set[int] = set()
    for run in reversed(order.runs):
        unit = units[run.unit]
        if wanted.isdisjoint(run.makes) and run.makes and unit.recomputable and (run.is_recompute or not unit.must):
            if run.is_recompute:
                own = [v for v in run.reads if problem.maker[v] == run.unit]
                for value in own:
                    alive[value] = True
                cost -= problem.recompute_inputs(run.unit, run.makes, alive)[1]
                for value in own:
                    alive[value] = False
            else:
                cost -= unit.cost
                late.add(run.unit)
            continue
        wanted.difference_update(run.makes)
        wanted.update(run.reads)
        kept.append(run)
    if len(kept) == len(order.runs):
        return order
    kept.reverse()
    for i, run in enumerate(kept if late else ()):
        if run.unit in late:
            late.remove(run.unit)
            kept[i] = replace(run, is_recompute=False)
    return problem.order(kept, cost).by(order.planner)


def peak(problem: Problem, runs: Sequence[Run]) -> int:
    """The most bytes alive during any of `runs`."""
    sizes, units = problem.sizes, problem.units
    end = len(runs)
    number = [0] * len(sizes)  # of what the latest run that makes each value has made
    last: list[int] = []  # reader of what was made, by its number
    change = [0] * (end + 2)
    made: list[int] = []
    overs: list[tuple[int, int, int]] = []
    for now, run in enumerate(runs):
        unit, makes = units[run.unit], run.makes
        for value in run.reads:
            last[number[value]] = now
        for new, old in unit.over:
            if new in makes and old in run.reads:
                overs.append((now, sizes[new], number[old]))
        needed = unit.scratch if len(makes) == len(unit.makes) else problem.scratch(run)
        if needed:
            change[now] += needed
            change[now + 1] -= needed
        for value in makes:
            number[value] = len(last)
            last.append(now)
            made.append(value)
            change[now] += sizes[value]
    for value in problem.lasting:
        last[number[value]] = end
    for value, dies in zip(made, last):
        change[dies + 1] -= sizes[value]
    for now, saved, old in overs:
        # Written in place only by the last reader, which recomputation may have made another one.
        if last[old] == now:
            change[now] -= saved
            change[now + 1] += saved
    return max(accumulate(change), default=0)
