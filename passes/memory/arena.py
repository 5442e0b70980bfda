"""Offsets in one arena: blocks that are live at the same time share no byte."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ...ir import Array, Node, Value

# Above so many blocks only the near-linear order is tried.
_QUADRATIC_LIMIT = 20_000
# Blocks placed while looking for a better order, all tries together.
_PLACINGS = 60_000
_MOST_TRIES = 100
# Above so many blocks each placing takes longer, and there are fewer.
_LARGE = 1_000
# Orders from which better ones are looked for.
_BEGINNINGS = 2
# Parts of the most live bytes by which phases differ.
_LEVELS = 20
# An arena that takes this part of the bound more is worth all tries, one that takes less fewer of them.
_FAR = 1 / 100
# Blocks up to which the least arena is computed exactly.
_EXACT = 14
_MOST_NODES = 2_000


@dataclass
class Request:
    """Bytes wanted from the phase `birth` to the phase `death`, both included; `offset` is what they get."""

    nbytes: int
    birth: int
    death: int
    values: list[Value] = field(default_factory=list[Value])
    unit: Node | None = None
    offset: int = -1


def assign_offsets(requests: list[Request], line_bytes: int) -> int:
    """Give every request its offset, at the beginning of a cache line; returns the size of the arena.

    Largest first, each at the lowest free place, which mostly takes no more than the most bytes live at once. Where it
    takes more, what came to lie too high is placed earlier, again and again (squeaky wheel optimization: Joslin and
    Clements, 1999); few blocks are placed by the exact optimum of a mixed integer program.
    """
    if not requests:
        return 0
    size, offsets = _packed(tuple((-(-r.nbytes // line_bytes), r.birth, r.death) for r in requests))
    for request, offset in zip(requests, offsets):
        request.offset = offset * line_bytes
    return size * line_bytes


@lru_cache(maxsize=64)
def _packed(blocks: tuple[tuple[int, int, int], ...]) -> tuple[int, tuple[int, ...]]:
    """The size of the arena and the offset of each block of so many lines from its birth to its death, in lines; equal
    loops are planned many times.
    """
    size, offsets = _Blocks(blocks).packed()
    return size, tuple(offsets.tolist())


class _Blocks:
    def __init__(self, blocks: Sequence[tuple[int, int, int]]) -> None:
        self.sizes, self.births, self.deaths = np.array(blocks, np.int64).T
        self.count = len(blocks)
        self.bound = int(self.live().max())

    def live(self) -> Array:
        """The bytes alive in each phase."""
        change = np.zeros(int(self.deaths.max()) + 2, np.int64)
        np.add.at(change, self.births, self.sizes)
        np.subtract.at(change, self.deaths + 1, self.sizes)
        return np.cumsum(change)

    def packed(self) -> tuple[int, Array]:
        """The size of the smallest arena found, and the offsets in it."""
        if self.count > _QUADRATIC_LIMIT:
            return self.by_birth()
        found: list[tuple[int, Array, Array]] = []
        for order in self.ranks():
            offsets = self.first_fit(order)
            found.append((int((offsets + self.sizes).max()), offsets, order))
            if found[-1][0] == self.bound:
                return self.bound, offsets
        found.sort(key=lambda one: one[0])
        best = found[0][:2]
        tries = min(_MOST_TRIES, _PLACINGS * _LARGE // (self.count * max(self.count, _LARGE)))
        for _, offsets, order in found[:_BEGINNINGS]:
            priority = np.empty(self.count)
            priority[order] = np.arange(self.count, 0, -1)
            for number in range(tries):
                if number * self.bound * _FAR > tries * (best[0] - self.bound):
                    break
                # No arena is smaller than the bound, so what lies above it is what should have been placed earlier.
                high = np.flatnonzero(offsets + self.sizes > self.bound)
                # Steps of different lengths, or the same blocks change places for ever.
                priority[high] += self.count * (0.1 + 0.1 * ((high * 7 + number * 3) % 11) / 11)
                offsets = self.first_fit(np.argsort(-priority, kind="stable"))
                size = int((offsets + self.sizes).max())
                if size < best[0]:
                    best = size, offsets
                if size == self.bound:
                    return best
        return self.exact(best) if self.count <= _EXACT else best

    def ranks(self) -> Iterator[Array]:
        """Orders to place the blocks in: by size, by size and life, and so with what is alive when most is before."""
        lives = self.deaths - self.births + 1
        for weight in (self.sizes, self.sizes * np.sqrt(lives), self.sizes * lives):
            yield np.lexsort((self.births, -weight))
        live = self.live()
        most = np.array([live[a : b + 1].max() for a, b in zip(self.births, self.deaths)])
        pressed = most * _LEVELS // self.bound
        for weight in (self.sizes, lives, self.sizes * lives):
            yield np.lexsort((self.births, -weight, -pressed))

    def first_fit(self, order: Array) -> Array:
        """Each block, in `order`, at the lowest place that no block alive at the same time holds."""
        sizes, births, deaths = self.sizes[order], self.births[order], self.deaths[order]
        starts = np.empty(self.count, np.int64)
        ends = np.empty(self.count, np.int64)
        # The gaps below block k are those between its live neighbours, sorted by offset; `reached` is how far the ones
        # before a gap extend, since neighbours that are not live together may overlap.
        for k in range(self.count):
            busy = ((births[:k] <= deaths[k]) & (deaths[:k] >= births[k])).nonzero()[0]
            place = 0
            if busy.size:
                begins = starts[busy]
                by_start = begins.argsort(kind="stable")
                begins = begins[by_start]
                reached = np.maximum.accumulate(ends[busy][by_start])
                if begins[0] < sizes[k]:
                    gaps = (begins[1:] - reached[:-1] >= sizes[k]).nonzero()[0]
                    place = reached[gaps[0]] if gaps.size else reached[-1]
            starts[k] = place
            ends[k] = place + sizes[k]
        offsets = np.empty(self.count, np.int64)
        offsets[order] = starts
        return offsets

    def by_birth(self) -> tuple[int, Array]:
        """Best fit in the order of births, with a list of free gaps: near-linear."""
        sizes, births, deaths = self.sizes.tolist(), self.births.tolist(), self.deaths.tolist()
        offsets = [0] * self.count
        order = sorted(range(self.count), key=lambda i: (births[i], -sizes[i]))
        dying: list[tuple[int, int]] = []
        free: dict[int, int] = {}  # start -> end of gaps below `top`
        ends: dict[int, int] = {}  # end -> start of the same
        top = 0
        for i in order:
            while dying and dying[0][0] < births[i]:
                _, j = heapq.heappop(dying)
                start, end = offsets[j], offsets[j] + sizes[j]
                if start in ends:
                    start = ends.pop(start)
                    del free[start]
                if end in free:
                    joined = free.pop(end)
                    del ends[joined]
                    end = joined
                free[start], ends[end] = end, start
            size = sizes[i]
            fitting = [(end - start, start) for start, end in free.items() if end - start >= size]
            if fitting:
                _, start = min(fitting)
                end = free.pop(start)
                del ends[end]
                if end - start > size:
                    free[start + size], ends[end] = end, start + size
            else:
                start = top
                if top in ends:
                    start = ends.pop(top)
                    del free[start]
                top = start + size
            offsets[i] = start
            heapq.heappush(dying, (deaths[i], i))
        return top, np.array(offsets, np.int64)

    def exact(self, known: tuple[int, Array]) -> tuple[int, Array]:
        """The smallest arena of all, or `known` where the solver finds none that is smaller.

        Of two blocks alive at the same time one lies below the other: a binary variable for each such pair.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp  # pyright: ignore

        n, most = self.count, int(known[0])
        pairs = [
            (i, j)
            for i in range(n)
            for j in range(i)
            if self.births[i] <= self.deaths[j] and self.births[j] <= self.deaths[i]
        ]
        width = n + len(pairs) + 1  # offsets, who is below, the size of the arena
        rows: list[Array] = []
        limits: list[float] = []
        for k, (i, j) in enumerate(pairs):
            for low, high, sign in ((i, j, 1), (j, i, -1)):
                row = np.zeros(width)
                row[low], row[high], row[n + k] = 1, -1, sign * most
                rows.append(row)
                limits.append(most - self.sizes[low] if sign > 0 else -self.sizes[low])
        for i in range(n):
            row = np.zeros(width)
            row[i], row[-1] = 1, -1
            rows.append(row)
            limits.append(-self.sizes[i])
        upper = np.concatenate([np.full(n, most), np.ones(len(pairs)), [most]])
        lower = np.zeros(width)
        lower[-1] = self.bound
        target = np.zeros(width)
        target[-1] = 1
        solved = milp(  # pyright: ignore
            target,
            integrality=np.concatenate([np.zeros(n), np.ones(len(pairs)), [0]]),
            bounds=Bounds(lower, upper),  # pyright: ignore
            constraints=LinearConstraint(np.array(rows), -np.inf, np.array(limits)),  # pyright: ignore
            options={"node_limit": _MOST_NODES},
        )
        if solved.x is None:  # pyright: ignore
            return known
        # The solver's offsets are rounded; its order, placed again, gives exact ones that are no higher.
        order = np.argsort(solved.x[:n], kind="stable")  # pyright: ignore
        offsets = self.first_fit(order)  # pyright: ignore
        size = int((offsets + self.sizes).max())
        return (size, offsets) if size < known[0] else known


def most_live(requests: list[Request]) -> int:
    """The most bytes that are live in one phase: no arena can be smaller for this schedule."""
    change: dict[int, int] = {}
    for r in requests:
        change[r.birth] = change.get(r.birth, 0) + r.nbytes
        change[r.death + 1] = change.get(r.death + 1, 0) - r.nbytes
    live = most = 0
    for phase in sorted(change):
        live += change[phase]
        most = max(most, live)
    return most
