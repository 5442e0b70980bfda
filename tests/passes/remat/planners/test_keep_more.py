"""Orders are made to keep more of what they make again, as far as there is room."""

from __future__ import annotations

import pytest
from gradloom.ir import Graph, interpret
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.remat.planners.eviction import evict
from gradloom.passes.remat.planners.keep_more import kept_more
from gradloom.passes.remat.problem import Problem, Run, Unit, peak
from gradloom.passes.verify.plan import check_plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import random_inputs
from random_steps import backward_graphs, net_steps, step_graphs

from ..test_from_plan import SIZE, chain
from .test_chain import replayed
from .test_exact_planner import problems


@given(problems(), st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_more_room_never_costs_more(problem: Problem, share: float):
    most = problem.order(problem.first_runs(), 0.0).peak
    start = evict(problem, problem.floor() + int(share * (most - problem.floor())))
    if start is None:
        return
    limits = [start.peak + (most - start.peak) * i // 4 for i in range(5)] if start.peak < most else [most]
    orders = kept_more(problem, start, limits)
    for order, limit in zip(orders, limits):
        replayed(problem, order.runs)
        assert peak(problem, order.runs) <= order.peak <= max(limit, start.peak)
        assert order.cost == pytest.approx(sum(problem.units[run.unit].cost for run in order.runs if run.is_recompute))
    assert all(b.cost <= a.cost for a, b in zip([start, *orders], orders))


def test_where_all_has_room_nothing_is_made_again():
    problem = chain(12)
    start = evict(problem, 6 * SIZE)
    assert start is not None
    assert start.cost > 0
    (order,) = kept_more(problem, start, [20 * SIZE])
    assert order.cost == 0


def test_what_saves_most_for_its_bytes_is_kept():
    # 0 takes longer to make than 1, which is larger, and 2 as long as 1; there is room for one of them.
    units = [*(Unit(cost, (), (v,)) for v, cost in enumerate((5.0, 3.0, 3.0))), Unit(1.0, (), (3,))]
    units += [Unit(1.0, (v, v + 3), (v + 4,)) for v in range(3)]
    problem = Problem(units, [SIZE, 2 * SIZE, SIZE, 3 * SIZE, SIZE, SIZE, SIZE])
    again = [Run(v, (), (v,), True) for v in range(3)]
    first = problem.first_runs()
    start = problem.order([*first[:4], *(run for pair in zip(again, first[4:]) for run in pair)], 11.0)
    (order,) = kept_more(problem, start, [start.peak])
    assert [run.unit for run in order.runs if run.is_recompute] == [1, 2]


def test_what_only_a_run_left_out_reads_is_not_made_again():
    units = [Unit(1.0, (), (0,)), Unit(4.0, (0,), (1,)), Unit(1.0, (), (2,)), Unit(1.0, (1, 2), (3,))]
    problem = Problem(units, [SIZE, SIZE, 2 * SIZE, SIZE])
    first = problem.first_runs()
    again = [Run(0, (), (0,), True), Run(1, (0,), (1,), True)]
    start = problem.order([*first[:3], *again, first[3]], 5.0)
    (order,) = kept_more(problem, start, [5 * SIZE])
    assert order.runs == tuple(first)
    assert order.cost == 0


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(step_graphs(), backward_graphs(), net_steps()))
def test_what_is_kept_gives_the_same_values_and_a_sound_plan(graph: Graph):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    problem = graph_problem(base, smallest=8)
    start = evict(problem, problem.floor())
    if start is None or not start.cost:
        return
    most = problem.order(problem.first_runs(), 0.0).peak
    arrays = random_inputs(graph)
    expected = interpret(base.graph, *arrays)
    for order in kept_more(problem, start, [start.peak, (start.peak + most) // 2]):
        made = plan(problem.realized(order.runs, {}), base.threads, outputs_in_arena=True)
        check_plan(made)
        for a, b in zip(expected, interpret(made.graph, *arrays), strict=True):
            assert a.tobytes() == b.tobytes()
