"""The oracle of the planners: the cheapest order there is under a limit, by an integer program for few units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from gradloom.passes.remat.problem import Order, Problem, Run

# Nodes of the search after which the best order found so far is taken; a count, so that every search ends alike.
_NODES = 20


def cheapest(problem: Problem, limit: int, below: float = np.inf) -> Order | None:
    """The order with at most `limit` bytes alive that takes the least time of all whose repetitions take less than
    `below` nanoseconds; None where there is none.

    Before every unit's first run, in its *stage*, any units before it may run again, in their order (Jain et al.,
    Checkmate: Breaking the memory wall with optimal tensor rematerialization, 2020). Here a value's bytes follow from
    its making and its reads alone, so that only runs and what is kept from stage to stage are integers. They are about
    half the third power of the units: 32 units take seconds.
    """
    return _Program(problem, limit, below).solved()


@dataclass(frozen=True, slots=True)
class _Action:
    """What may be run again: the unit at `place`, to make `makes`."""

    place: int
    makes: tuple[int, ...]
    reads: tuple[int, ...]
    cost: float
    scratch: int


@dataclass
class _Program:
    problem: Problem
    limit: int
    below: float
    upper: list[float] = field(default_factory=list[float])
    lower: list[float] = field(default_factory=list[float])
    integral: list[bool] = field(default_factory=list[bool])
    weights: list[float] = field(default_factory=list[float])
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list[tuple[dict[int, float], float]])
    """Sums of variables by their factors, and what they are at most."""

    def __post_init__(self) -> None:
        problem = self.problem
        self.actions = list(_actions(problem))
        self.makers: dict[int, list[int]] = {}
        for i, action in enumerate(self.actions):
            for value in action.makes:
                self.makers.setdefault(value, []).append(i)
        count = len(problem.units)
        self.runs = [
            {i: self.variable(cost=a.cost) for i, a in enumerate(self.actions) if self.may_run(t, a)}
            for t in range(count)
        ]
        self.kept = [
            {v: self.variable(least=float(self.must_stay(t, v))) for v, m in enumerate(problem.maker) if m < t}
            for t in range(count + 1)
        ]
        for t in range(count):
            self.stage(t)
        if np.isfinite(self.below):
            dear = {j: w for j, w in enumerate(self.weights) if w}
            self.at_most(dear, self.below * (1 - 1e-6))

    def variable(self, cost: float = 0.0, least: float = 0.0, whole: bool = True) -> int:
        self.lower.append(least)
        self.upper.append(1.0)
        self.integral.append(whole)
        self.weights.append(cost)
        return len(self.weights) - 1

    def at_most(self, factors: dict[int, float], bound: float) -> None:
        self.rows.append((factors, bound))

    def may_run(self, stage: int, action: _Action) -> bool:
        return action.place < stage and all(self.problem.deadline[v] > stage for v in action.makes)

    def must_stay(self, stage: int, value: int) -> bool:
        """Whether `value` is there before `stage` in every order."""
        problem = self.problem
        if value in problem.lasting and (stage == len(problem.units) or problem.deadline[value] == 0):
            return True
        return problem.stays[value] and problem.last_use(value) >= stage

    def stage(self, t: int) -> None:
        """Everything up to the first run of the unit at `t` from what is kept before it."""
        problem, runs, kept, after = self.problem, self.runs[t], self.kept[t], self.kept[t + 1]
        for i, run in runs.items():
            for value in self.actions[i].reads:
                self.at_most({run: 1.0, kept[value]: -1.0} | self.made(t, value), 0.0)
            # No run is worth its time that makes what is there, or what nothing reads and nothing keeps.
            makes = self.actions[i].makes
            if len(makes) == 1:
                self.at_most({run: 1.0, kept[makes[0]]: 1.0}, 1.0)
            if not any(value in makes for value in problem.units[t].reads):
                readers = [j for k, j in runs.items() if any(v in self.actions[k].reads for v in makes)]
                keeps = [after[v] for v in makes]
                self.at_most({run: 1.0} | dict.fromkeys((*readers, *keeps), -1.0), 0.0)
        first = _Action(t, problem.units[t].makes, problem.units[t].reads, 0.0, problem.units[t].scratch)
        certain = self.variable(least=1.0)
        for value in first.reads:
            self.at_most({certain: 1.0, kept[value]: -1.0} | self.made(t, value), 0.0)
        for value, there in after.items():
            if value in kept:
                self.at_most({there: 1.0, kept[value]: -1.0} | self.made(t, value), 0.0)
        later = dict(after)  # what says that a value is alive after the step, from the last step to the first
        for run, action in reversed([*((run, self.actions[i]) for i, run in runs.items()), (certain, first)]):
            later = self.step(t, run, action, later)

    def step(self, t: int, run: int, action: _Action, later: dict[int, int]) -> dict[int, int]:
        """The bytes while `action` may run in stage `t`: what says that a value is alive then, from what says so for
        after it.
        """
        problem, kept = self.problem, self.kept[t]
        now: dict[int, int] = {}
        total: dict[int, float] = {run: float(action.scratch)} if action.scratch else {}
        for value, maker in enumerate(problem.maker):
            if maker > action.place and maker < t:
                now[value] = kept[value]  # nothing reads it before it could be made again
            elif maker <= action.place:
                now[value] = alive = self.variable(whole=False)
                if value in later:
                    self.at_most({later[value]: 1.0, alive: -1.0}, 0.0)
                if value in action.makes or value in action.reads:
                    self.at_most({run: 1.0, alive: -1.0}, 0.0)
            else:
                continue
            total[now[value]] = float(problem.sizes[value])
        for new, old in problem.units[action.place].over:
            if new in action.makes and old in action.reads:
                saved = self.variable(whole=False)
                total[saved] = -float(problem.sizes[new])
                self.at_most({saved: 1.0, run: -1.0}, 0.0)
                if old in later:
                    self.at_most({saved: 1.0, later[old]: 1.0}, 1.0)
        self.at_most(total, self.limit)
        return now

    def made(self, stage: int, value: int) -> dict[int, float]:
        """The runs again of a stage that make `value`, taken away."""
        return {self.runs[stage][i]: -1.0 for i in self.makers.get(value, ()) if i in self.runs[stage]}

    def solved(self) -> Order | None:
        # SciPy takes a while to import, and most programs solve nothing.
        from scipy.optimize import Bounds, LinearConstraint, milp  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
        from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs]

        factors = [(i, j, f) for i, (row, _) in enumerate(self.rows) for j, f in row.items()]
        rows, columns, numbers = (np.array(column) for column in zip(*factors, strict=True))
        # Bytes, ones and nanoseconds stand side by side: every row is divided by its largest factor.
        scale = np.array([1.0 / max((abs(f) for f in row.values()), default=1.0) for row, _ in self.rows])
        matrix = csr_array((numbers * scale[rows], (rows, columns)), (len(self.rows), len(self.weights)))
        bounds = np.array([bound for _, bound in self.rows]) * scale
        weights = np.array(self.weights)
        found = milp(
            weights / max(weights.max(initial=0.0), 1e-300),
            integrality=np.array(self.integral, int),
            bounds=Bounds(np.array(self.lower), np.array(self.upper)),  # pyright: ignore[reportArgumentType]
            constraints=LinearConstraint(matrix, -np.inf, bounds),  # pyright: ignore[reportArgumentType]
            options={"node_limit": _NODES, "mip_rel_gap": 0.0},
        )
        if found.x is None:  # pyright: ignore
            return None
        order = self.order([x > 0.5 for x in found.x])  # pyright: ignore
        return order if order.peak <= self.limit and order.cost < self.below else None

    def order(self, chosen: Sequence[bool]) -> Order:
        """The runs that the variables tell, without those that nothing reads."""
        problem = self.problem
        runs: list[Run] = []
        cost = 0.0
        for t, unit in enumerate(problem.units):
            alive = [False] * len(problem.sizes)
            for value, there in self.kept[t].items():
                alive[value] = bool(chosen[there])
            again: dict[int, list[int]] = {}
            for i, run in self.runs[t].items():
                if chosen[run]:
                    again.setdefault(self.actions[i].place, []).extend(self.actions[i].makes)
            for place, makes in again.items():
                reads, time = problem.recompute_inputs(place, tuple(makes), alive)
                runs.append(Run(place, tuple(dict.fromkeys(reads)), tuple(makes), True))
                cost += time
                for value in makes:
                    alive[value] = True
            runs.append(Run(t, unit.reads, unit.makes))
        return problem.order(runs, cost)


def _actions(problem: Problem) -> Iterable[_Action]:
    """One for each unit, or for each value that can be made by itself, that may be made again."""
    gone = [False] * len(problem.sizes)
    for place, unit in enumerate(problem.units):
        makes = [unit.makes] if unit.whole else [(v,) for v in unit.makes]
        for values in makes:
            if values and all(problem.deadline[v] and not problem.stays[v] for v in values):
                reads, cost = problem.recompute_inputs(place, values, gone)
                yield _Action(
                    place, values, tuple(dict.fromkeys(reads)), cost, problem.scratch(Run(place, reads, values))
                )
