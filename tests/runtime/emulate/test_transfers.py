"""Transfers in the emulator: the same bits as without, and what nobody waited for shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from compiled import run_executable
from gradloom.ir import Array, interpret
from gradloom.passes.memory.plan import Plan, plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from moved_values import HOST_TARGET, plan_that_moves, step_that_moves


def inputs() -> list[Array]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(20, 20)) / 8).astype("float32") for _ in range(2)]


def emulated(made: Plan) -> list[Array]:
    return run_executable(EmulatedProgram(made, allocate(made.arena_bytes)), made.graph, inputs())[0]


def test_what_moved_to_host_memory_and_back_has_the_same_bits():
    graph, moved = step_that_moves(), emulated(plan_that_moves())
    # The body of a loop has one memory: a nested plan moves nothing.
    stays = plan(graph, 3, outputs_in_arena=True, nested=True, target=HOST_TARGET)
    assert not stays.transfers.nodes
    for one, other, expected in zip(moved, emulated(stays), interpret(graph, *inputs()), strict=True):
        assert one.tobytes() == other.tobytes()
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


def test_a_value_that_is_read_before_its_transfer_is_done_is_nan():
    made = plan_that_moves()
    back = next(node for node in made.graph.nodes if node.op.moves_to == "device")
    late = replace(made.transfers, done={**made.transfers.done, back: len(made.phases) - 1})
    assert np.isnan(emulated(replace(made, transfers=late))[1]).all()
