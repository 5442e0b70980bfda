"""Running a graph through all passes and the compiled program, on copies of the given arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gradloom.ir import Array, Graph
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.target import Target
from gradloom.runtime.cpu.executable import Executable, allocate

_BEHIND = 4096


def run_compiled(graph: Graph, *arrays: Array, threads: int = 1, outputs_in_arena: bool = False) -> list[Array]:
    """The outputs of `graph`; those that overwrite an input are found in the copy of that input. Nothing is written
    behind the arena.
    """
    target = Target.cpu()
    planned = plan(run_passes(graph, pipeline(target=target)), threads, outputs_in_arena, target=target)
    memory = allocate(planned.arena_bytes + _BEHIND)
    behind = memory[planned.arena_bytes :]
    behind[:] = 165
    outputs = run_executable(Executable(planned, memory[: planned.arena_bytes]), graph, arrays)[0]
    assert (behind == 165).all()
    return outputs


def run_executable(executable: Executable, graph: Graph, arrays: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """The outputs, and the arrays that were bound as inputs as the run left them."""
    bound = [np.array(a, order="C") for a in arrays]
    for i, array in enumerate(bound):
        executable.bind_input(i, array)
    outputs = [np.empty(v.type.shape, v.type.dtype) for v in graph.outputs]
    plan = executable.plan
    in_arena = {i for i, v in enumerate(plan.graph.outputs) if plan.locations[v].place == "arena"}
    for i, array in enumerate(outputs):
        executable.bind_output(i, array)
    executable.run()
    for i, j in graph.aliases.items():
        outputs[i] = bound[j]
    for i in in_arena - graph.aliases.keys():
        outputs[i] = executable.output_in_arena(i).copy()
    return outputs, bound
