"""Values of planned graphs move to host memory and back: what is chosen, when it moves, and what the graph becomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiled import run_executable
from gradloom.ir import Array, Graph, parse
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.offload.absences import Offloading, absences
from gradloom.passes.offload.choose import choices
from gradloom.passes.offload.link import Link, Move, exposed_nanoseconds, moves_of, phase_times
from gradloom.passes.offload.placement import Clock, Placed, placed, relaxed
from gradloom.passes.offload.rewrite import with_transfers
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.target import Target
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import random_inputs
from random_steps import net_steps, step_graphs

TARGET = replace(Target.cuda(emulated=True), name="test", workers=3, link_bytes_per_ns=1000.0)
"""A GPU whose link is so fast that small values are worth moving."""

CHAIN = """graph(%m: f32[40,40], %x: f32[40,40]) {
  %0: f32[40,40] = dot(%x, %x) {contract=((1,), (0,)), batch=((), ())}
  %1: f32[40,40] = dot(%0, %x) {contract=((1,), (0,)), batch=((), ())}
  %2: f32[40,40] = dot(%1, %x) {contract=((1,), (0,)), batch=((), ())}
  %3: f32[40,40] = dot(%2, %x) {contract=((1,), (0,)), batch=((), ())}
  %4: f32[40,40] = dot(%3, %x) {contract=((1,), (0,)), batch=((), ())}
  %5: f32[40,40] = dot(%4, %3) {contract=((1,), (0,)), batch=((), ())}
  %6: f32[40,40] = dot(%5, %2) {contract=((1,), (0,)), batch=((), ())}
  %7: f32[40,40] = transpose(%1) {perm=(1, 0)}
  %8: f32[40,40] = dot(%6, %7) {contract=((1,), (0,)), batch=((), ())}
  %9: f32[40,40] = dot(%8, %0) {contract=((1,), (0,)), batch=((), ())}
  %10: f32[40,40] = dot(%9, %m) {contract=((1,), (0,)), batch=((), ())}
  return "m"=%10 -> %m, "y"=%9
}"""
SHORT = """graph(%x: f32[40,40]) {
  %0: f32[40,40] = dot(%x, %x) {contract=((1,), (0,)), batch=((), ())}
  %1: f32[40,40] = dot(%0, %x) {contract=((1,), (0,)), batch=((), ())}
  %2: f32[40,40] = dot(%1, %x) {contract=((1,), (0,)), batch=((), ())}
  %3: f32[40,40] = dot(%2, %x) {contract=((1,), (0,)), batch=((), ())}
  %4: f32[40,40] = dot(%3, %x) {contract=((1,), (0,)), batch=((), ())}
  %5: f32[40,40] = transpose(%0) {perm=(1, 0)}
  %6: f32[40,40] = dot(%4, %5) {contract=((1,), (0,)), batch=((), ())}
  return %6
}"""
MOVED = """graph(%x: f32[40,40]) {
  %0: f32[40,40] = dot(%x, %x) {contract=((1,), (0,)), batch=((), ())}
  %1: f32[40,40] = to_host(%0) {beside=2}
  %2: f32[40,40] = dot(%0, %x) {contract=((1,), (0,)), batch=((), ())}
  %3: f32[40,40] = dot(%2, %x) {contract=((1,), (0,)), batch=((), ())}
  %4: f32[40,40] = dot(%3, %x) {contract=((1,), (0,)), batch=((), ())}
  %5: f32[40,40] = to_device(%1)
  %6: f32[40,40] = dot(%4, %x) {contract=((1,), (0,)), batch=((), ())}
  %7: f32[40,40] = transpose(%5) {perm=(1, 0)}
  %8: f32[40,40] = dot(%6, %7) {contract=((1,), (0,)), batch=((), ())}
  return %8
}"""
ALL = Offloading(frozenset({0}), most_host_bytes=float("inf"))


def chain() -> Plan:
    made = planned(run_passes(parse(CHAIN), pipeline(target=TARGET)))
    check_plan(made)
    return made


def planned(graph: Graph) -> Plan:
    return plan(graph, TARGET.workers or 1, outputs_in_arena=True, target=TARGET)


def moved(made: Plan, choice: int = -1) -> Plan:
    """The plan with one of its choices, by default the one of the fewest bytes."""
    best = sorted(choices(made, ALL), key=lambda one: -one.net_bytes)[choice]
    result = planned(with_transfers(made, best.placed))
    check_plan(result, made.graph)
    return result


def bits(made: Plan, arrays: list[Array]) -> list[bytes]:
    program = EmulatedProgram(made, allocate(made.arena_bytes), checked=False)
    return [array.tobytes() for array in run_executable(program, made.graph, arrays)[0]]


def test_a_value_is_absent_between_two_units_that_read_it_and_state_but_for_its_update():
    made = chain()
    found = absences(made, ALL)
    (state,) = (one for one in found if one.home == 0)
    assert len(made.phases) - 2 <= state.before <= state.made == len(made.phases) - 1
    kept = [one for one in found if one.home is None]
    assert len(kept) >= 2
    assert all(one.made <= one.after < one.before - 3 for one in kept)
    assert absences(made, Offloading()) == kept


def test_less_memory_takes_transfers_and_every_choice_is_a_sound_plan():
    made = chain()
    found = choices(made, ALL)
    assert found
    for one in found:
        result = planned(with_transfers(made, one.placed))
        check_plan(result, made.graph)
        assert result.transfers.nodes
        assert result.net_bytes < made.net_bytes
        lines = TARGET.line_bytes * len(one.placed.away)
        assert result.host_bytes + result.host_input_bytes <= one.host_bytes + lines
    least = moved(made)
    assert least.net_bytes < made.net_bytes - 2 * 6400
    assert "to_host" in str(least.graph)
    assert parse(str(least.graph)).verify() is None


def test_transfers_stand_where_they_begin():
    made = planned(parse(SHORT))
    (one,) = absences(made, Offloading())
    graph = with_transfers(made, Placed({one.value: (1, 2)}, {one: 4}))
    assert str(graph) == str(parse(MOVED))
    result = planned(graph)
    check_plan(result, made.graph)
    assert sorted(result.transfers.done.values()) == [2, 4]


def test_the_emulator_gives_the_same_bits():
    made = chain()
    arrays = [(np.random.default_rng(i).normal(size=(40, 40)) / 6).astype("float32") for i in range(2)]
    assert bits(made, arrays) == bits(moved(made), arrays) == bits(moved(made, 0), arrays)


def test_units_wait_for_what_the_link_has_not_carried_yet():
    link = Link(bytes_per_ns=2.0, begin_ns=10.0)
    assert link.nanoseconds(100) == 60.0
    times = [100.0, 100.0, 100.0]
    assert link.exposed(times, [Move(0, 0, 100, True)]) == 0
    assert link.exposed(times, [Move(0, 0, 1000, True)]) == 410
    assert link.exposed(times, [Move(0, 1, 1000, True)]) == 310
    # One direction after another transfer in it, the other at the same time.
    assert link.exposed(times, [Move(0, 2, 400, True), Move(0, 2, 400, True)]) == 120
    assert link.exposed(times, [Move(0, 2, 400, True), Move(0, 2, 400, False)]) == 0


def test_more_time_for_transfers_is_less_time_exposed_within_the_same_bytes():
    made = chain()
    clock, link = Clock(phase_times(made)), Link(0.02, 100.0)
    live = np.zeros(clock.phases, np.int64)
    for block in made.blocks:
        live[block.birth : block.death + 1] += block.nbytes
    hasty = placed(clock, link, absences(made, ALL), 1000.0)
    limit = int((live - hasty.saves(clock.phases)).max())
    calm = relaxed(clock, link, hasty, live, limit)
    assert (live - calm.saves(clock.phases)).max() <= limit
    assert link.exposed(clock.times, calm.moves()) <= link.exposed(clock.times, hasty.moves())


def test_what_is_exposed_is_told_of_a_plan():
    made = moved(chain())
    slow = replace(made, target=replace(TARGET, link_bytes_per_ns=0.01))
    assert len(moves_of(made)) == len(made.transfers.nodes)
    assert exposed_nanoseconds(slow) > exposed_nanoseconds(made) >= 0
    assert exposed_nanoseconds(chain()) == 0


def test_so_many_bytes_of_the_host_are_enough():
    made = chain()
    for most in (0, 6399, 6400, 2 * 6400):
        found = choices(made, replace(ALL, most_host_bytes=most))
        assert all(one.host_bytes <= most for one in found)
        assert bool(found) == (most >= 6400)


def test_what_must_move_moves_in_every_choice():
    made = chain()
    for one in choices(made, replace(ALL, must=True)):
        assert 0 in {absence.home for absence in one.placed.back}


STEPS = st.one_of(step_graphs(scans=True), net_steps(), net_steps())


def _every_choice_is_sound(graph: Graph, pick: float, run: bool) -> None:
    scheduled = run_passes(graph, pipeline(target=TARGET))
    made = planned(scheduled)
    found = choices(made, Offloading(frozenset(graph.aliases.values()), most_host_bytes=float("inf")))
    if not found:
        return
    result = planned(with_transfers(made, found[int(pick * len(found))].placed))
    check_plan(result, scheduled)
    if run:
        arrays = random_inputs(graph)
        assert bits(made, arrays) == bits(result, arrays)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(STEPS, st.floats(0, 0.999))
def test_random_steps_move_soundly(graph: Graph, pick: float):
    _every_choice_is_sound(graph, pick, run=False)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(STEPS, st.floats(0, 0.999))
def test_random_steps_that_move_have_the_same_bits(graph: Graph, pick: float):
    _every_choice_is_sound(graph, pick, run=True)


def test_a_transfer_that_is_cut_short_is_found():
    made = moved(chain())
    back = next(node for node in made.transfers.done if node.op.moves_to == "device")
    late = {**made.transfers.done, back: len(made.phases) - 1}
    with pytest.raises(PlanVerificationError):
        check_plan(replace(made, transfers=replace(made.transfers, done=late)))
