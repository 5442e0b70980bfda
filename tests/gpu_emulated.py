"""Running a graph by the kernels of a GPU in the emulator, each access checked, on copies of the given arrays."""

from __future__ import annotations

from compiled import run_executable
from gpu_target import gpu_plan
from gradloom.ir import Array, Graph
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram


def run_emulated(graph: Graph, *arrays: Array, checked: bool = True) -> list[Array]:
    """The outputs of a graph; those that overwrite an input are found in the copy of that input."""
    plan = gpu_plan(graph)
    return run_executable(EmulatedProgram(plan, allocate(plan.arena_bytes), checked), graph, arrays)[0]
