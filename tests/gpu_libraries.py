"""Running a graph for a GPU in the emulator, with stand-ins for its libraries in NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fake_cublaslt import FakeCublasLt
from fake_cudnn import FakeCudnn
from gpu_target import GPU_TARGET
from gradloom.ir import Array, Graph, Node
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import LIBRARIES, Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.cuda.convolutions import Convolutions
from gradloom.runtime.cuda.products import Products
from gradloom.runtime.emulate.program import EmulatedProgram
from gradloom.runtime.lowering.launch_list import Item
from gradloom.runtime.lowering.library_call import LibraryCall
from gradloom.runtime.lowering.places import Places

LIBRARY_TARGET = replace(GPU_TARGET, libraries=LIBRARIES)


class LibraryProgram(EmulatedProgram):
    """A program whose libraries are those in NumPy; `calls` are those that it made."""

    def __init__(self, plan: Plan, arena: Array) -> None:
        self.cublaslt = FakeCublasLt()
        self.cudnn = FakeCudnn()
        self.of = {"cublaslt": Products(self.cublaslt), "cudnn": Convolutions(self.cudnn)}
        self.calls: list[LibraryCall] = []
        super().__init__(plan, arena)

    def _run_item(self, item: Item, node: Node | None, places: Places, noted: Any) -> None:
        if not isinstance(item, LibraryCall):
            super()._run_item(item, node, places, noted)
            return
        self.calls.append(item)
        self.of[item.library].prepare(item, places.word)
        self.of[item.library].run(item, places.word, 0)


def program(graph: Graph, target: Target = LIBRARY_TARGET) -> LibraryProgram:
    """The program of a traced graph, whose plan is verified."""
    plan = plan_graph(graph, target=target)
    check_plan(plan)
    return LibraryProgram(plan, allocate(plan.arena_bytes))
