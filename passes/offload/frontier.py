"""The frontier of plans that may use host memory: some recompute, some move values to the host, some do both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from ...ir import Graph
from ..memory.plan import Plan, plan
from ..remat.candidates import pareto
from ..remat.frontier import Choice, Frontier
from .absences import Offloading
from .choose import Moved, choices
from .early_updates import updates_early
from .rewrite import with_transfers

PLANNER = "offload"
_STARTS = 6
"""Plans that recompute, the one that recomputes nothing among them, from which values are moved."""
_ENDS = 3
"""Candidates among which the smallest plan is looked for."""


@dataclass(frozen=True)
class _Candidate:
    """Candidate `start` of a frontier, with transfers where there are any; `cost` is its time beyond that of the plan
    without a budget, in nanoseconds of all workers, and `peak` what it is likely to need beside what the step holds.
    """

    start: int
    moved: Moved | None
    cost: float
    peak: int


@dataclass
class OffloadFrontier:
    """A `recomputing` frontier, with plans that move values to host memory where these take less time.

    As of every frontier no budget is looked at, and plans are made when they are asked for.
    """

    recomputing: Frontier
    offloading: Offloading
    candidates: list[_Candidate] = field(init=False)
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])
    _starts: dict[int, Plan] = field(default_factory=dict[int, Plan])

    def __post_init__(self) -> None:
        orders = self.recomputing.orders
        found = [_Candidate(i, None, order.cost, order.peak) for i, order in enumerate(orders)]
        if self.offloading.must_move:
            found.clear()
        last = len(orders) - 1
        workers = self.base.target.workers or 1
        for i in sorted({round(last * k / max(_STARTS - 1, 1)) for k in range(_STARTS)}):
            moved = choices(self._start(i), self.offloading)
            found += (_Candidate(i, one, orders[i].cost + one.exposed * workers, one.net_bytes) for one in moved)
        self.candidates = pareto(found)

    @property
    def base(self) -> Plan:
        """The plan that neither recomputes nor moves."""
        return self.recomputing.base

    def planned(self, i: int) -> Plan:
        """The plan of candidate `i`."""
        candidate = self.candidates[i]
        if candidate.moved is None:
            return self.recomputing.planned(candidate.start)
        if i not in self._plans:
            start = self._start(candidate.start)
            self._plans[i] = _replanned(start, with_transfers(start, candidate.moved.placed))
        return self._plans[i]

    def _start(self, i: int) -> Plan:
        """Candidate `i` of the recomputing frontier, from which values are moved."""
        if i not in self._starts:
            made = self.recomputing.planned(i)
            self._starts[i] = _replanned(made, updates_early(made.graph))
        return self._starts[i]

    def choice(self, i: int) -> Choice:
        """Candidate `i`."""
        candidate = self.candidates[i]
        start = self.recomputing.choice(candidate.start)
        if candidate.moved is None:
            return start
        planner = PLANNER if start.planner == "none" else f"{start.planner}, {PLANNER}"
        slowdown = candidate.cost / max(self.recomputing.time, 1.0)
        return replace(start, plan=self.planned(i), slowdown=slowdown, planner=planner, exposed=candidate.moved.exposed)

    def fastest_within(self, net_bytes: int) -> Choice | None:
        """The fastest plan known that needs at most so much beside what the step holds; None where there is none."""
        likely = (i for i, candidate in enumerate(self.candidates) if candidate.peak <= net_bytes)
        found = next((i for i in likely if self.planned(i).net_bytes <= net_bytes), None)
        if found is None and self.planned(self.last).net_bytes <= net_bytes:
            found = self.last
        return None if found is None else self.choice(found)

    def smallest(self) -> Choice:
        """The smallest plan."""
        return self.choice(self.last)

    @cached_property
    def last(self) -> int:
        """The candidate with the smallest plan."""
        count = len(self.candidates)
        return min(range(max(count - _ENDS, 0), count), key=lambda i: (self.planned(i).net_bytes, i))


def _replanned(made: Plan, graph: Graph) -> Plan:
    """The plan of another graph with the same loops."""
    if graph is made.graph:
        return made
    known = {body.graph: body for bodies in made.bodies.values() for body in bodies}
    return plan(graph, made.threads, True, known=known, target=made.target)
