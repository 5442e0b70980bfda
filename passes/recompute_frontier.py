"""Plans of one step from the fastest to the smallest, found once and picked by budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir import Graph
from .cost import node_nanoseconds
from .plan import Plan, plan
from .recompute import GraphProblem, graph_problem
from .recompute_eviction import evict
from .recompute_problem import Order

# Limits tried, each this part of the one before.
_STEP = 0.94
_LIMITS = 48
_DISTANCES = (0.1, 0.6)


@dataclass(frozen=True)
class Choice:
    """A plan, and the part of the step's time that it adds by recomputing."""

    plan: Plan
    slowdown: float


@dataclass
class Frontier:
    """All plans of a step worth having: each needs fewer bytes than the one before, and more time.

    Candidates are found by their bytes alive, without looking at any budget; their arenas are planned when they are
    asked for. A budget goes down a fixed tree of comparisons, so that more memory never leads to more time.
    """

    base: Plan
    problem: GraphProblem = field(init=False)
    orders: list[Order] = field(init=False)
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])

    def __post_init__(self) -> None:
        self.problem = graph_problem(self.base)
        self.time = sum(map(node_nanoseconds, self.base.graph.nodes))
        self.orders = candidates(self.problem)

    def planned(self, i: int) -> Plan:
        """The plan of candidate `i`; 0 is the one without recomputing."""
        if i == 0:
            return self.base
        if i not in self._plans:
            graph: Graph = self.problem.realized(self.orders[i].runs)
            self._plans[i] = plan(graph, self.base.threads, outputs_in_arena=True)
        return self._plans[i]

    def choice(self, i: int) -> Choice:
        """Candidate `i`."""
        return Choice(self.planned(i), self.orders[i].cost / max(self.time, 1.0))

    def within(self, arena_bytes: int) -> Choice | None:
        """The fastest plan known whose arena is at most so large; None where there is none."""
        if self.base.arena_bytes <= arena_bytes:
            return self.choice(0)
        low, high = 0, len(self.orders) - 1
        if self.planned(high).arena_bytes > arena_bytes:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.planned(middle).arena_bytes <= arena_bytes:
                high = middle
            else:
                low = middle
        return self.choice(high)

    def least(self) -> Choice:
        """The smallest plan."""
        return self.choice(len(self.orders) - 1)


def candidates(problem: GraphProblem) -> list[Order]:
    """Orders from the fastest to the one with the fewest bytes alive, each with fewer than the one before."""
    first = problem.order(problem.first_runs(), 0.0)
    found = [first]
    limit = float(first.peak)
    for _ in range(_LIMITS):
        limit *= _STEP
        tried = [o for distance in _DISTANCES if (o := evict(problem, int(limit), distance)) is not None]
        if not tried:
            break
        found += tried
    return pareto(found)


def pareto(orders: Sequence[Order]) -> list[Order]:
    """Those that no other one beats, from the fastest to the smallest."""
    result: list[Order] = []
    for order in sorted(orders, key=lambda o: (o.cost, o.peak)):
        if not result or order.peak < result[-1].peak:
            result.append(order)
    return result
