"""A GPU with next to no memory on its chip, so that small arrays run in many tiles, and plans for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradloom.ir import Array, Graph
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from unjitted import run_unjitted

GPU_TARGET = replace(Target.cuda(), name="test", libraries=(), workers=3, l1_bytes=16 * 40, l2_bytes=64 * 40)
"""Rows of 40 elements, tiles of 40, three blocks at a time."""


def gpu_plan(graph: Graph) -> Plan:
    """The plan of a traced graph."""
    return plan_graph(graph, target=GPU_TARGET)


def run_on_threads(graph: Graph, *arrays: Array) -> Sequence[Array]:
    """The outputs of a graph by the kernels of a GPU as plain Python."""
    return run_unjitted(gpu_plan(graph), *arrays)
