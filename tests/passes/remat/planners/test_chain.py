"""Chains are recomputed at the least cost that is known, and whatever is no chain is still recomputed soundly."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest
from exact_planner import cheapest
from gradloom.ir import Graph
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.remat.candidates import candidates
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.remat.planners.chain import Chain
from gradloom.passes.remat.planners.eviction import evict
from gradloom.passes.remat.problem import Problem, Run, Unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_steps import backward_graphs, net_steps, step_graphs
from same_bits import assert_same_values

from ..test_from_plan import SIZE, chain
from .test_exact_planner import problems


def revolve(steps: int, checkpoints: int) -> int:
    """The fewest steps forward that reverse so many steps with so many checkpoints, the first state among them
    (Griewank and Walther, Algorithm 799: revolve, 2000).
    """
    repeats = 0
    while comb(checkpoints + repeats, checkpoints) < steps:
        repeats += 1
    return repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


@pytest.mark.parametrize("layers", [8, 32, 64, 128])
def test_chains_take_no_more_than_revolve(layers: int):
    # The first state is the caller's. Beside the others that are kept stand a gradient, and the two ends of a step.
    orders = Chain(chain(layers)).orders(1000)
    for checkpoints in range(2, layers // 2):
        values = checkpoints - 1 + 3
        again = revolve(layers + 1, checkpoints) - layers
        assert min(o.cost for o in orders if o.peak <= values * SIZE) <= again


@pytest.mark.parametrize(("values", "cost"), [(8, 232), (12, 169), (16, 113)])
def test_long_chains_are_cheaper_than_by_eviction(values: int, cost: int):
    problem = chain(128)
    found = min(o.cost for o in Chain(problem).orders(1000) if o.peak <= values * SIZE)
    evicted = evict(problem, values * SIZE)
    assert evicted is not None
    assert found == cost < evicted.cost


def test_candidates_are_those_of_the_chain_where_these_are_better():
    problem = chain(128)
    best = {o.peak: o.cost for o in candidates(problem)}
    assert min(cost for peak, cost in best.items() if peak <= 16 * SIZE) <= 113


def block_chain(blocks: int) -> Problem:
    """Blocks of three units, whose inner values are larger than what they hand on; the backward of a block reads all
    that it has made and writes over the gradient.
    """
    units: list[Unit] = []
    sizes: list[int] = []
    inner: list[tuple[int, ...]] = []
    last: tuple[int, ...] = ()
    for _ in range(blocks):
        a, b, c = range(len(sizes), len(sizes) + 3)
        units += [Unit(1.0, last, (a,)), Unit(1.0, (a,), (b,)), Unit(1.0, (b,), (c,))]
        sizes += [4 * SIZE, 4 * SIZE, SIZE]
        inner.append((*last, a, b))
        last = (c,)
    for values in reversed(inner):
        gradient = len(sizes)
        units.append(Unit(2.0, (*last, *values), (gradient,)))
        sizes.append(SIZE)
        last = (gradient,)
    return Problem(units, sizes)


def test_blocks_are_made_again_one_at_a_time_from_what_they_hand_on():
    problem = block_chain(16)
    orders = Chain(problem).orders(100)
    # One more forward of each block but the last, which is there, and no more than its own values at a time.
    cheap = min(o.peak for o in orders if o.cost <= 16 * 3)
    assert cheap <= (15 + 8 + 3) * SIZE
    assert min(o.peak for o in orders) < cheap


def parting_chain(layers: int) -> Problem:
    """A chain whose backward first makes the gradient of what a layer reads, and then multiplies it by what the layer
    has made, while the gradient that it came from waits for that of the weights.
    """
    units = [Unit(1.0, (i - 1,) if i else (), (i,)) for i in range(layers + 1)]
    gradient = layers
    for layer in reversed(range(layers)):
        new = gradient + 1
        units.append(Unit(1.0, (gradient,), (new,)))
        units.append(Unit(1.0, (new, layer), (new + 1,), over=((new + 1, new),)))
        units.append(Unit(1.0, (gradient, new + 1), ()))
        gradient = new + 1
    return Problem(units, [SIZE] * (gradient + 1))


@pytest.mark.parametrize("layers", [4, 6])
def test_stages_run_again_before_one_gradient_becomes_two_as_in_the_optimum(layers: int):
    problem = parting_chain(layers)
    early, late = (Chain(problem, early).orders(100) for early in (True, False))
    for values in range(3, layers + 1):
        best = cheapest(problem, values * SIZE)
        assert best is not None
        assert min(o.cost for o in early if o.peak <= values * SIZE) == pytest.approx(best.cost)
    assert min(o.peak for o in early) == 3 * SIZE < min(o.peak for o in late)


def replayed(problem: Problem, runs: tuple[Run, ...]) -> None:
    """Everything is made before it is read, first runs stand in their order, and nothing is made again too late."""
    there: set[int] = set()
    firsts = [run.unit for run in runs if not run.is_recompute]
    assert firsts == list(range(len(problem.units)))
    place = -1
    for run in runs:
        assert there.issuperset(run.reads)
        if run.is_recompute:
            assert all(problem.deadline[v] > place + 1 for v in run.makes)
        else:
            place = run.unit
        there.update(run.makes)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(problems(), *(st.integers(3, 20).map(make) for make in (chain, block_chain, parting_chain))),
    st.booleans(),
)
def test_every_order_can_be_run(problem: Problem, early: bool):
    for order in Chain(problem, early).orders(5):
        replayed(problem, order.runs)
        assert order.peak == problem.order(order.runs, 0.0).peak


def test_fewer_bytes_take_more_time():
    orders = sorted(Chain(chain(64)).orders(1000), key=lambda o: -o.peak)
    assert all(a.cost <= b.cost for a, b in pairwise(orders))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.one_of(step_graphs(), backward_graphs(), net_steps(), net_steps()))
def test_any_order_gives_the_same_values_and_a_sound_plan(graph: Graph):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    problem = graph_problem(base, smallest=8)
    assert_same_values(base, problem, Chain(problem).orders(3))
