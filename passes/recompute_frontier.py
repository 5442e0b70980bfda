"""Plans of one step from the fastest to the smallest, found once and picked by budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeVar

from ..ir import Graph, Node
from .arena import aligned
from .cost import node_nanoseconds
from .plan import Plan, lanes, plan
from .recompute import GraphProblem, graph_problem
from .recompute_eviction import evict
from .recompute_problem import Order

# Limits tried, each this part of the one before.
_STEP = 0.94
# Candidates among which the smallest arena is looked for.
_ENDS = 3
# Loops whose bodies take more than this part of the arena have plans of their own, in shares of what they take.
_WORTH_LOOKING = 20
_SHARES = (0.85, 0.7, 0.6, 0.5, 0.4, 0.33, 0.25, 0.2, 0.0)
# Weights of the distance to the next use; fewer for large graphs.
_DISTANCES = (0.1, 0.6, 0.3, 0.0)
_LARGE = 1000


@dataclass(frozen=True)
class Choice:
    """A plan, and the part of the step's time that it adds by recomputing."""

    plan: Plan
    slowdown: float


@dataclass(frozen=True)
class _Candidate:
    """An order of the units, and the orders inside of loops; `cost` is that of both."""

    order: Order
    bodies: Mapping[Node, int]
    cost: float

    @property
    def peak(self) -> int:
        return self.order.peak


@dataclass
class Frontier:
    """All plans of a step worth having: each needs fewer bytes than the one before, and more time.

    Candidates are found by their bytes alive, without looking at any budget; their arenas are planned when they are
    asked for. A budget goes down a fixed tree of comparisons, so that more memory never leads to more time. Loops have
    frontiers of their own, whose plans are tried together with those of what is around them.
    """

    base: Plan
    copies: int = 1
    nested: bool = False
    """As `plan` was told for `base`; outputs of what is not nested live in the arena."""
    problem: GraphProblem = field(init=False)
    orders: list[_Candidate] = field(init=False)
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])

    def __post_init__(self) -> None:
        self.problem = graph_problem(self.base)
        self.time = sum(map(node_nanoseconds, self.base.graph.nodes))
        self.loops = {
            node: Frontier(body, self.copies if self.nested else lanes(node), True)
            for node, body in self.base.bodies.items()
            if body.arena_bytes * _WORTH_LOOKING > self.base.arena_bytes
        }
        found: list[_Candidate] = []
        for bodies in self._choices_of_bodies():
            problem, cost = self._with_bodies(bodies)
            found += (_Candidate(o, bodies, o.cost + cost) for o in candidates(problem))
        self.orders = pareto(found)

    def _choices_of_bodies(self) -> list[dict[Node, int]]:
        """The same share of memory for every loop, from all of it to the least."""
        result: list[dict[Node, int]] = [dict.fromkeys(self.loops, 0)]
        for share in _SHARES if self.loops else ():
            chosen = {node: loop.index_within(int(share * loop.base.arena_bytes)) for node, loop in self.loops.items()}
            bodies = {node: self.loops[node].last if i is None else i for node, i in chosen.items()}
            if bodies != result[-1]:
                result.append(bodies)
        return result

    def _with_bodies(self, bodies: Mapping[Node, int]) -> tuple[GraphProblem, float]:
        """The problem with the scratch that these bodies take, and the time that they add."""
        units = list(self.problem.units)
        total = 0.0
        for place, node in enumerate(self.problem.nodes):
            if not bodies.get(node):
                continue
            loop = self.loops[node]
            extra = loop.orders[bodies[node]].cost * int(node.attrs["length"])
            total += extra
            # Lanes that run side by side have a body's arena each.
            lanes = units[place].scratch // max(aligned(loop.base.arena_bytes), 1)
            scratch = aligned(loop.planned(bodies[node]).arena_bytes) * lanes
            units[place] = replace(units[place], scratch=scratch, cost=units[place].cost + extra)
        return replace(self.problem, units=units), total

    def planned(self, i: int) -> Plan:
        """The plan of candidate `i`; 0 is the one without recomputing."""
        if i == 0:
            return self.base
        if i not in self._plans:
            candidate = self.orders[i]
            bodies = {n: self.loops[n].planned(k).graph for n, k in candidate.bodies.items() if k}
            graph: Graph = self.problem.realized(candidate.order.runs, bodies)
            self._plans[i] = plan(graph, self.base.threads, not self.nested, self.copies, self.nested)
        return self._plans[i]

    def choice(self, i: int) -> Choice:
        """Candidate `i`."""
        return Choice(self.planned(i), self.orders[i].cost / max(self.time, 1.0))

    def within(self, arena_bytes: int) -> Choice | None:
        """The fastest plan known whose arena is at most so large; None where there is none."""
        i = self.index_within(arena_bytes)
        return None if i is None else self.choice(i)

    def index_within(self, arena_bytes: int) -> int | None:
        """The number of the fastest candidate whose arena is at most so large."""
        if self.base.arena_bytes <= arena_bytes:
            return 0
        low, high = 0, self.last
        if self.planned(high).arena_bytes > arena_bytes:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.planned(middle).arena_bytes <= arena_bytes:
                high = middle
            else:
                low = middle
        return high

    def least(self) -> Choice:
        """The smallest plan."""
        return self.choice(self.last)

    @cached_property
    def last(self) -> int:
        """The candidate with the smallest arena: one of the last, whose bytes alive differ little."""
        count = len(self.orders)
        ends = _ENDS if len(self.problem.units) <= _LARGE else 1
        return min(range(max(count - ends, 0), count), key=lambda i: (self.planned(i).arena_bytes, i))


def candidates(problem: GraphProblem) -> list[Order]:
    """Orders from the fastest to the one with the fewest bytes alive, each with fewer than the one before."""
    first = problem.order(problem.first_runs(), 0.0)
    found = [first]
    floor = problem.floor()
    distances = _DISTANCES if len(problem.units) <= _LARGE else _DISTANCES[:2]
    limit = float(first.peak)
    while limit > floor:
        limit = max(limit * _STEP, floor)
        tried = [o for distance in distances if (o := evict(problem, int(limit), distance)) is not None]
        if not tried:
            break
        found += tried
    return pareto(found)


class _Costed(Protocol):
    @property
    def cost(self) -> float: ...
    @property
    def peak(self) -> int: ...


_C = TypeVar("_C", bound=_Costed)


def pareto(orders: Sequence[_C]) -> list[_C]:
    """Those that no other one beats, from the fastest to the smallest."""
    result: list[_C] = []
    for order in sorted(orders, key=lambda o: (o.cost, o.peak)):
        if not result or order.peak < result[-1].peak:
            result.append(order)
    return result
