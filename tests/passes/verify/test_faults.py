"""Whatever a plan says otherwise than it should, the plan verifier finds, or it spoils no bit."""

from __future__ import annotations

from random import Random

import pytest
from compiled import run_executable
from gradloom.ir import Array, Graph
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import Stages, pipeline, preparation, run_passes
from gradloom.passes.remat.frontier import Frontier
from gradloom.passes.variants import variant_plans
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_faults import CLAIMS, FIELDS, Fault, planted
from random_graphs import random_inputs
from random_steps import net_steps, step_graphs
from small_target import SMALL_TARGET

STEPS = st.one_of(step_graphs(scans=True), net_steps(), net_steps())
SHARES = st.floats(0.0, 1.0)
SEEDS = st.integers(0, 2**32)


def planned(graph: Graph, share: float, threads: int) -> tuple[Plan, Graph]:
    """A plan of a step in so large a part of what it could save, and the step before it was planned."""
    prepared = run_passes(graph, preparation(target=SMALL_TARGET))
    scheduled = run_passes(graph, pipeline(target=SMALL_TARGET))
    base = plan(scheduled, threads, outputs_in_arena=True, target=SMALL_TARGET)
    frontier = Frontier(base, variant_plans(Stages(prepared), base))
    least = frontier.smallest().plan.arena_bytes
    choice = frontier.fastest_within(least + int(share * (base.arena_bytes - least)))
    assert choice is not None
    check_plan(choice.plan, prepared)
    return choice.plan, prepared


def is_found(fault: Fault, prepared: Graph) -> bool:
    """Whether the plan verifier finds a fault."""
    with fault as spoilt:
        try:
            check_plan(spoilt, prepared)
        except PlanVerificationError:
            return True
    return False


def results(made: Plan, arrays: list[Array]) -> list[bytes]:
    return [array.tobytes() for array in run_executable(Executable(made), made.graph, arrays)[0]]


@settings(max_examples=16, suppress_health_check=list(HealthCheck))
@given(STEPS, SHARES, st.integers(1, 3), SEEDS)
def test_a_fault_is_found_or_spoils_no_bit(graph: Graph, share: float, threads: int, seed: int):
    made, prepared = planned(graph, share, threads)
    random, arrays = Random(seed), random_inputs(graph)
    for field in random.sample(FIELDS, 8):
        fault = planted(made, random, field)
        if fault is None or is_found(fault, prepared):
            continue
        assert fault.field not in CLAIMS
        with fault as spoilt:
            assert results(spoilt, arrays) == results(made, arrays)


@pytest.mark.slow
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
@given(STEPS, SHARES, st.integers(1, 4), SEEDS)
def test_of_thousands_of_faults_each_is_found_or_spoils_no_bit(graph: Graph, share: float, threads: int, seed: int):
    made, prepared = planned(graph, share, threads)
    random, left = Random(seed), list[Fault]()
    for field in (*FIELDS, *FIELDS):
        fault = planted(made, random, field)
        if fault is not None and not is_found(fault, prepared):
            assert fault.field not in CLAIMS
            left.append(fault)
    if left and seed % 16 == 0:
        arrays = random_inputs(graph)
        with random.choice(left) as spoilt:
            assert results(spoilt, arrays) == results(made, arrays)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(STEPS, SHARES, st.integers(1, 3))
def test_plans_for_any_budget_are_sound(graph: Graph, share: float, threads: int):
    planned(graph, share, threads)


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(STEPS, SHARES, st.integers(1, 4))
def test_thousands_of_plans_for_any_budget_are_sound(graph: Graph, share: float, threads: int):
    planned(graph, share, threads)
