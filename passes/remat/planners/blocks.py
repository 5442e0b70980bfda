"""Repeated blocks: an integer program for each distinct one, dynamic programming over all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ....ir import Array
from ..problem import Order, Problem, Run, recompute_runs
from .chain import Chain, alive_bytes
from .keep_more import kept_more

# Blocks at least and at most: shorter repetitions are found together, several as one block.
_FEWEST_BLOCKS, _MOST_BLOCKS = 3, 64
# Units that repeat, as a part of those that look most like others; and of all before the boundary.
_ALIKE, _REPEATED = 0.8, 0.5
# Segments are of so many blocks at most, and programs of so many values.
_MOST_TOGETHER = 4
_MOST_VALUES = 80
# Places are narrow before which at most so much more is handed on than before the narrowest; so many are tried.
_NARROW, _MOST_NARROW = 1.05, 3
# Programs at most for each distinct segment, and for all.
_PROGRAMS_EACH, _PROGRAMS = 5, 40
# Programs for each place that is tried as the beginning of blocks.
_TRIALS = 3
# Room within a limit is looked for where less than this part of it is taken.
_SLACK = 0.99
# Nodes of a program's search; a count, so that every search ends alike.
_NODES = 20
# Parts of the bytes by which limits are told apart.
_LEVELS = 256


@dataclass(frozen=True, slots=True)
class _Action:
    """What may be recomputed in a segment: values of the unit at a place from the segment's first one on. Values are
    numbers in the segment, of those alone that have to be there for it.
    """

    place: int
    makes: tuple[int, ...]
    reads: tuple[int, ...]
    cost: float


_Choice = tuple[int, float, tuple[int, ...]]
"""Bytes of what is kept of a segment, the time to recompute the rest of what is wanted, and what is kept."""


@dataclass(frozen=True, slots=True)
class _Recompute:
    """What is recomputed right before the backward's first use of the value `before`: the place of each run, what it
    makes, and which results of the same unit it begins at.
    """

    before: int
    runs: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Option:
    """A way to go back through a segment: what is kept stays until then, the runs of `recompute` run then.

    `forth` and `back` are the bytes alive before the boundary and after it, besides what is kept before the segment,
    `cost` is the time of the runs.
    """

    nbytes: int
    cost: float
    forth: int
    back: int
    recompute: tuple[_Recompute, ...]


@dataclass
class Blocks:
    """Cuts what runs before the boundary of a chain into blocks that are alike, as the layers of a network are.

    In a segment of a few blocks, which values are kept for what time they save is a program of whole numbers, solved
    once for each distinct segment; dynamic programming finds the segments, and how much of each is kept, that take the
    least time for every limit (as Zhao et al., Rockmate: an efficient, fast, automatic and generic tool for
    re-materialization in PyTorch, 2023). What a segment keeps follows from the price of a byte, and each price from two
    choices known before (Aneja and Nair, Bicriteria transportation problem, 1979): few programs, with little search.
    """

    chain: Chain
    problem: Problem = field(init=False)
    borders: list[int] = field(init=False)
    """Places before which blocks begin, and the boundary; empty where nothing repeats."""
    staying_bytes: list[int] = field(init=False)
    """Bytes alive at each place of what is never dropped."""
    between: list[int] = field(init=False)
    """The same before each place."""
    forward_bytes: Array = field(init=False)
    """Bytes alive at each place before the boundary of all that is read before it."""
    read_last: list[int] = field(init=False)
    """The place before the boundary that reads each value last; of its maker if none does."""
    over: dict[int, tuple[int, int]] = field(init=False)
    """Where before the boundary a value is written over, unless it is kept, and the bytes that this saves."""

    def __post_init__(self) -> None:
        problem = self.problem = self.chain.problem
        staying = [v for v, droppable in enumerate(self.chain.droppable) if not droppable]
        self.staying_bytes = alive_bytes(problem, staying)
        change = [0] * (len(problem.units) + 2)
        for v in staying:
            change[problem.maker[v] + 1] += problem.sizes[v]
            change[min(problem.last_use(v), len(problem.units)) + 1] -= problem.sizes[v]
        self.between = list(accumulate(change))
        boundary = self.chain.boundary
        self.read_last = [
            max((u for u in uses if u < boundary), default=problem.maker[v]) for v, uses in enumerate(problem.uses)
        ]
        change = [0] * (boundary + 1)
        for v, droppable in enumerate(self.chain.droppable):
            if droppable:
                change[problem.maker[v]] += problem.sizes[v]
                change[self.read_last[v] + 1] -= problem.sizes[v]
        self.forward_bytes = np.array(self.staying_bytes[:boundary], np.int64) + np.cumsum(change)[:boundary]
        self.over = {}
        droppable = self.chain.droppable
        for place, unit in enumerate(problem.units[:boundary]):
            for new, old in unit.over:
                if self.read_last[old] != place or not (droppable[new] or droppable[old]):
                    continue
                if not droppable[old] and problem.last_use(old) > place:
                    continue
                if droppable[new] or problem.last_use(old) > place:
                    self.forward_bytes[place] -= problem.sizes[new]
                if droppable[old]:
                    self.over[old] = place, problem.sizes[new]
        self.borders = self._borders()

    # ---- what repeats

    def _borders(self) -> list[int]:
        chain, problem, boundary = self.chain, self.problem, self.chain.boundary
        droppable = chain.droppable
        numbers: dict[Any, int] = {}
        likeness = np.zeros(boundary, np.int64)
        apart = 0  # units that neither read nor make anything that can be dropped
        for place in range(boundary):
            unit = problem.units[place]
            reads = sorted(place - problem.maker[v] for v in unit.reads if droppable[v])
            makes = tuple(problem.sizes[v] for v in unit.makes if droppable[v])
            alone = () if reads or makes else (place,)
            apart += len(alone)
            likeness[place] = numbers.setdefault((unit.cost, tuple(reads), makes, unit.whole, alone), len(numbers))
        alike = {d: int((likeness[d:] == likeness[:-d]).sum()) for d in range(1, boundary // _FEWEST_BLOCKS + 1)}
        most = max(alike.values(), default=0)
        if not most or most < _REPEATED * (boundary - apart):
            return []
        period = next(d for d, count in alike.items() if count >= _ALIKE * most)
        same = np.flatnonzero(likeness[period:] == likeness[:-period])
        first, end = int(same[0]), int(same[-1]) + period + 1
        step = period * -(-((end - first) // period) // _MOST_BLOCKS)
        middle = first + (end - first) // 2 // period * period
        # Of places before which few bytes are handed on, the one is taken between whose blocks the backward goes from
        # one to the other at once, and where programs find most.
        narrow = self._narrow(range(middle, min(middle + period, boundary)))
        shared = {place: self._shared(place, step) for place in narrow}
        narrow = [place for place in narrow if shared[place] == min(shared.values())]
        begin = min(narrow[:_MOST_NARROW], key=lambda place: self._dearness(place, place + step))
        begin -= (begin - first) // step * step
        # A rest of a block goes with its neighbour.
        rest = step // 2
        return [0, *(p for p in range(begin, end, step) if rest < p < boundary - rest), boundary]

    def _narrow(self, places: range) -> list[int]:
        """Those of `places` before which the fewest bytes are handed on, or hardly more."""
        chain, problem = self.chain, self.problem
        handed = self._handed_on()
        least = min(handed[p] for p in places) * _NARROW
        found: dict[tuple[int, ...], int] = {}
        for place in places:
            if handed[place] > least:
                continue
            crossing = tuple(
                v
                for v, droppable in enumerate(chain.droppable)
                if droppable and problem.maker[v] < place <= chain.read_until[v]
            )
            # What alone makes what is handed on belongs to what reads it.
            shift = bool(crossing) and all(problem.maker[v] == place - 1 for v in crossing)
            found.setdefault(crossing, place - shift)
        return list(found.values())

    def _shared(self, begin: int, step: int) -> int:
        """Places in the backward between the first and the last that read what a block makes, which lie between those
        of the block before it too.
        """
        end = self.chain.boundary
        before, block = (_Segment(self, max(p, 0), min(p + step, end)).back for p in (begin - step, begin))
        return max(min(before.stop, block.stop) - max(before.start, block.start), 0)

    def _dearness(self, begin: int, end: int) -> float:
        """The time of going back through a block, in the mean over the bytes that it may keep."""
        segment = _Segment(self, begin, min(end, self.chain.boundary))
        if len(segment.values) > _MOST_VALUES:
            return np.inf
        program = _Program(segment)
        found = program.choices(_TRIALS)
        return sum((a[0] - b[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(found)) + found[-1][0] * found[-1][1]

    def _handed_on(self) -> list[int]:
        """Bytes handed on before each place up to the boundary."""
        chain, problem = self.chain, self.problem
        change = [0] * (len(problem.units) + 2)
        for v, size in enumerate(problem.sizes):
            if chain.droppable[v] and chain.read_until[v] > problem.maker[v]:
                change[problem.maker[v] + 1] += size
                change[chain.read_until[v] + 1] -= size
        return list(accumulate(change))

    def _likeness(self) -> list[Any]:
        """What equal blocks have in common: costs, bytes, which values are read, and when after the boundary."""
        chain, problem, boundary = self.chain, self.problem, self.chain.boundary
        result: list[Any] = []
        for begin, end in pairwise(self.borders):
            units = problem.units[begin:end]
            own = [v for unit in units for v in unit.makes if chain.droppable[v]]
            back = min((chain.wanted_at[v] for v in own if chain.wanted_at[v] >= 0), default=0)
            result.append(
                (
                    tuple(
                        (
                            unit.cost,
                            unit.whole,
                            tuple(chain.droppable[v] for v in unit.makes),
                            tuple(
                                (place - problem.maker[v], v - problem.units[problem.maker[v]].makes[0])
                                for v in unit.reads
                                if chain.droppable[v]
                            ),
                        )
                        for place, unit in enumerate(units, begin)
                    ),
                    tuple((problem.sizes[v], *(use - back for use in problem.uses[v] if use >= boundary)) for v in own),
                )
            )
        return result

    # ---- segments and their options

    def segment(self, begin: int, end: int) -> _Segment:
        """The blocks from `begin` up to `end`."""
        return _Segment(self, self.borders[begin], self.borders[end])

    def options(self) -> dict[tuple[int, int], tuple[_Segment, list[_Option]]]:
        """For each segment what may be kept in it."""
        numbers: dict[Any, int] = {}
        kinds = [numbers.setdefault(likeness, len(numbers)) for likeness in self._likeness()]
        count = len(kinds)
        spans = [(s, e) for n in range(1, _MOST_TOGETHER + 1) for s in range(count - n + 1) for e in (s + n,)]
        often = Counter(tuple(kinds[s:e]) for s, e in spans)
        known: dict[tuple[int, ...], tuple[tuple[int, int], list[_Option]]] = {}
        left = _PROGRAMS
        result: dict[tuple[int, int], tuple[_Segment, list[_Option]]] = {}
        for s, e in spans:
            key = tuple(kinds[s:e])
            if e - s > 1 and often[key] == 1:
                continue
            segment = self.segment(s, e)
            if key not in known:
                program = _Program(segment)
                programs = min(left, _PROGRAMS_EACH) if len(segment.values) <= _MOST_VALUES else 0
                kept = [choice[2] for choice in program.choices(programs)]
                left -= program.solved
                known[key] = segment.base, segment.options(kept, [x - segment.begin for x in self.borders[s:e]])
            base, options = known[key]
            forth, back = segment.base[0] - base[0], segment.base[1] - base[1]
            result[s, e] = segment, [replace(o, forth=o.forth + forth, back=o.back + back) for o in options]
        return result

    def orders(self, count: int) -> list[Order]:
        """At most `count` orders of different bytes."""
        if not self.borders:
            return []
        found = _Table(self).orders(count)
        # The fewer bytes there are, the more often segments are recomputed, and the more of that can be left out.
        few = sorted(limit for limit, _ in found)[len(found) // 2] if found else 0
        return [
            kept_more(self.problem, order, [max(limit, order.peak)])[0]
            if limit <= few or order.peak < _SLACK * limit
            else order
            for limit, order in found
        ]


class _Segment:
    """Units before the boundary that hand over to those after them, in numbers of their own."""

    def __init__(self, blocks: Blocks, begin: int, end: int) -> None:
        self.chain, self.problem = blocks.chain, blocks.problem
        self.staying_bytes, self.between = blocks.staying_bytes, blocks.between
        self.forward_bytes = blocks.forward_bytes
        self.read_last, self.over = blocks.read_last, blocks.over
        chain, problem = self.chain, self.problem
        self.begin, self.end = begin, end
        units = problem.units[begin:end]
        read = {v for unit in units for v in unit.reads if chain.droppable[v] and problem.maker[v] < begin}
        self.own = [v for unit in units for v in unit.makes if chain.droppable[v]]
        self.values = [*sorted(read), *self.own]
        self.number = {v: i for i, v in enumerate(self.values)}
        self.wanted = [v for v in self.own if chain.wanted_at[v] >= 0]
        places = [use for v in self.wanted for use in problem.uses[v] if use >= chain.boundary]
        self.back = range(min(places), min(max(places), len(problem.units) - 1) + 1) if places else range(0)
        staying = max((self.staying_bytes[place] for place in self.back), default=0)
        self.base = int(self.forward_bytes[begin:end].max()), staying

    def actions(self) -> list[_Action]:
        """What may be recomputed: each value alone, from nothing and from each other result; all results at once."""
        chain, problem, number = self.chain, self.problem, self.number
        gone = [not d for d in chain.droppable]
        found: dict[tuple[int, tuple[int, ...], tuple[int, ...]], float] = {}

        def add(place: int, makes: tuple[int, ...]) -> None:
            reads, cost = problem.recompute_inputs(place, makes, gone)
            unit = problem.units[place]
            made = tuple(v for v in (unit.makes if unit.whole else makes) if chain.droppable[v])
            inside = tuple(number[v] for v in dict.fromkeys(reads) if chain.droppable[v])
            found.setdefault((place, tuple(number[v] for v in made), inside), cost)

        for value in self.own:
            place = problem.maker[value]
            add(place, (value,))
            others = [v for v in problem.siblings[value] if chain.droppable[v]]
            for other in others:
                gone[other] = True
                add(place, (value,))
                gone[other] = False
            if others:
                add(place, tuple(v for v in problem.units[place].makes if chain.droppable[v]))
        return [_Action(*key, cost) for key, cost in found.items()]

    def options(self, choices: Sequence[Sequence[int]], starts: Sequence[int]) -> list[_Option]:
        """Ways to keep each of `choices`, none of which another beats; the segment's blocks begin at `starts`."""
        block = {v: bisect_right(starts, self.problem.maker[v] - self.begin) for v in self.own}
        found: list[_Option] = []
        chosen = [[self.values[i] for i in kept] for kept in choices]
        for i, kept in enumerate(chosen):
            for held in (self.own, *chosen[:i], ()):
                option = self.option(kept, set(held), block)
                if option is not None:
                    found.append(option)
        return [
            o
            for i, o in enumerate(found)
            if not any(
                p.nbytes <= o.nbytes
                and p.cost <= o.cost
                and p.forth <= o.forth
                and p.back <= o.back
                and (j < i or (p.nbytes, p.cost, p.forth, p.back) != (o.nbytes, o.cost, o.forth, o.back))
                for j, p in enumerate(found)
                if j != i
            )
        ]

    def option(self, kept: Sequence[int], held: Set[int], block: Mapping[int, int]) -> _Option | None:
        """Keep `kept`, and recompute the rest right before its first use; of what is recomputed, `held` stays until it
        is read last, and what the block makes that is wanted.
        """
        chain, problem, number = self.chain, self.problem, self.number
        alive = [not d for d in chain.droppable]
        for v in kept:
            alive[v] = True
        waiting: dict[int, list[int]] = {}
        for v in self.wanted:
            if not alive[v]:
                waiting.setdefault(chain.wanted_at[v], []).append(v)
        recompute: list[_Recompute] = []
        placed: list[tuple[int, Run]] = []
        cost = 0.0
        for at in sorted(waiting):
            missing = [v for v in waiting[at] if not alive[v]]
            if not missing:
                continue
            runs = recompute_runs(problem, missing, alive, self.begin, at)
            if runs is None:
                return None
            here = max(block[v] for v in missing)
            for run, time in runs:
                cost += time
                placed.append((at, run))
                for v in run.makes:
                    alive[v] |= v in held or block[v] == here
            recompute.append(_Recompute(number[missing[0]], tuple(self._numbered(run) for run, _ in runs)))
        nbytes = sum(problem.sizes[v] for v in kept)
        return _Option(nbytes, cost, self.need_forth(kept), self.need_back(kept, placed), tuple(recompute))

    def _numbered(self, run: Run) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        number, maker = self.number, self.problem.maker
        there = tuple(number[v] for v in run.reads if maker[v] == run.unit and v in number)
        return run.unit - self.begin, tuple(number[v] for v in run.makes), there

    def need_forth(self, kept: Sequence[int]) -> int:
        """The most bytes alive while the segment runs for the first time, besides what is kept before it."""
        forth = self.forward_bytes[self.begin : self.end]
        change = np.zeros(len(forth) + 1, np.int64)
        for v in kept:
            change[min(max(self.read_last[v] + 1 - self.begin, 0), len(forth))] += self.problem.sizes[v]
            if v in self.over and self.begin <= self.over[v][0] < self.end:
                place, saved = self.over[v]
                change[place - self.begin] += saved
                change[place - self.begin + 1] -= saved
        return int((change[:-1].cumsum() + forth).max())

    def need_back(self, kept: Sequence[int], placed: Sequence[tuple[int, Run]]) -> int:
        """The most bytes alive from the backward's first use of what the segment makes to the last, besides what
        is kept before the segment.
        """
        problem, sizes = self.problem, self.problem.sizes
        readers: dict[int, list[int]] = {}
        for v in {*self.own, *kept}:
            for use in problem.uses[v]:
                if use in self.back:
                    readers.setdefault(use, []).append(v)
        runs: dict[int, list[Run]] = {}
        for at, run in placed:
            runs.setdefault(at, []).append(run)
        level: list[int] = []
        made = dict.fromkeys(kept, 0)
        last: dict[tuple[int, int], int] = {(v, 0): 0 for v in kept}
        overs: list[tuple[int, int, tuple[int, int]]] = []
        for place in self.back:
            for run in runs.get(place, ()):
                now = len(level)
                level.append(self.between[place] + problem.scratch(run))
                last.update(((v, made[v]), now) for v in run.reads if v in made)
                overs += [
                    (now, new, (old, made[old]))
                    for new, old in problem.units[run.unit].over
                    if new in run.makes and old in made
                ]
                made.update((v, now) for v in run.makes)
                last.update(((v, now), now) for v in run.makes)
            last.update(((v, made[v]), len(level)) for v in readers.get(place, ()) if v in made)
            level.append(self.staying_bytes[place])
        change = np.zeros(len(level) + 1, np.int64)
        for (v, begin), end in last.items():
            change[begin] += sizes[v]
            change[end + 1] -= sizes[v]
        for now, new, old in overs:
            if last[old] == now:
                change[now] -= sizes[new]
                change[now + 1] += sizes[new]
        return int((change[:-1].cumsum() + level).max(initial=0))


class _Program:
    """What of a segment is kept at which price of a byte."""

    def __init__(self, segment: _Segment) -> None:
        self.segment = segment
        self.sizes = [segment.problem.sizes[v] for v in segment.values]
        self.solved = 0

    def choices(self, most: int) -> list[_Choice]:
        """Sets of values to keep, from all that is wanted to the fewest bytes, found with at most so many programs."""
        all_wanted = tuple(self.segment.number[v] for v in self.segment.wanted)
        first = (sum(self.sizes[v] for v in all_wanted), 0.0, all_wanted)
        if not all_wanted or most < 2:
            return [first]
        self._build()
        total = sum(self.costs)
        last = self._cheapest(total / max(first[0], 1) * 1e3)
        found = [first]
        gaps: list[tuple[float, _Choice, _Choice]] = []

        def gap(a: _Choice, b: _Choice) -> None:
            if a[0] > b[0] and b[1] > a[1]:
                gaps.append(((a[0] - b[0]) * (b[1] - a[1]), a, b))

        if last is not None and last[2] != first[2]:
            found.append(last)
            gap(first, last)
        while gaps and self.solved < most:
            gaps.sort(key=lambda g: g[0])
            _, a, b = gaps.pop()
            price = (b[1] - a[1]) / (a[0] - b[0])
            made = self._cheapest(price)
            if made is None or made[1] + price * made[0] >= (a[1] + price * a[0]) * (1 - 1e-6):
                continue
            found.append(made)
            gap(a, made)
            gap(made, b)
        return sorted(found, key=lambda choice: (-choice[0], choice[1]))

    def _build(self) -> None:
        from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        segment = self.segment
        actions = segment.actions()
        count = len(self.sizes)
        makers: dict[int, list[int]] = {}
        for j, action in enumerate(actions):
            for v in action.makes:
                makers.setdefault(v, []).append(j)
        rows: list[tuple[dict[int, float], float]] = []
        for value in segment.wanted:
            v = segment.number[value]
            rows.append(({v: -1.0} | {count + j: -1.0 for j in makers.get(v, ())}, -1.0))
        for j, action in enumerate(actions):
            for v in action.reads:
                made = [k for k in makers.get(v, ()) if actions[k].place != action.place]
                rows.append(({count + j: 1.0, v: -1.0} | {count + k: -1.0 for k in made}, 0.0))
        entries = [(i, j, f) for i, (row, _) in enumerate(rows) for j, f in row.items()]
        i, j, f = (np.array(column) for column in zip(*entries, strict=True))
        self.matrix = csr_array((f, (i, j)), (len(rows), count + len(actions)))
        self.bounds = np.array([bound for _, bound in rows])
        self.costs = [action.cost for action in actions]

    def _cheapest(self, price: float) -> _Choice | None:
        """Bytes, time and values of the choice of the least time where a byte costs `price` nanoseconds."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        count = len(self.sizes)
        weights = np.array([*(size * price for size in self.sizes), *self.costs])
        self.solved += 1
        found = milp(
            weights / max(weights.max(), 1e-300),
            integrality=np.array([0] * count + [1] * len(self.costs)),
            bounds=Bounds(0, 1),  # pyright: ignore[reportArgumentType]
            constraints=LinearConstraint(self.matrix, -np.inf, self.bounds),  # pyright: ignore[reportArgumentType]
            options={"node_limit": _NODES, "presolve": False},
        )
        if found.x is None:  # pyright: ignore
            return None
        kept = tuple(v for v in range(count) if found.x[v] > 0.5)  # pyright: ignore
        cost = sum(c for c, x in zip(self.costs, found.x[count:]) if x > 0.5)  # pyright: ignore
        return sum(self.sizes[v] for v in kept), cost, kept


class _Table:
    """The least time to go back through the blocks from each on within each level of bytes, and how."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.problem = blocks, blocks.problem
        options = blocks.options()
        count = len(blocks.borders) - 1
        fullest = max(alive_bytes(self.problem, range(len(self.problem.sizes))))
        self.unit = unit = max(fullest / _LEVELS, 1.0)
        levels = np.arange(_LEVELS + 1)
        self.best = np.full((count + 1, _LEVELS + 1), np.inf)
        self.best[count, levels * unit >= blocks.staying_bytes[blocks.chain.boundary]] = 0.0
        self.ways: list[list[tuple[int, _Segment, _Option, int]]] = []
        self.choice = np.full((count, _LEVELS + 1), -1, np.int32)
        for s in reversed(range(count)):
            ways: list[tuple[int, _Segment, _Option, int]] = []
            for e in range(s + 1, count + 1):
                if (s, e) in options:
                    segment, found = options[s, e]
                    ways += ((e, segment, option, round(option.nbytes / unit)) for option in found)
            self.ways.append(ways)
            for i, (e, _, option, taken) in enumerate(ways):
                least = max(taken, int(-(-max(option.forth, option.back) // unit)))
                if least > _LEVELS:
                    continue
                costs = self.best[e, least - taken : _LEVELS + 1 - taken] + option.cost
                better = costs < self.best[s, least:]
                self.best[s, least:][better] = costs[better]
                self.choice[s, least:][better] = i
        self.ways.reverse()

    def orders(self, count: int) -> list[tuple[int, Order]]:
        """Orders of about as many bytes as a limit, with it, for at most so many limits."""
        best = self.best[0]
        levels = [i for i in range(_LEVELS + 1) if np.isfinite(best[i]) and (i == 0 or best[i] < best[i - 1])]
        if not levels:
            return []
        steps = np.geomspace(max(levels[0], 1), max(levels[-1], 1), count)
        picked = sorted({max(i for i in levels if i <= max(step + 0.5, levels[0])) for step in steps})
        found = ((int(level * self.unit), self.order(level)) for level in picked)
        return [(limit, order) for limit, order in found if order is not None]

    def order(self, level: int) -> Order | None:
        """The order that the table has for a level; None where something would be recomputed too late."""
        problem = self.problem
        before: dict[int, list[tuple[Run, float]]] = {}
        s = 0
        chosen: list[tuple[_Segment, _Option]] = []
        while s < len(self.choice):
            e, segment, option, taken = self.ways[s][int(self.choice[s, level])]
            chosen.append((segment, option))
            s, level = e, level - taken
        if not all(self._runs(segment, option, before) for segment, option in chosen):
            return None
        runs: list[Run] = []
        cost = 0.0
        for place, first in enumerate(problem.first_runs()):
            for run, time in before.get(place, ()):
                runs.append(run)
                cost += time
            runs.append(first)
        return problem.order(runs, cost)

    def _runs(self, segment: _Segment, option: _Option, before: dict[int, list[tuple[Run, float]]]) -> bool:
        """Add what an option recomputes, by the place before which it runs; False where a run comes too late."""
        problem, chain = self.problem, self.blocks.chain
        values = segment.values
        alive = [not d for d in chain.droppable]
        for one in option.recompute:
            at = chain.wanted_at[values[one.before]]
            for place, makes, there in one.runs:
                unit, made = segment.begin + place, tuple(values[i] for i in makes)
                if any(problem.deadline[v] <= at for v in made):
                    return False
                for i in there:
                    alive[values[i]] = True
                reads, cost = problem.recompute_inputs(unit, made, alive)
                for i in there:
                    alive[values[i]] = not chain.droppable[values[i]]
                before.setdefault(at, []).append((Run(unit, tuple(dict.fromkeys(reads)), made, True), cost))
        return True
