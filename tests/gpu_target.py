"""A GPU with next to no memory on its chip, so that small arrays run in many tiles, and plans for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradloom.ir import Array, Graph
from gradloom.passes.fusion.conv_epilogue import FuseConvEpilogue
from gradloom.passes.fusion.matmul_epilogue import FuseMatmulEpilogue
from gradloom.passes.fusion.prologue import FusePrologue
from gradloom.passes.loops.prepack_weights import PrepackWeights
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.simplify.one_pass_variance import OnePassVariance
from gradloom.passes.target import DEFAULT_TARGET
from unjitted import run_unjitted

GPU_TARGET = replace(DEFAULT_TARGET, name="test", device="cuda", line_bytes=256, l1_bytes=16 * 40, l2_bytes=64 * 40)
"""Rows of 40 elements, tiles of 40."""

_CPU_ALONE = (FuseConvEpilogue, FuseMatmulEpilogue, FusePrologue, PrepackWeights, OnePassVariance)


def gpu_plan(graph: Graph, workers: int = 3) -> Plan:
    """The plan of a traced graph."""
    passes = [step for step in pipeline(target=GPU_TARGET) if not isinstance(step, _CPU_ALONE)]
    return plan(run_passes(graph, passes), workers, target=GPU_TARGET)


def run_on_threads(graph: Graph, *arrays: Array) -> Sequence[Array]:
    """The outputs of a graph by the kernels of a GPU as plain Python."""
    return run_unjitted(gpu_plan(graph), *arrays)
