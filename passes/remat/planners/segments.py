"""Checkpoints between segments: what waits long for its readers is recomputed, a segment of units at a time."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from ..problem import Problem
from .eviction import Guide

# A value waits where its next use is farther away than this part of all units, and than so many units.
_FAR_SHARE = 50
_FAR_UNITS = 8
# Parts of the square root of what waits that are tried as numbers of segments, and of the bytes that wait, the cheapest
# to recompute first, as what is dropped.
_COUNTS = (0.5, 1.0, 2.0)
_PARTS = (0.5, 0.95)
# Units looked at to tell what the recomputation of a value takes.
_MOST_LOOKED_AT = 100


@dataclass
class Segments:
    """Cuts the units into segments between which few bytes are handed on: these are kept, and what waits within a
    segment is dropped and recomputed, all of it, when the backward reads the first of it.

    In a chain of n layers, the square root of n segments of equal bytes need about twice the square root of n values
    and at most one more forward (Chen et al., Training deep nets with sublinear memory cost, 2016). A value waits from
    the last use before its longest gap to the first one after it; what waits for none is not counted.
    """

    problem: Problem
    waiting: list[int] = field(init=False)
    """Values that wait and may be recomputed, in the order in which they are made."""
    dearness: dict[int, float] = field(init=False)
    """For each of them nanoseconds for a byte to recompute it from others that wait."""

    def __post_init__(self) -> None:
        problem = self.problem
        self.waits_from = [max(problem.last_use(v), problem.maker[v]) for v in range(len(problem.sizes))]
        self.waits_until: dict[int, int] = {}
        least = max(_FAR_UNITS, len(problem.units) // _FAR_SHARE)
        for value in range(len(problem.sizes)):
            places = [problem.maker[value], *problem.uses[value]]
            gap, i = max(((b - a, i) for i, (a, b) in enumerate(pairwise(places))), default=(0, 0))
            if gap <= least or problem.stays[value] or value in problem.lasting:
                continue
            if problem.deadline[value] > places[i + 1]:
                self.waits_from[value], self.waits_until[value] = places[i], places[i + 1]
        self.waiting = sorted(self.waits_until, key=lambda v: (problem.maker[v], v))
        self.dearness = {v: self._cost(v) / problem.sizes[v] for v in self.waiting}
        ends = len(problem.units) + 1
        change = [0] * (ends + 1)
        made = [0] * ends
        for value, size in enumerate(problem.sizes):
            change[problem.maker[value] + 1] += size
            change[self.waits_from[value] + 1] -= size
        for value in self.waiting:
            made[problem.maker[value] + 1] += problem.sizes[value]
        self._handed_on = list(accumulate(change))
        self._made = list(accumulate(made))

    def _cost(self, value: int) -> float:
        problem = self.problem
        units = {problem.maker[value]}
        stack = [problem.maker[value]]
        while stack and len(units) < _MOST_LOOKED_AT:
            for read in problem.units[stack.pop()].reads:
                place = problem.maker[read]
                if read not in self.waits_until and not problem.stays[read] and place not in units:
                    units.add(place)
                    stack.append(place)
        return sum(problem.units[place].cost for place in units)

    def guides(self) -> list[Guide]:
        """What to drop and to hold with numbers of segments around the square root of what waits."""
        cheapest = sorted(self.waiting, key=lambda v: (self.dearness[v], v))
        up_to = list(accumulate(self.problem.sizes[v] for v in cheapest))
        limits = dict.fromkeys(self.dearness[cheapest[bisect_left(up_to, p * up_to[-1])]] for p in _PARTS if up_to)
        counts = dict.fromkeys(max(2, round(c * math.sqrt(len(cheapest)))) for c in _COUNTS)
        return [self.guide(count, dearest) for count in counts for dearest in limits]

    def borders(self, count: int) -> list[int]:
        """Places before which the segments of `count` begin, without the first: where the fewest bytes are handed on,
        about as many bytes that wait apart.
        """
        total = self._made[-1]
        places: list[int] = []
        for j in range(1, count):
            first = max(bisect_left(self._made, total * (j - 0.5) / count), 1)
            last = min(bisect_left(self._made, total * (j + 0.5) / count), len(self.problem.units) - 1)
            middle = total * j / count
            if first <= last:
                places.append(
                    min(range(first, last + 1), key=lambda p: (self._handed_on[p], abs(self._made[p] - middle)))
                )
        return sorted(set(places))

    def guide(self, count: int, dearest: float) -> Guide:
        """What to drop and what to hold with `count` segments: nothing is dropped that takes more than `dearest`
        nanoseconds a byte.
        """
        problem = self.problem
        borders = self.borders(count)
        begins = [0, *borders]
        segments: list[list[int]] = [[] for _ in begins]
        k = 0
        for value in self.waiting:
            while k + 1 < len(begins) and problem.maker[value] >= begins[k + 1]:
                k += 1
            segments[k].append(value)
        handed: list[list[int]] = [[] for _ in begins]
        for value in range(len(problem.sizes)):
            low = bisect_left(begins, problem.maker[value] + 1)
            while low < len(begins) and begins[low] <= self.waits_from[value]:
                handed[low].append(value)
                low += 1
        kept = {value for values in handed for value in values}
        held: dict[int, int] = {}
        together: dict[int, tuple[int, ...]] = {}
        for values, border in zip(segments, handed):
            gone = tuple(v for v in values if v not in kept and self.dearness[v] <= dearest)
            if gone:
                together.update((v, gone) for v in gone)
                until = min(self.waits_until[v] for v in gone)
                for value in border:
                    held[value] = max(held.get(value, 0), until)
        return Guide(frozenset(together), held, together)
