"""Recomputing under a limit by walking through the units once: what costs least to make again is dropped first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from .recompute_problem import Order, Problem, Run

# More runs than this many for each unit mean that values are thrown out as fast as they are made.
_MOST_RUNS = 5
# Values read by what makes a value again, looked at to tell what that costs.
_MOST_LOOKED_AT = 400


def evict(problem: Problem, limit: int, distance: float = 0.1, eager: frozenset[int] = frozenset()) -> Order | None:
    """An order with at most `limit` bytes alive, or as few more as this finds; None where it does not end.

    Units run in their order. Before one runs, values that it does not read are dropped until what it makes has room:
    first those with the least time to make them again, for each byte and each unit of distance to their next use to
    the power `distance`. A value that was dropped is made again right before it is read, from what is there then.
    Values of `eager` are dropped as soon as their next use is not the next unit but two. (Kirisame et al., Dynamic
    Tensor Rematerialization, 2021; here the next use is known.)
    """
    return _Walk(problem, limit, distance, eager).run()


@dataclass
class _Walk:
    problem: Problem
    limit: int
    distance: float
    eager: frozenset[int]
    runs: list[Run] = field(default_factory=list[Run])
    cost: float = 0.0
    bytes_alive: int = 0
    now: int = 0

    def __post_init__(self) -> None:
        problem = self.problem
        count = len(problem.sizes)
        self.alive = [False] * count
        self.made = [False] * count
        self.pins = [0] * count
        self.used = [0] * count  # how many of the uses are over
        self.heap: list[tuple[float, int]] = []
        self.stays = problem.stays

    # ---- what is known of a value

    def next_use(self, value: int) -> int:
        uses, k = self.problem.uses[value], self.used[value]
        return uses[k] if k < len(uses) else -1

    def is_over(self, value: int) -> bool:
        return self.used[value] >= len(self.problem.uses[value])

    def may_go(self, value: int) -> bool:
        return (
            not self.stays[value]
            and not self.pins[value]
            and self.problem.deadline[value] > self.next_use(value)
            and value not in self.problem.lasting
        )

    def there(self, value: int, when: int) -> bool:
        """Whether nothing has to be made again for the unit at `when` to read `value`, as far as can be known now."""
        return self.made[value] and (self.stays[value] or (self.alive[value] and self.problem.last_use(value) >= when))

    def again_cost(self, value: int) -> float:
        """Time to make `value` again for its next use, with all that will be gone until then."""
        problem, when = self.problem, self.next_use(value)
        total = 0.0
        seen = {value}
        stack = [value]
        counted: set[int] = set()
        self.alive[value], was = False, self.alive[value]
        while stack and len(seen) < _MOST_LOOKED_AT:
            top = stack.pop()
            unit = problem.maker[top]
            reads, cost = problem.again(top, self.alive)
            if unit not in counted:
                counted.add(unit)
                total += cost
            for read in reads:
                if read not in seen and not self.there(read, when):
                    seen.add(read)
                    stack.append(read)
        self.alive[value] = was
        return total

    def score(self, value: int) -> float:
        gap = max(self.next_use(value) - self.now, 1)
        return self.again_cost(value) / (self.problem.sizes[value] * gap**self.distance)

    # ---- changes of what is alive

    def enter(self, value: int) -> None:
        self.alive[value] = self.made[value] = True
        self.bytes_alive += self.problem.sizes[value]
        if not self.stays[value] and not self.is_over(value):
            heapq.heappush(self.heap, (0.0, value))

    def drop(self, value: int) -> None:
        self.alive[value] = False
        self.bytes_alive -= self.problem.sizes[value]

    def make_room(self, wanted: int) -> None:
        """Drop values until `wanted` bytes more fit, as long as there are any that may go."""
        aside: list[tuple[float, int]] = []
        while self.bytes_alive + wanted > self.limit and self.heap:
            known, value = heapq.heappop(self.heap)
            if not self.alive[value] or self.is_over(value):
                continue
            if not self.may_go(value) or self.next_use(value) == self.now:
                aside.append((known, value))
                continue
            score = self.score(value)
            if self.heap and score > self.heap[0][0] * 1.001 and score > known * 1.001:
                heapq.heappush(self.heap, (score, value))
                continue
            self.drop(value)
        for entry in aside:
            heapq.heappush(self.heap, entry)

    def ensure(self, targets: Sequence[int]) -> bool:
        """Make all of `targets` alive and pin them; False where too much has to run."""
        stack: list[tuple[int, tuple[int, ...], float, int]] = []
        for target in targets:
            if self.alive[target]:
                self.pins[target] += 1
        for target in targets:
            if self.alive[target]:
                continue
            stack.append(self.begin(target))
            while stack:
                value, reads, cost, k = stack.pop()
                while k < len(reads) and self.pins[reads[k]] and self.alive[reads[k]]:
                    k += 1
                if k < len(reads):
                    stack.append((value, reads, cost, k))
                    missing = reads[k]
                    if self.alive[missing]:  # made in the meantime for another
                        self.pins[missing] += 1
                    else:
                        stack.append(self.begin(missing))
                    if len(stack) > 4 * len(self.problem.units):
                        return False
                    continue
                self.repeat(value, reads, cost)
                if len(self.runs) > _MOST_RUNS * len(self.problem.units) + 100:
                    return False
        return True

    def begin(self, value: int) -> tuple[int, tuple[int, ...], float, int]:
        """Start to make `value` again: pin what is there of all that it takes."""
        reads, cost = self.problem.again(value, self.alive)
        reads = tuple(dict.fromkeys(reads))
        for read in reads:
            if self.alive[read]:
                self.pins[read] += 1
        return value, reads, cost, 0

    def repeat(self, value: int, reads: tuple[int, ...], cost: float) -> None:
        place = self.problem.maker[value]
        unit = self.problem.units[place]
        self.make_room(self.problem.sizes[value] + unit.scratch)
        self.runs.append(Run(place, reads, (value,), True))
        self.cost += cost
        self.enter(value)
        self.pins[value] += 1
        for read in reads:
            self.unpin(read)

    def unpin(self, value: int) -> None:
        self.pins[value] -= 1
        if not self.pins[value] and self.alive[value] and self.is_over(value) and not self.stays[value]:
            self.drop(value)

    def run(self) -> Order | None:
        problem = self.problem
        for place, unit in enumerate(problem.units):
            self.now = place
            reads = tuple(dict.fromkeys(unit.reads))
            if not self.ensure(reads):
                return None
            dying = {r for r in reads if problem.last_use(r) == place}
            saved = sum(problem.sizes[new] for new, old in unit.over if old in dying)
            self.make_room(sum(problem.sizes[v] for v in unit.makes) - saved + unit.scratch)
            self.runs.append(Run(place, unit.reads, unit.makes))
            for value in unit.makes:
                self.enter(value)
            for value in reads:
                self.used[value] += 1
                if self.is_over(value):
                    # Nothing reads it again, but what is made again may.
                    self.pins[value] -= 1
                    if not self.stays[value]:
                        self.drop(value)
                else:
                    self.unpin(value)
            for value in unit.makes:
                if self.is_over(value) and not self.stays[value]:
                    self.drop(value)
            if self.eager:
                for value in (*reads, *unit.makes):
                    far = self.next_use(value) > place + 2
                    if value in self.eager and far and self.alive[value] and self.may_go(value):
                        self.drop(value)
        return problem.order(self.runs, self.cost)
