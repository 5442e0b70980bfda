"""Checkpoints between stages of a chain, at the least cost there is, by dynamic programming."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from ....ir import Array
from ..problem import Order, Problem, Run, recompute_runs

# A value waits long where its next use is farther away than this part of all units, and than so many units.
_FAR_SHARE = 50
_FAR_UNITS = 8

_FEWEST_STAGES = 3
# Stages at most: the tables have the square of it times the levels as entries.
_MOST_STAGES = 128
# A border is narrow that hands on at most so much more than the narrowest of so many places before and after it.
_NARROW = 1.05
_NEAR = 4
# Parts of the bytes by which limits are told apart.
_LEVELS = 256


@dataclass
class Chain:
    """Cuts the units before the boundary into stages that hand few bytes on. The boundary is the place at which most
    bytes are alive: the forward ends there, about, and the backward begins.

    What a stage makes for the backward is either kept, or recomputed before the first of it is read, from a checkpoint:
    what was handed on to some stage and was kept. Which checkpoints are kept when, also among what is recomputed, is
    the cheapest choice of all for every limit: revolve where stages are equal (Griewank and Walther, 2000), and in
    general the optimum of heterogeneous chains (Beaumont et al., Optimal checkpointing for heterogeneous chains, 2019).
    """

    problem: Problem
    early: bool = True
    """Whether stages are recomputed as soon as little is alive, rather than as late as they can be."""
    borders: list[int] = field(init=False)
    """Places before which stages begin, from 0 to the boundary."""
    crossing: list[list[int]] = field(init=False)
    """What is made before each stage, and read in it or in a later one."""

    def __post_init__(self) -> None:
        problem = self.problem
        count = len(problem.sizes)
        live = alive_bytes(problem, range(count))
        fullest = max(range(len(problem.units)), key=live.__getitem__)
        may_go = [
            not problem.stays[v] and v not in problem.lasting and problem.deadline[v] > problem.last_use(v)
            for v in range(count)
        ]
        left = [max((u for u in problem.uses[v] if u < fullest), default=problem.maker[v]) for v in range(count)]
        wanted = [min((u for u in uses if u >= fullest), default=-1) for uses in problem.uses]
        # Where all that waits long was made long before, the backward has begun.
        far = max(_FAR_UNITS, len(problem.units) // _FAR_SHARE)
        waits = 1 + max((left[v] for v in range(count) if may_go[v] and wanted[v] - left[v] > far), default=fullest)
        self.boundary = waits if waits + far < fullest else fullest
        self.droppable = [may_go[v] and left[v] < self.boundary for v in range(count)]
        # Places of the last read before the boundary and of the first one after it, -1 where there is none.
        self.read_until = [max((u for u in uses if u < self.boundary), default=-1) for uses in problem.uses]
        self.wanted_at = [min((u for u in uses if u >= self.boundary), default=-1) for uses in problem.uses]
        self._replace()
        self.borders = self._borders()
        stages = len(self.borders) - 1
        self.crossing = [
            [v for v in range(count) if self.droppable[v] and problem.maker[v] < border <= self.read_until[v]]
            for border in self.borders[:-1]
        ]
        self.stage_of = [0] * self.boundary
        for k in range(stages):
            self.stage_of[self.borders[k] : self.borders[k + 1]] = [k] * (self.borders[k + 1] - self.borders[k])
        self.inner: list[list[int]] = [[] for _ in range(stages)]
        """What each stage makes for after the boundary and hands on to none."""
        self.begins = [len(problem.units)] * stages
        """The place in the backward before which a stage is recomputed, if it is, for the first read of what it makes
        or reads last."""
        for v in range(count):
            if not self.droppable[v] or self.wanted_at[v] < 0:
                continue
            k = self.stage_of[max(problem.maker[v], self.read_until[v])]
            self.begins[k] = min(self.begins[k], self.wanted_at[v])
            if k == self.stage_of[problem.maker[v]]:
                self.inner[k].append(v)
        for k in range(1, stages):
            self.begins[k] = min(self.begins[k], self.begins[k - 1])
        change = [0] * (len(problem.units) + 2)
        for v in range(count):
            if problem.maker[v] >= self.boundary:
                change[problem.maker[v] + 1] += problem.sizes[v]
                change[min(problem.last_use(v), len(problem.units)) + 1] -= problem.sizes[v]
        self.handed_back = list(accumulate(change))
        """Bytes of what is made after the boundary that are alive before each place."""
        if self.early:
            self.begins = self._earlier(self.begins)

    def _earlier(self, begins: Sequence[int]) -> list[int]:
        """For each of the places `begins` the last one of those up to it before which the fewest bytes are handed back,
        such as before one gradient becomes two; but after all that reads what was made before the boundary.
        """
        earlier = list(range(len(self.problem.units) + 1))
        least = self.boundary
        for place in range(self.boundary, len(self.problem.units)):
            if self.handed_back[place] <= self.handed_back[least]:
                least = place
            earlier[place] = least
            if any(self.droppable[v] for v in self.problem.units[place].reads):
                least = place + 1
        return [earlier[place] for place in begins]

    def _replace(self) -> None:
        """What has to be there anyway, and is all that recomputes what is handed on, is handed on instead."""
        problem = self.problem
        self.reads = [problem.uses[v] for v in range(len(problem.sizes))]
        alive = [not d for d in self.droppable]
        for v, others in enumerate(problem.siblings):
            if not self.droppable[v] or self.read_until[v] < 0 or self.wanted_at[v] >= 0:
                continue
            for other in others:
                if not self.droppable[other] or self.wanted_at[other] < 0 or problem.sizes[other] > problem.sizes[v]:
                    continue
                alive[other] = True
                reads, _ = problem.recompute_inputs(problem.maker[v], (v,), alive)
                alive[other] = False
                if all(read == other or not self.droppable[read] for read in reads):
                    self.reads[other] = sorted({*self.reads[other], *problem.uses[v]})
                    self.read_until[other] = max(self.read_until[other], self.read_until[v])
                    self.read_until[v] = -1
                    break

    def _borders(self) -> list[int]:
        """The places up to the boundary before which fewer bytes are handed on than before and after; others than
        before the place found last.
        """
        problem = self.problem
        change = [0] * (self.boundary + 2)
        changed = [False] * (self.boundary + 2)
        for v, size in enumerate(problem.sizes):
            if self.droppable[v] and self.read_until[v] > problem.maker[v]:
                change[problem.maker[v] + 1] += size
                change[self.read_until[v] + 1] -= size
                changed[problem.maker[v] + 1] = changed[self.read_until[v] + 1] = True
        handed_on = np.cumsum(change)
        least = max(1, -(-self.boundary // _MOST_STAGES))
        reach = max(_NEAR, least)
        found = [0]
        others = False
        for place in range(1, self.boundary):
            others |= changed[place]
            around = handed_on[max(place - reach, 1) : min(place + reach + 1, self.boundary)]
            if others and place >= found[-1] + least and handed_on[place] <= around.min() * _NARROW:
                found.append(place)
                others = False
        return [*found, self.boundary]

    def handed_over(self, k: int) -> list[int]:
        """What the stage before `k` makes, of what is handed on to `k`."""
        return [v for v in self.crossing[k] if self.problem.maker[v] >= self.borders[k - 1]]

    def handed(self, k: int, until: int) -> list[int]:
        """What is made before stage `k` and read in it or after it, up to the stage `until`."""
        border, end = self.borders[k], self.borders[until + 1]
        found: list[int] = []
        for v in self.crossing[k]:
            reads = self.reads[v]
            first = bisect_left(reads, border)
            if first < len(reads) and reads[first] < end:
                found.append(v)
        return found

    def orders(self, count: int) -> list[Order]:
        """At most `count` orders of different bytes."""
        if len(self.borders) <= _FEWEST_STAGES:
            return []
        table = _Table(self)
        found = [_Runs(self, table).order(level) for level in table.levels(count)]
        return [order for order in found if order is not None]


def alive_bytes(problem: Problem, values: Iterable[int]) -> list[int]:
    """The bytes of some values that are alive at each place, where every unit runs once, with the scratch of units."""
    end = len(problem.units)
    change = [0] * (end + 2)
    chosen = set(values)
    for v in chosen:
        change[problem.maker[v]] += problem.sizes[v]
        change[min(problem.last_use(v), end) + 1] -= problem.sizes[v]
    result: list[int] = []
    alive = 0
    for place, unit in enumerate(problem.units):
        alive += change[place]
        over = sum(problem.sizes[new] for new, old in unit.over if new in chosen and problem.last_use(old) == place)
        result.append(alive - over + unit.scratch)
    return result


class _Table:
    """The least time to recompute the stages from `s` to `t` for their backward, within each level of bytes besides the
    checkpoint before `s`; and the choice that leads to it.
    """

    def __init__(self, chain: Chain) -> None:
        problem = chain.problem
        sizes, stages = problem.sizes, len(chain.borders) - 1
        after = alive_bytes(problem, (v for v in range(len(sizes)) if problem.maker[v] >= chain.boundary))
        total = sum(map(sum, ([sizes[v] for v in values] for values in chain.inner)))
        total += sum(sizes[v] for v in range(len(sizes)) if chain.droppable[v] and chain.read_until[v] >= 0)
        total += 2 * max(after[chain.boundary :], default=0)
        self.unit = max(min(total, max(alive_bytes(problem, range(len(sizes))))) / _LEVELS, 1.0)
        levels = np.arange(_LEVELS + 1)

        def units(nbytes: float) -> int:
            return min(round(nbytes / self.unit), _LEVELS + 1)

        # What is handed on to a stage `j` and was not there for an earlier one `s`, because it is made from there on.
        self.handed = [[0] * stages for _ in range(stages)]
        for j, values in enumerate(chain.crossing):
            made = sorted((problem.maker[v], sizes[v]) for v in values)
            left, new = len(made), 0
            for s in reversed(range(j)):
                while left and made[left - 1][0] >= chain.borders[s]:
                    left -= 1
                    new += made[left][1]
                self.handed[s][j] = units(new)
        self.kept = [units(sum(sizes[v] for v in values)) for values in chain.inner]
        pass_cost: list[float] = []
        recompute_cost: list[float] = []
        running: list[int] = []
        needed: list[int] = []
        for k in range(stages):
            first, last = chain.borders[k], chain.borders[k + 1]
            places = range(first, last)
            pass_cost.append(sum(problem.units[p].cost for p in places))
            makers = {problem.maker[v] for v in chain.inner[k]}
            recompute_cost.append(pass_cost[-1] if makers else 0.0)
            live = most = 0
            dying = [0] * (last - first + 1)
            for p in places:
                for v in problem.units[p].makes:
                    live += sizes[v]
                    dying[min(max(chain.read_until[v], p) + 1, last) - first] += sizes[v]
                most = max(most, live + problem.units[p].scratch)
                live -= dying[p + 1 - first]
            gradient = chain.handed_back[chain.begins[k]]
            running.append(units(most + gradient))
            needed.append(units(max(self._most_in_backward(chain, k, after), (most + gradient) if makers else 0)))
        self.stages = stages
        self.best = np.full((stages, stages, _LEVELS + 1), np.inf)  # by t and s
        self.choice = np.full((stages, stages, _LEVELS + 1), -1, np.int32)  # 0: keep; j - s: hand on to stage j
        # From the last stage to the first: with a checkpoint before `s`, either what the backward of `s` reads is kept
        # and the stages behind follow at once, or some later stage gets the next checkpoint, the stages behind that are
        # done first, and those from `s` on are recomputed from the checkpoint that is still there.
        for s in reversed(range(stages)):
            best, choice = self.best[:, s], self.choice[s]
            best[s, levels >= needed[s]] = recompute_cost[s]
            # The time to run on to each later stage, where that has room.
            onward = np.full((stages - s - 1, _LEVELS + 1), np.inf)
            cost, room, inputs = 0.0, 0, 0
            left = levels - np.array(self.handed[s][s + 1 :], np.int64).reshape(-1, 1)
            fits = left >= 0
            left = np.maximum(left, 0) + np.arange(stages - s - 1).reshape(-1, 1) * (_LEVELS + 1)
            for j in range(s + 1, stages):
                cost += pass_cost[j - 1]
                room = max(room, running[j - 1] + inputs)
                inputs = self.handed[s][j]
                onward[j - s - 1, (levels >= room) & fits[j - s - 1]] = cost
            for t in range(s + 1, stages):
                costs = self.best[t, s + 1 : t + 1].reshape(-1).take(left[: t - s], mode="clip")
                costs += best[s:t]
                costs += onward[: t - s]
                choice[t] = costs.argmin(0) + 1
                best[t] = costs.min(0)
                if self.kept[s]:
                    costs = _shifted(self.best[t, s + 1], self.handed[s][s + 1] + self.kept[s]) + onward[0]
                    choice[t, costs < best[t]] = 0
                    best[t] = np.minimum(best[t], costs)
                choice[t, np.isinf(best[t])] = -1

    @staticmethod
    def _most_in_backward(chain: Chain, k: int, after: Sequence[int]) -> int:
        """The most bytes alive while the backward reads what stage `k` made, besides the checkpoint before it; each
        value goes when it was read last. `after` are those of what the backward makes.
        """
        problem, stages = chain.problem, len(chain.borders) - 1
        begin, until = chain.begins[k], chain.begins[k - 1] if k else len(problem.units)
        made = [*chain.inner[k], *(chain.handed_over(k + 1) if k + 1 < stages else ())]
        made = [v for v in made if problem.last_use(v) >= begin]
        goes = sorted((problem.last_use(v), problem.sizes[v]) for v in [*made, *(chain.handed_over(k) if k else ())])
        held, gone, most = sum(problem.sizes[v] for v in made), 0, 0
        for place in range(begin, until):
            while gone < len(goes) and goes[gone][0] < place:
                held -= goes[gone][1]
                gone += 1
            most = max(most, held + after[place])
        return most

    def levels(self, count: int) -> list[int]:
        """Some of the levels at which the least time changes, the smallest among them."""
        whole = self.best[self.stages - 1, 0]
        found = [i for i in range(_LEVELS + 1) if np.isfinite(whole[i]) and (i == 0 or whole[i] < whole[i - 1])]
        if len(found) <= count:
            return found
        return [found[round(i * (len(found) - 1) / (count - 1))] for i in range(count)]


def _shifted(best: Array, by: int) -> Array:
    """The least times with so many levels fewer."""
    result = np.full(_LEVELS + 1, np.inf)
    if by <= _LEVELS:
        result[by:] = best[: _LEVELS + 1 - by]
    return result


class _Runs:
    """The runs that the choices of a table lead to."""

    def __init__(self, chain: Chain, table: _Table) -> None:
        self.chain = chain
        self.table = table
        self.stay = [not d for d in chain.droppable]
        self.before: dict[int, list[tuple[Run, float]]] = {}

    def order(self, level: int) -> Order | None:
        problem = self.chain.problem
        if not self.stages(0, self.table.stages - 1, level, True):
            return None
        runs: list[tuple[Run, float]] = []
        for place, first in enumerate(problem.first_runs()):
            runs += self.before.get(place, ())
            runs.append((first, 0.0))
        read: set[int] = set()
        result: list[Run] = []
        cost = 0.0
        for run, time in reversed(runs):
            if run.is_recompute and read.isdisjoint(run.makes):
                continue
            read.difference_update(run.makes)
            read.update(run.reads)
            result.append(run)
            cost += time
        result.reverse()
        return problem.order(result, cost)

    def stages(self, s: int, t: int, level: int, first: bool) -> bool:
        """Runs of the stages from `s` to `t` within a level; the `first` time they run in any case."""
        chain, table = self.chain, self.table
        while True:
            at = chain.begins[t]
            if s == t:
                return first or self.recompute(chain.inner[s], s, at)
            choice = int(table.choice[s, t, level])
            if choice < 0:
                return False
            j = s + max(choice, 1)
            wanted = chain.handed(j, t) + (chain.inner[s] if choice == 0 else [])
            if not (first or self.recompute(wanted, s, at)):
                return False
            if choice:
                inside = level - table.handed[s][j]
                if not self.stages(j, t, inside, first):
                    return False
                t, first = j - 1, False
            else:
                s, level = j, level - table.handed[s][j] - table.kept[s]

    def recompute(self, wanted: Sequence[int], s: int, at: int) -> bool:
        """Recompute all of `wanted` before the unit at `at`, from the checkpoint before stage `s`."""
        chain, problem = self.chain, self.chain.problem
        alive = self.stay.copy()
        for v in chain.crossing[s]:
            alive[v] = True
        runs = recompute_runs(problem, wanted, alive, 0, at)
        if runs is None:
            return False
        self.before.setdefault(at, []).extend(runs)
        return True
