"""The exact order is as cheap as the cheapest of all, found by trying them all."""

from __future__ import annotations

import heapq
from itertools import combinations

import numpy as np
import pytest
from exact_planner import cheapest
from gradloom.passes.remat.candidates import candidates
from gradloom.passes.remat.planners.eviction import evict
from gradloom.passes.remat.problem import Problem, Unit
from hypothesis import given, settings
from hypothesis import strategies as st

from ..test_from_plan import SIZE, chain


@pytest.mark.parametrize(
    ("layers", "values", "evaluations"),
    [
        *((4, 5, 9), (4, 4, 10), (4, 3, 11)),
        *((8, 16, 17), (8, 15, 17), (8, 9, 17), (8, 7, 19), (8, 5, 21), (8, 4, 22), (8, 3, 27)),
    ],
)
def test_chains_at_the_published_budgets(layers: int, values: int, evaluations: int):
    order = cheapest(chain(layers), values * SIZE)
    assert order is not None
    assert order.peak <= values * SIZE
    assert len(order.runs) == evaluations


def test_nothing_is_found_below_what_a_unit_needs():
    problem = chain(4)
    assert cheapest(problem, problem.floor() - 1) is None


def test_nothing_is_found_that_is_not_cheaper_than_what_is_known():
    problem = chain(8)
    assert cheapest(problem, 5 * SIZE, below=4.0) is None
    found = cheapest(problem, 5 * SIZE, below=4.5)
    assert found is not None
    assert found.cost == 4.0


def test_a_small_problem_has_an_order_that_eviction_alone_does_not_find():
    problem = chain(8)
    evicted = evict(problem, 3 * SIZE)
    assert evicted is not None
    assert evicted.peak == 3 * SIZE
    best = candidates(problem)[-1]
    assert best.peak == 3 * SIZE
    assert best.cost < evicted.cost


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Units that read the last value and often an older one; some make two, or one over what they read."""
    units: list[Unit] = []
    made: list[int] = []
    for _ in range(draw(st.integers(5, 7))):
        older = draw(st.lists(st.sampled_from(made), max_size=1)) if made else []
        reads = tuple(dict.fromkeys([*made[-1:], *older]))
        makes = tuple(range(len(made), len(made) + draw(st.sampled_from([1, 1, 1, 2]))))
        over = ((makes[0], reads[0]),) if reads and draw(st.booleans()) else ()
        scratch = draw(st.sampled_from([0, 0, SIZE, 3 * SIZE]))
        again = draw(st.integers(0, 5)) > 0
        units.append(Unit(float(draw(st.integers(1, 9))), reads, makes, scratch, over, again))
        made += makes
    sizes = [SIZE * draw(st.integers(1, 4)) for _ in made]
    lasting = frozenset(draw(st.lists(st.sampled_from(made), max_size=1)))
    # A value that is smaller than another one by far would always stay.
    return Problem(units, sizes, lasting, smallest=1)


def least_cost(problem: Problem, limit: int) -> float:
    """The time of the cheapest repetitions, by trying every order: Dijkstra's algorithm over what is there, before the
    first run of which unit, after which unit's run again.
    """
    end = len(problem.units)
    queue: list[tuple[float, int, int, tuple[int, ...]]] = [(0.0, 0, -1, ())]
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    while queue:
        cost, place, last, there = heapq.heappop(queue)
        if (place, last, there) in seen:
            continue
        seen.add((place, last, there))
        if place == end:
            return cost
        for i in range(last + 1, place + 1):
            unit = problem.units[i]
            if not set(unit.reads) <= set(there):
                continue
            if i < place and not all(problem.deadline[v] > place for v in unit.makes):
                continue
            alive = sorted({*there, *unit.makes})
            needed = sum(problem.sizes[v] for v in alive) + unit.scratch
            for count in range(len(alive) + 1):
                for after in combinations(alive, count):
                    saved = sum(problem.sizes[new] for new, old in unit.over if old not in after)
                    if needed - saved > limit or (i == end - 1 and not problem.lasting <= set(after)):
                        continue
                    again = i < place
                    step = (cost + unit.cost, place, i, after) if again else (cost, place + 1, -1, after)
                    heapq.heappush(queue, step)
    return np.inf


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from([0.0, 0.0, 0.2, 0.5]))
def test_no_order_is_cheaper(problem: Problem, share: float):
    most = problem.order(problem.first_runs(), 0.0).peak
    limit = problem.floor() + int((most - problem.floor()) * share)
    order = cheapest(problem, limit)
    least = least_cost(problem, limit)
    assert (order is None) == np.isinf(least)
    if order is not None:
        assert order.peak <= limit
        assert order.cost == pytest.approx(least)
