"""What is computed again comes out the same, and an order keeps its limit at little cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import OPS, Builder, Graph, Node, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.nn import functional as F
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import Stages, pipeline, preparation, run_passes
from gradloom.passes.remat.candidates import pareto
from gradloom.passes.remat.from_plan import graph_problem, recompute_flops
from gradloom.passes.remat.frontier import Frontier
from gradloom.passes.remat.planners.eviction import Guide, evict
from gradloom.passes.remat.planners.segments import Segments
from gradloom.passes.remat.problem import Problem, Run, Unit, peak, without_dead_runs
from gradloom.passes.variants import variant_plans
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import random_inputs
from random_steps import backward_graphs, net_steps, step_graphs
from small_target import SMALL_TARGET

SIZE = 1000


def chain(n: int) -> Problem:
    """n layers, the loss, and their backward, each of cost 1 and size 1: layer i reads layer i - 1, its gradient what
    layer i reads made, and is written over the gradient that it reads.
    """
    units: list[Unit] = []
    for i in range(2 * n + 1):
        reads = [i - 1] if i else []
        if i > n:
            reads.append(2 * n - i)
        units.append(Unit(1.0, tuple(reads), (i,), over=((i, i - 1),) if i > n else ()))
    return Problem(units, [SIZE] * len(units))


@pytest.mark.parametrize(
    ("layers", "values", "evaluations"),
    [
        *((4, 5, 10), (4, 4, 10), (4, 3, 11)),
        *((8, 16, 17), (8, 15, 17), (8, 9, 18), (8, 7, 19), (8, 5, 21), (8, 4, 22)),
    ],
)
def test_chains_are_recomputed_as_little_as_the_known_optimum(layers: int, values: int, evaluations: int):
    problem = chain(layers)
    order = evict(problem, values * SIZE)
    assert order is not None
    assert order.peak <= values * SIZE
    assert len(order.runs) <= evaluations
    assert order.cost == len(order.runs) - (2 * layers + 1)


def test_a_long_chain_fits_twice_its_square_root_at_one_more_forward():
    order = evict(chain(100), 21 * SIZE)
    assert order is not None
    assert order.peak <= 21 * SIZE
    assert order.cost <= 100


@pytest.mark.parametrize("n", [64, 144])
def test_about_the_square_root_of_a_chain_in_segments_costs_one_more_forward_at_most(n: int):
    problem = chain(n)
    orders = [evict(problem, SIZE * 3 * n, guide=guide) for guide in Segments(problem).guides()]
    smallest = min((o for o in orders if o is not None), key=lambda o: o.peak)
    assert smallest.peak <= (2 * n**0.5 + 4) * SIZE
    assert smallest.cost <= n


def test_all_that_a_segment_has_dropped_is_made_again_once_and_together():
    problem = chain(16)
    order = evict(problem, SIZE * 100, guide=Segments(problem).guide(4, np.inf))
    assert order is not None
    again = [i for i, run in enumerate(order.runs) if run.is_recompute]
    assert len({order.runs[i].unit for i in again}) == len(again)
    assert 1 < sum(b != a + 1 for a, b in pairwise(again)) + 1 <= 4


def test_one_run_makes_again_all_that_is_still_wanted_of_it():
    units = [
        Unit(1.0, (), (0, 1), whole=False),
        *(Unit(1.0, (i,), (i + 1,)) for i in range(1, 5)),
        *(Unit(1.0, (5, 0), (6,)), Unit(1.0, (6, 1), (7,))),
    ]
    problem = Problem(units, [SIZE] * 8)
    order = evict(problem, 4 * SIZE, guide=Guide(frozenset({0, 1})))
    assert order is not None
    assert [run.makes for run in order.runs if run.is_recompute] == [(0, 1)]


def test_what_nothing_reads_before_it_is_made_again_is_not_run():
    units = [Unit(5.0, (), (0,)), Unit(1.0, (0,), (1,)), Unit(1.0, (1,), (2,)), Unit(1.0, (2, 1), (3,))]
    problem = Problem(units, [SIZE] * 4, lasting=frozenset({3}))
    once = problem.first_runs()
    runs = [*once[:2], Run(0, (), (0,), True), Run(1, (0,), (1,), True), *once[2:]]
    assert without_dead_runs(problem, problem.order(runs, 6.0)) == problem.order(once, 0.0)
    # What may stop the run does so the first time.
    problem.units = [Unit(5.0, (), (0,), must=True), *units[1:]]
    assert without_dead_runs(problem, problem.order(runs, 6.0)).runs == (once[0], *runs[2:3], *once[1:])


def test_a_run_of_which_one_result_is_read_stays():
    problem = Problem([Unit(1.0, (), (0, 1), whole=False), Unit(1.0, (0, 1), (2,))], [SIZE] * 3, frozenset({2}))
    runs = [*problem.first_runs()[:1], Run(0, (), (0,), True), *problem.first_runs()[1:]]
    order = problem.order(runs, 1.0)
    assert without_dead_runs(problem, order) is order


def test_a_chain_fits_few_values():
    order = evict(chain(64), 7 * SIZE)
    assert order is not None
    assert order.peak <= 7 * SIZE


def test_what_costs_less_is_computed_again():
    # Two values wait for the end; one takes a hundred times as long to make.
    units = [
        *(Unit(100.0, (), (0,)), Unit(1.0, (), (1,)), Unit(1.0, (0, 1), (2,))),
        *(Unit(1.0, (2,), (3,)), Unit(1.0, (3,), (4,)), Unit(1.0, (0, 1, 4), (5,))),
    ]
    problem = Problem(units, [SIZE] * 6)
    order = evict(problem, 4 * SIZE - 1)
    assert order is not None
    assert [r.unit for r in order.runs if r.is_recompute] == [1]


def test_what_was_made_of_an_overwritten_input_is_not_made_again():
    units = [Unit(1.0, (), (0,)), *(Unit(1.0, (i,), (i + 1,)) for i in range(4)), Unit(1.0, (0, 4), (5,))]
    free = Problem(units, [SIZE] * 6)
    assert evict(free, 2 * SIZE).cost == 1  # pyright: ignore[reportOptionalMemberAccess]
    bound = Problem(units, [SIZE] * 6, overwritten=[3, *[9] * 5])
    assert evict(bound, 2 * SIZE).cost == 0  # pyright: ignore[reportOptionalMemberAccess]


def test_only_orders_that_no_other_beats_are_kept():
    problem = chain(12)
    orders = [o for limit in range(4, 15) if (o := evict(problem, limit * SIZE))]
    kept = pareto([*orders, *orders])
    assert all(a.cost < b.cost and a.peak > b.peak for a, b in pairwise(kept))
    assert all(any(k.cost <= o.cost and k.peak <= o.peak for k in kept) for o in orders)


# ---- graphs


def again(base: Plan, share: float, distance: float, eager: bool) -> Plan | None:
    """The plan with `share` of its peak as the limit."""
    problem = graph_problem(base, smallest=8)
    guide = Guide(frozenset(range(len(problem.sizes)))) if eager else None
    order = evict(problem, int(peak(problem, problem.first_runs()) * share), distance, guide)
    if order is None:
        return None
    lean = without_dead_runs(problem, order)
    assert lean.peak <= order.peak
    assert lean.cost <= order.cost
    graph = problem.realized(lean.runs, {})
    graph.verify()
    assert recompute_flops(graph) == recompute_flops(base.graph) + problem.recompute_flops(lean.runs, {})
    return plan(graph, base.threads, outputs_in_arena=True, target=base.target)


def in_small_tiles(graph: Graph) -> Plan:
    """The plan for a machine on which reductions leave parts, even of small arrays."""
    return plan(run_passes(graph, pipeline(target=SMALL_TARGET)), 2, outputs_in_arena=True, target=SMALL_TARGET)


STEPS = st.one_of(step_graphs(), backward_graphs(), net_steps(), net_steps())
SHARES = st.floats(0.0, 1.0)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    STEPS,
    SHARES,
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
)
def test_any_choice_gives_the_same_values_and_a_sound_plan(graph: Graph, share: float, distance: float, eager: bool):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    made = again(base, share, distance, eager)
    if made is None:
        return
    check_plan(made, base.graph)
    arrays = random_inputs(graph)
    for expected, actual in zip(interpret(base.graph, *arrays), interpret(made.graph, *arrays), strict=True):
        assert expected.tobytes() == actual.tobytes()


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(
    STEPS,
    SHARES,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.booleans(),
)
def test_thousands_of_choices_give_sound_plans(graph: Graph, share: float, distance: float, eager: bool):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    made = again(base, share, distance, eager)
    if made is not None:
        check_plan(made, base.graph)


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(st.one_of(backward_graphs(), net_steps(), net_steps()), SHARES, st.booleans())
def test_any_choice_gives_the_same_bits_when_compiled(graph: Graph, share: float, eager: bool):
    base = in_small_tiles(graph)
    made = again(base, share, 0.1, eager)
    if made is None:
        return
    arrays = random_inputs(graph)
    expected, actual = (run_executable(Executable(p), p.graph, arrays)[0] for p in (base, made))
    for a, b in zip(expected, actual, strict=True):
        assert a.tobytes() == b.tobytes()


@settings(max_examples=14, suppress_health_check=list(HealthCheck))
@given(net_steps(), st.lists(st.integers(0, 5000), min_size=2, max_size=4))
def test_more_memory_is_never_slower_and_never_repeats_more(graph: Graph, sizes: list[int]):
    base = plan(run_passes(graph), 1, outputs_in_arena=True)
    prepared = run_passes(graph, preparation())
    frontier = Frontier(base, variant_plans(Stages(prepared), base))
    least = frontier.smallest().plan.arena_bytes
    slowest, most = np.inf, np.inf
    for size in sorted({*sizes, least, max(least - 1, 0)}):
        choice = frontier.fastest_within(size)
        assert (choice is None) == (size < least)
        if choice is not None:
            check_plan(choice.plan, prepared)
            assert choice.plan.arena_bytes <= size
            assert choice.slowdown <= slowest
            assert recompute_flops(choice.plan.graph) <= most
            slowest, most = choice.slowdown, recompute_flops(choice.plan.graph)


@settings(max_examples=16, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_plans_that_keep_other_values_give_the_same_values(graph: Graph):
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    arrays = random_inputs(graph)
    expected = interpret(base.graph, *arrays)
    prepared = run_passes(graph, preparation())
    for other in variant_plans(Stages(prepared), base).values():
        check_plan(other, prepared)
        for a, b in zip(expected, interpret(other.graph, *arrays), strict=True):
            assert a.tobytes() == b.tobytes()


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(net_steps())
def test_plans_that_keep_other_values_give_the_same_bits_when_compiled(graph: Graph):
    base = in_small_tiles(graph)
    arrays = random_inputs(graph)
    expected = run_executable(Executable(base), base.graph, arrays)[0]
    prepared = run_passes(graph, preparation(target=SMALL_TARGET))
    for other in variant_plans(Stages(prepared), base).values():
        for a, b in zip(expected, run_executable(Executable(other), other.graph, arrays)[0], strict=True):
            assert a.tobytes() == b.tobytes()


def residual_step() -> Graph:
    """A step of a net of residual blocks of normalized convolutions."""

    class Block(nn.Module):
        def __init__(self) -> None:
            self.first, self.norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            self.second, self.last = nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16)

        def forward(self, x: Any) -> Any:
            return F.relu(x + self.last(self.second(F.relu(self.norm(self.first(x))))))

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Block(), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip

    def loss_fn(model: Any, batch: Any) -> Any:
        return F.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": spec((8, 3, 12, 12)), "y": spec((8,), "int64")}
    return trace_step(model, loss_fn, optim.SGD(0.1), batch).graph


def test_what_runs_through_residual_blocks_is_kept_in_variants_with_the_same_bits():
    graph = residual_step()
    base = plan(run_passes(graph), 2, outputs_in_arena=True)
    others = variant_plans(Stages(run_passes(graph, preparation())), base)
    assert others
    # A convolution that makes what it reads reads fewer arrays there.
    most = [
        max(len(n.inputs) for n in p.graph.nodes if n.op.name == "conv_region" and n.origin.role == "forward")
        for p in (base, *others.values())
    ]
    assert max(most[1:]) < most[0]
    frontiers = [Frontier(base, found) for found in ({}, others)]
    assert frontiers[1].smallest().plan.arena_bytes < frontiers[0].smallest().plan.arena_bytes
    # No plan makes what nothing reads.
    for i in range(len(frontiers[1].orders)):
        made = frontiers[1].planned(i).graph
        used = {*made.outputs, *(v for node in made.nodes for v in node.inputs)}
        assert all(not used.isdisjoint(node.outputs) for node in made.nodes)
    arrays = [np.abs(a) for a in random_inputs(graph)]
    expected = run_executable(Executable(base), base.graph, arrays)[0]
    for other in others.values():
        check_plan(other)
        for a, b in zip(expected, run_executable(Executable(other), other.graph, arrays)[0], strict=True):
            assert a.tobytes() == b.tobytes()


def test_parts_of_sums_of_long_rows_take_little_beside_what_is_summed():
    b = Builder()
    x = b.input(spec((1000, 5000)))
    sums = OPS["reduce_sum"](b, ew.exp(b, x), axes=(0,))
    planned = plan(run_passes(b.graph([sums])), 2)
    check_plan(planned)
    assert planned.arena_bytes * 10 < x.type.nbytes


# ---- faults in what is computed again


def with_dropout() -> Plan:
    """A plan in which dropout is drawn a second time."""
    b = Builder()
    key, _, x = b.input(spec((), "int64")), b.input(spec((), "int64")), b.input(spec((40, 30)))
    bits = OPS["random_bits"](b, key, shape=(40, 30), dtype=np.dtype("int64"), stream=3)
    h = ew.select(b, ew.lt(b, bits, b.full_like(bits, 0)), x, b.full_like(x, 0))
    first = h
    for _ in range(6):
        h = ew.tanh(b, OPS["dot"](b, h, b.input(spec((30, 30))), contract=((1,), (0,)), batch=((), ())))
    problem = graph_problem(plan(run_passes(b.graph([ew.add(b, h, first)])), 1, outputs_in_arena=True), smallest=8)
    *runs, last = problem.first_runs()
    made = plan(problem.realized([*runs, replace(runs[0], is_recompute=True), last], {}), 1, outputs_in_arena=True)
    assert any(n.origin.role == "recompute" and n.op.name == "random_bits" for n in inner_nodes(made.graph))
    check_plan(made)
    return made


def inner_nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield from node.attrs["body"].nodes if node.op.name == "region" else [node]


def drawn_again(made: Plan) -> Node:
    return next(n for n in inner_nodes(made.graph) if n.origin.role == "recompute" and n.op.name == "random_bits")


def test_random_bits_of_another_type_are_found():
    made = with_dropout()
    drawn_again(made).attrs["shape"] = (30, 40)
    with pytest.raises(PlanVerificationError, match="draws other random bits than the first time"):
        check_plan(made)


def test_random_bits_of_another_key_are_found():
    made = with_dropout()
    bits = drawn_again(made)
    region = next(n for n in made.graph.nodes if n.op.name == "region" and bits in n.attrs["body"].nodes)
    at = region.attrs["body"].inputs.index(bits.inputs[0])
    assert region.inputs[at] is made.graph.inputs[0]
    region.inputs = tuple(made.graph.inputs[1] if i == at else v for i, v in enumerate(region.inputs))
    with pytest.raises(PlanVerificationError, match="draws other random bits than the first time"):
        check_plan(made)
