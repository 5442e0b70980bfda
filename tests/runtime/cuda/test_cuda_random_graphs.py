"""Random graphs on a GPU, over a driver that is none: the bits of the emulator, twice, in memory of the device."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import run_executable
from gpu_target import GPU_TARGET
from gradloom.ir import Graph
from gradloom.passes.pipeline import plan_graph
from gradloom.runtime.backend import backend_of
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from hypothesis import given, settings
from on_fake_gpu import fake_gpu
from random_graphs import graphs, random_inputs
from random_steps import step_graphs


def assert_equal_to_emulated(graph: Graph) -> None:
    plan = plan_graph(graph, outputs_in_arena=True, target=GPU_TARGET)
    arrays = random_inputs(graph)
    expected = run_executable(EmulatedProgram(plan, allocate(plan.arena_bytes), False), graph, arrays)[0]
    with fake_gpu():
        backend = backend_of(GPU_TARGET)
        program = backend.build(plan)
        held = backend.hold([value.type for value in graph.inputs])
        for _ in range(2):
            for i, array in enumerate(held):
                array[...] = arrays[i]
                program.bind_input(i, array)
            program.run()
            for i, wanted in enumerate(expected):
                got = held[graph.aliases[i]] if i in graph.aliases else program.output_in_arena(i)
                assert np.asarray(got).tobytes() == np.ascontiguousarray(wanted).tobytes()


@settings(max_examples=8)
@given(step_graphs(scans=True))
def test_steps(graph: Graph):
    assert_equal_to_emulated(graph)


@pytest.mark.slow
@settings(max_examples=300)
@given(step_graphs(scans=True) | graphs())
def test_many_steps_and_graphs(graph: Graph):
    assert_equal_to_emulated(graph)
