"""Plans of one step from the fastest to the smallest, found once and picked by budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...ir import Graph, Node
from ..graph.structural_key import attr_key
from ..kernels.cost import iterations, node_nanoseconds
from ..memory.plan import Plan, plan
from ..ranks.traffic import traffic
from ..tiling.batch import SmallerTile
from ..tiling.parallel_loops import parallel_iterations
from .candidates import candidates, pareto
from .from_plan import GraphProblem, graph_problem, recompute_flops
from .planners.eviction import evict
from .problem import Order, Run

# The name of what is no variant.
_DEFAULT = "default"
# Candidates among which the smallest arena is looked for.
_ENDS = 3
_LARGE = 1000
# Loops whose bodies take more than this part of the arena have plans of their own, in shares of what they take: as many
# as the largest of them has plans, but no more than what runs around them has room for, in units looked at.
_WORTH_LOOKING = 20
_SHARES = (8, 96)
_UNITS_LOOKED_AT = 32_000
# Of variants of more units than these a walk for each of some limits, parts of the bytes alive without recomputing,
# tells whether they lead anywhere: not where another one takes so many times less of added time within each of them.
_WORTH_PROBING = 400
_PROBES = (0.85, 0.6, 0.4, 0.25, 0.12)
_MUCH_LESS = 1.5


@dataclass(frozen=True)
class Choice:
    """A plan, and the part of the step's time that it adds by recomputing.

    `planner` names what found it, see `PLANNERS`, and `variant` the pipeline that it comes from; `tile` is the smaller
    tile of the batch in which it runs, if it does.
    """

    plan: Plan
    slowdown: float
    planner: str = "none"
    variant: str = "default"
    tile: SmallerTile | None = None
    scheduled: Graph | None = None
    """The graph without what the planner recomputes; None where that is the plan's."""
    exposed: float = 0.0
    """Nanoseconds that units wait for transfers, a part of what it adds."""


@dataclass(frozen=True)
class _Candidate:
    """An order of the units of a source, and the orders inside of its loops.

    `cost` is the time in nanoseconds that it takes more than the plan without a budget, `flops` are those that it
    recomputes.
    """

    source: _Source
    order: Order
    bodies: Mapping[Node, int]
    cost: float
    flops: int

    @property
    def peak(self) -> int:
        """The most bytes alive at once."""
        return self.order.peak


@dataclass(eq=False)
class _Source:
    """The plan of one variant, whose units may be recomputed. Its loops and branches have frontiers, equal ones one of
    all.
    """

    variant: str
    base: Plan
    copies: int
    nested: bool
    known: dict[Any, Frontier]
    """Frontiers of bodies by what they compute."""
    problem: GraphProblem = field(init=False)

    def __post_init__(self) -> None:
        self.problem = graph_problem(self.base)
        time = sum(node_nanoseconds(node, self.base.target) for node in self.base.graph.nodes)
        self.time = time + _barrier_time(self.base) + _waiting_time(self.base)
        self.flops = recompute_flops(self.base.graph)
        self.loops = {
            node: self._frontier(body, self._copies(node))
            for node, body in ((node, self._widest(node)) for node in self.base.bodies)
            if body.arena_bytes * _WORTH_LOOKING > self.base.arena_bytes
        }
        self._like: dict[Node, _Source] = {}

    def _widest(self, node: Node) -> Plan:
        """The plan of the body of a loop, or of the branch that takes the most memory."""
        return max(self.base.bodies[node], key=lambda body: body.arena_bytes)

    def _copies(self, loop: Node) -> int:
        """How many of the body of a loop may run at a time."""
        return self.copies if self.nested else parallel_iterations(loop)

    def _frontier(self, body: Plan, copies: int) -> Frontier:
        # What units need besides their values differs a little with the copies: orders are as good for all.
        key = attr_key(body.graph)
        if key not in self.known:
            self.known[key] = Frontier(body, copies=copies, nested=True, known=self.known)
        return self.known[key]

    def candidates(self, time: float, most: int) -> list[_Candidate]:
        """Orders worth looking at; their costs are those beyond a plan that takes `time` and has `most` bytes alive."""
        found: list[_Candidate] = []
        for bodies in self._choices_of_bodies():
            problem, cost = self._with_bodies(bodies)
            more = {node: self.loops[node].more_flops(k) for node, k in bodies.items()}
            # All that is gathered once and kept may be many times what is alive where it is gathered again.
            for order in candidates(problem, most if problem.gathers else math.inf):
                added = max(order.cost + cost + self.time - time, 0.0)
                flops = self.flops + problem.recompute_flops(order.runs, more)
                found.append(_Candidate(self, order, bodies, added, flops))
        return found

    def _choices_of_bodies(self) -> list[dict[Node, int]]:
        """The same share of memory for every loop, from all of it to the least."""
        result: list[dict[Node, int]] = [dict.fromkeys(self.loops, 0)]
        for share in self._shares():
            bodies = {node: loop.likely_within(share * loop.base.arena_bytes) for node, loop in self.loops.items()}
            if bodies != result[-1]:
                result.append(bodies)
        return result

    def _shares(self) -> list[float]:
        """Parts of its memory that the largest loop takes with some of its plans, down to nothing."""
        if not self.loops:
            return []
        largest = max(self.loops.values(), key=lambda loop: loop.base.arena_bytes)
        last = len(largest.orders) - 1
        fewest, most = _SHARES
        count = min(max(_UNITS_LOOKED_AT // len(self.problem.units), fewest), most, last)
        picked = sorted({round(last * i / count) for i in range(1, count)}) if count else []
        return [*(largest.likely_bytes(k) / largest.base.arena_bytes for k in picked), 0.0]

    def _with_bodies(self, bodies: Mapping[Node, int]) -> tuple[GraphProblem, float]:
        """The problem with the scratch that these bodies take, and the time that they add."""
        units = list(self.problem.units)
        total = 0.0
        for place, node in enumerate(self.problem.nodes):
            if not bodies.get(node):
                continue
            loop = self.loops[node]
            extra = loop.orders[bodies[node]].cost * iterations(node)
            total += extra
            # Concurrent iterations have an arena each.
            widest = self._widest(node)
            arenas = units[place].scratch // max(self.base.target.round_to_line(widest.arena_bytes), 1)
            others = [body.arena_bytes for body in self.base.bodies[node] if body is not widest]
            scratch = self.base.target.round_to_line(max(loop.likely_bytes(bodies[node]), *others, 0)) * arenas
            units[place] = replace(units[place], scratch=scratch, cost=units[place].cost + extra)
        return replace(self.problem, units=units), total

    def planned(self, runs: Sequence[Run], bodies: Mapping[Node, int]) -> Plan:
        """The plan that runs these units, with candidates for the bodies of loops."""
        base = self.base
        plans = {node: self._bodies(node, k) for node, k in bodies.items()}
        graph = self.problem.realized(runs, {node: [body.graph for body in made] for node, made in plans.items()})
        known = {body.graph: body for made in (*base.bodies.values(), *plans.values()) for body in made}
        return plan(graph, base.threads, not self.nested, self.copies, self.nested, known, base.target)

    def _bodies(self, node: Node, k: int) -> list[Plan]:
        """The plans of the bodies of a node, of the widest one candidate `k`."""
        widest = self._widest(node)
        return [self._body(node, k) if body is widest else body for body in self.base.bodies[node]]

    def _body(self, node: Node, k: int) -> Plan:
        """Candidate `k` for the widest body of a node."""
        loop, body = self.loops[node], self._widest(node)
        if body is loop.base:
            return loop.planned(k)
        if k == 0:
            return body
        # The same orders in a body that is equal, but comes from elsewhere.
        if node not in self._like:
            self._like[node] = _Source(self.variant, body, self._copies(node), True, self.known)
        candidate = loop.orders[k]
        chosen = {twin: candidate.bodies.get(one, 0) for one, twin in zip(loop.base.graph.nodes, body.graph.nodes)}
        like = self._like[node]
        return like.planned(candidate.order.runs, {inner: chosen[inner] for inner in like.loops})


def _promising(sources: Sequence[_Source], time: float, peak: int) -> list[_Source]:
    """The sources in which orders are looked for, where the first one takes `time` and has `peak` bytes alive.

    All planners look at a source for many limits, which in a large graph takes seconds. A few walks tell which source
    leads nowhere: another one has no larger floor, and adds much less time within every limit.
    """
    probed = [s for s in sources if len(s.problem.units) > _WORTH_PROBING and not s.loops and not s.problem.gathers]
    if len(probed) < 2:
        return list(sources)
    floors = {source: source.problem.floor() for source in probed}
    added = {source: _added(source, time, peak) for source in probed}
    left = list(sources)
    for source in reversed(probed):
        for other in probed:
            much_less = (a * _MUCH_LESS <= b for a, b in zip(added[other], added[source]))
            known = other is not source and other in left and math.isfinite(added[other][0])
            if known and floors[other] <= floors[source] and all(much_less):
                left.remove(source)
                break
    return left


def _added(source: _Source, time: float, peak: int) -> list[float]:
    """The nanoseconds beyond `time` that a source takes within parts of `peak`, by one walk for each; infinitely many
    where that finds no order.
    """
    added: list[float] = []
    for limit in (int(part * peak) for part in _PROBES):
        # Where a walk came to no end, none does under a tighter limit.
        order = evict(source.problem, limit) if not added or math.isfinite(added[-1]) else None
        added.append(math.inf)
        if order is not None and order.peak <= limit:
            added[-1] = max(order.cost + source.time - time, 0.0)
    return added


def _barrier_time(plan: Plan) -> float:
    """Nanoseconds of one core that workers lose at barriers, where they share iterations that could be concurrent."""
    count = sum(n.attrs["length"] * _barriers(plan.bodies[n][0]) for n in plan.bodies if "in_turn" in n.attrs)
    return plan.threads * plan.target.barrier_ns * count


def _waiting_time(plan: Plan) -> float:
    """Nanoseconds of one core that workers lose as they wait for messages."""
    if all(node.op.on_ranks is None for node in plan.graph.nodes):
        return 0.0
    return plan.threads * traffic(plan.graph, plan.threads, plan.target).exposed_nanoseconds


def _barriers(body: Plan) -> int:
    """The barriers of an iteration whose units workers share."""
    inside = (iterations(n) * max(map(_barriers, bodies)) for n, bodies in body.bodies.items())
    return len(body.phases) + sum(inside)


def _rising(found: Sequence[_Candidate]) -> list[_Candidate]:
    """Of candidates from the fastest to the smallest, a chain in which operations rise as bytes fall: the chain that
    takes the least time, in the mean over the logarithms of all budgets. The first and the last are always in it.

    The fastest order within a budget may recompute more operations than that of a smaller budget, where these are
    cheap; a user who grants memory expects fewer. A shortest path over the candidates finds the chain.
    """
    found = [c for i, c in enumerate(found) if i == 0 or c.peak < found[0].peak]
    best: list[tuple[float, int]] = [(0.0, -1)]
    for i, candidate in enumerate(found[1:], 1):
        ways = (
            (best[j][0] + candidate.cost * math.log(before.peak / max(candidate.peak, 1)), j)
            for j, before in enumerate(found[:i])
            if j == 0 or before.flops <= candidate.flops
        )
        best.append(min(ways))
    kept: list[_Candidate] = []
    i = len(found) - 1
    while i >= 0:
        kept.append(found[i])
        i = best[i][1]
    return kept[::-1]


@dataclass
class Frontier:
    """The plans of a step that are worth having: each needs fewer bytes than the one before, and more time.

    Candidates are found by their bytes alive, in `base` and in `others`, the plans of variants by name. No budget is
    looked at. Arenas are planned when they are asked for. A budget takes the first candidate that fits; since their
    order is fixed, more memory never leads to more time. Loops have frontiers of their own, whose plans are tried
    together with those of what is around them.
    """

    base: Plan
    others: Mapping[str, Plan] = field(default_factory=dict[str, Plan])
    copies: int = 1
    nested: bool = False
    """As `plan` was told for `base`; outputs of what is not nested live in the arena."""
    known: dict[Any, Frontier] = field(default_factory=dict[Any, "Frontier"], repr=False)
    """Frontiers of bodies by what they compute."""
    orders: list[_Candidate] = field(init=False)
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])

    def __post_init__(self) -> None:
        plans = [(_DEFAULT, self.base), *self.others.items()]
        sources = [_Source(name, p, self.copies, self.nested, self.known) for name, p in plans]
        first, self.time = sources[0], sources[0].time
        unbounded = first.problem.order(first.problem.first_runs(), 0.0)
        promising = _promising(sources, self.time, unbounded.peak)
        found = [c for source in promising for c in source.candidates(self.time, unbounded.peak)]
        start = _Candidate(first, unbounded, dict.fromkeys(first.loops, 0), 0.0, first.flops)
        self.orders = _rising([start, *pareto(found)])

    def more_flops(self, i: int) -> int:
        """Operations of candidate `i` beyond those of the plan without recomputing."""
        return self.orders[i].flops - self.orders[0].flops

    def planned(self, i: int) -> Plan:
        """The plan of candidate `i`; 0 is the one without recomputing."""
        if i == 0:
            return self.base
        if i not in self._plans:
            candidate = self.orders[i]
            self._plans[i] = candidate.source.planned(candidate.order.runs, candidate.bodies)
        return self._plans[i]

    def choice(self, i: int) -> Choice:
        """Candidate `i`."""
        slowdown = self.orders[i].cost / max(self.time, 1.0)
        source = self.orders[i].source
        return Choice(self.planned(i), slowdown, self.planner(i), source.variant, scheduled=source.base.graph)

    def planner(self, i: int) -> str:
        """What found candidate `i`: the planner of its order, and those of the loops inside of it."""
        own, inner = self.orders[i].order.planner, sorted(self._planners_of_loops(i))
        told = [*([] if own == "none" else [own]), *(f"{name} in loops" for name in inner)]
        return ", ".join(told) or "none"

    def _planners_of_loops(self, i: int) -> set[str]:
        found: set[str] = set()
        for node, k in self.orders[i].bodies.items():
            loop = self.orders[i].source.loops[node]
            found |= {loop.orders[k].order.planner} - {"none"} | loop._planners_of_loops(k)
        return found

    def fastest_within(self, arena_bytes: int) -> Choice | None:
        """The fastest plan known whose arena is at most so large; None where there is none."""
        i = self.index_within(arena_bytes)
        return None if i is None else self.choice(i)

    def index_within(self, arena_bytes: int) -> int | None:
        """The number of the fastest candidate whose arena is at most so large."""
        if self.base.arena_bytes <= arena_bytes:
            return 0
        # What is alive at once mostly tells the size of the arena.
        likely = (i for i in range(1, len(self.orders)) if self.orders[i].peak <= arena_bytes)
        found = next((i for i in likely if self.planned(i).arena_bytes <= arena_bytes), None)
        if found is None and self.planned(self.last).arena_bytes <= arena_bytes:
            return self.last
        return found

    def likely_bytes(self, i: int) -> int:
        """The arena that candidate `i` would have if all arenas were as much larger as what is alive at once as the
        first one's.
        """
        return self.orders[i].peak * self.base.arena_bytes // max(self.orders[0].peak, 1)

    def likely_within(self, arena_bytes: float) -> int:
        """The number of the fastest candidate whose arena is likely to be at most so large; the last where none is."""
        likely = (i for i in range(len(self.orders)) if self.likely_bytes(i) <= arena_bytes)
        return next(likely, len(self.orders) - 1)

    def smallest(self) -> Choice:
        """The smallest plan."""
        return self.choice(self.last)

    @cached_property
    def last(self) -> int:
        """The candidate with the smallest arena: one of the last, whose bytes alive differ little."""
        count = len(self.orders)
        ends = _ENDS if len(self.orders[0].source.problem.units) <= _LARGE else 1
        return min(range(max(count - ends, 0), count), key=lambda i: (self.planned(i).arena_bytes, i))
