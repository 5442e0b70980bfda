"""Repeated blocks are solved once for each distinct one, and combined as well as a program of the whole would."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from exact_planner import cheapest
from gradloom import spec, trace, value_and_grad
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph
from gradloom.passes.budget import StepPlanner
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.remat.candidates import candidates
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.remat.frontier import Frontier
from gradloom.passes.remat.planners import blocks as blocks_planner
from gradloom.passes.remat.planners.blocks import Blocks
from gradloom.passes.remat.planners.chain import Chain
from gradloom.passes.remat.problem import Problem, Unit
from gradloom.passes.variants import variant_plans
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_steps import backward_graphs, net_steps, step_graphs
from same_bits import assert_same_values

from ..test_from_plan import SIZE, chain
from .test_chain import block_chain, parting_chain, replayed
from .test_exact_planner import problems

# A layer: the times of its units, and the values' bytes. Each unit reads the one before it.
ATTENTION = ((3.0, 1), (9.0, 1), (1.0, 4), (2.0, 1))


def layers(*kinds: Sequence[tuple[float, int]]) -> Problem:
    """Layers of units in a row, each with a backward that reads all that the layer made and was given."""
    units: list[Unit] = []
    sizes: list[int] = []
    read: list[tuple[int, ...]] = []
    last: tuple[int, ...] = ()
    for kind in kinds:
        first = len(sizes)
        inputs = last
        for cost, size in kind:
            units.append(Unit(cost, last, (len(sizes),)))
            last = (len(sizes),)
            sizes.append(size * SIZE)
        read.append((*inputs, *range(first, len(sizes) - 1)))
    for values in reversed(read):
        units.append(Unit(4.0, (*last, *values), (len(sizes),)))
        last = (len(sizes),)
        sizes.append(SIZE)
    return Problem(units, sizes)


def blocks(problem: Problem) -> Blocks:
    return Blocks(Chain(problem, early=False))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_equal_layers_run_again_as_in_the_optimum_of_the_whole(count: int):
    problem = layers(*[ATTENTION] * count)
    orders = blocks(problem).orders(100)
    # With less room, layers run again for each other, and more of what is handed on goes than segments tell.
    wide = [order for order in orders if order.peak >= (5 * count - 3) * SIZE]
    assert len(wide) >= 3
    for order in wide:
        best = cheapest(problem, order.peak)
        assert best is not None
        assert order.cost == pytest.approx(best.cost)


def test_what_is_dear_for_its_bytes_is_kept():
    # There is room for one unit of bytes a layer: for what takes 9 and not 3, and all else is made again.
    problem = layers(*[ATTENTION] * 4)
    order = min((o for o in blocks(problem).orders(100) if o.peak <= 17 * SIZE), key=lambda o: o.cost)
    assert {problem.units[run.unit].cost for run in order.runs if run.is_recompute} == {1.0}


def test_candidates_are_those_of_blocks_where_these_are_better(monkeypatch: pytest.MonkeyPatch):
    problem = layers(*[((3.0, 3), (9.0, 2), (1.0, 4), (7.0, 3), (2.0, 1))] * 16)
    found = candidates(problem)
    monkeypatch.setattr(Blocks, "orders", lambda *_: [])
    others = candidates(problem)
    assert all(min(o.cost for o in found if o.peak <= other.peak) <= other.cost for other in others)
    assert any(min(o.cost for o in found if o.peak <= other.peak) < other.cost for other in others)


@pytest.mark.slow
def test_without_blocks_gpt2_medium_takes_a_point_more_time_within_some_budget(monkeypatch: pytest.MonkeyPatch):
    zoo = runpy.run_path(str(Path(gl.__file__).parent / "examples/zoo/gpt2_small.py"))
    planner = StepPlanner(trace_step(*zoo["ingredients"](1024, 16, 24, rows=8)).graph, 2)
    found = planner.frontier
    monkeypatch.setattr(Blocks, "orders", lambda *_: [])
    without = Frontier(planner.base, variant_plans(planner.stages, planner.base, planner.preparation))
    more: list[float] = []
    for order in without.orders:
        fits = next((o for o in found.orders if o.peak <= order.peak), None)
        if fits is not None:
            more.append((order.cost - fits.cost) / found.time)
    assert max(more) > 0.01


def test_each_distinct_segment_is_solved_once(monkeypatch: pytest.MonkeyPatch):
    original = blocks_planner._Program._cheapest  # pyright: ignore[reportPrivateUsage]
    programs = 0

    def counted(*args: Any) -> Any:
        nonlocal programs
        programs += 1
        return original(*args)

    monkeypatch.setattr(blocks_planner._Program, "_cheapest", counted)  # pyright: ignore[reportPrivateUsage]
    blocks(layers(*[ATTENTION] * 12)).orders(10)
    few, programs = programs, 0
    blocks(layers(*[ATTENTION] * 24)).orders(10)
    assert 0 < programs == few


@pytest.mark.parametrize(
    "problem",
    [
        layers(ATTENTION),
        layers(ATTENTION, ATTENTION),
        layers(*[tuple((float(i + j), i + 1) for j in range(4)) for i in range(5)]),
        Problem([Unit(1.0, (), (0,)), Unit(1.0, (0,), (1,))], [SIZE, SIZE]),
    ],
    ids=["one layer", "two layers", "no two layers alike", "no backward"],
)
def test_where_nothing_repeats_there_are_no_blocks(problem: Problem):
    assert blocks(problem).borders == []
    assert blocks(problem).orders(10) == []


def test_a_layer_that_differs_is_solved_by_itself():
    other = (*ATTENTION, (1.0, 6))
    problem = layers(*[ATTENTION] * 3, other, *[ATTENTION] * 3)
    orders = blocks(problem).orders(40)
    assert orders
    for order in orders:
        replayed(problem, order.runs)
    # One value of four in each of the equal layers, and the last of six in the other, take the least time.
    assert any(run.is_recompute and problem.sizes[run.makes[0]] == 6 * SIZE for order in orders for run in order.runs)


def test_layers_too_large_for_a_program_are_kept_whole():
    problem = layers(*[[(float(i), 1) for i in range(100)]] * 4)
    assert all(order.cost == 0 for order in blocks(problem).orders(10))


def test_orders_are_the_same_each_time():
    problem = layers(*[ATTENTION] * 8)
    assert blocks(problem).orders(20) == blocks(problem).orders(20)


@settings(max_examples=50, deadline=None)
@given(st.one_of(problems(), *(st.integers(3, 20).map(make) for make in (chain, block_chain, parting_chain))))
def test_every_order_can_be_run(problem: Problem):
    for order in blocks(problem).orders(5):
        replayed(problem, order.runs)
        assert order.peak == problem.order(order.runs, 0.0).peak


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.one_of(step_graphs(), backward_graphs(), net_steps(), net_steps()))
def test_any_order_gives_the_same_values_and_a_sound_plan(graph: Graph):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    problem = graph_problem(base, smallest=8)
    assert_same_values(base, problem, blocks(problem).orders(3))


def test_a_net_of_equal_layers_gives_the_same_values():
    def net(x: Any, *weights: Any) -> Any:
        for w in weights:
            x = x + np.tanh(np.exp(-((x @ w) ** 2)))
        return (x * x).sum()

    graph = trace(value_and_grad(net, argnums=(1, 2, 3, 4, 5, 6)), *[spec((16, 16), "float64")] * 7)
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    problem = graph_problem(base, smallest=8)
    orders = blocks(problem).orders(10)
    assert any(order.cost > 0 for order in orders)
    assert_same_values(base, problem, orders)
