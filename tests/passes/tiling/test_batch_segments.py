"""Recurrent layers in tiles of the batch whose loops over time run in segments: three loops within each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret, verify
from gradloom.passes.kernels.cost import useful_threads
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import Stages, passed, preparation, scheduling
from gradloom.passes.remat.frontier import Frontier
from gradloom.passes.target import DEFAULT_TARGET
from gradloom.passes.tiling.batch import TileBatch
from gradloom.passes.tiling.strip_mine_scans import StripMineScans
from gradloom.passes.variants import variant_plans
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable

BATCH, TILE, STEPS, SEGMENT = 15, 5, 43, 5


class Tagger(nn.Module):
    def __init__(self, kind: type[Any]) -> None:
        self.cells = kind(6, 16, num_layers=2, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.cells(x)[0])


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]).reshape(-1, 3), batch["y"].reshape(-1))


def traced(kind: type[Any]) -> tuple[Graph, list[Any]]:
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((BATCH, STEPS, 6), np.float32), "y": rng.integers(0, 3, (BATCH, STEPS))}
    graph = trace_step(Tagger(kind), loss_fn, optim.SGD(0.1), batch).graph
    arrays = (
        0.3 * rng.standard_normal(v.type.shape) if v.type.dtype.kind == "f" else rng.integers(0, 3, v.type.shape)
        for v in graph.inputs
    )
    return graph, [np.asarray(array).astype(v.type.dtype) for array, v in zip(arrays, graph.inputs)]


def prepared(graph: Graph) -> Graph:
    """The graph before scheduling, in tiles and segments however little they save."""
    forced = {TileBatch: TileBatch(TILE), StripMineScans: StripMineScans(SEGMENT)}
    done = passed(graph, [forced.get(type(step), step) for step in preparation()])
    verify(done)
    return done


def loops(graph: Graph) -> list[Any]:
    """The lengths of loops, with those of the loops within."""
    return [(n.attrs["length"], loops(n.attrs["body"])) for n in graph.nodes if n.op.name == "scan"]


def plans(graph: Graph, threads: int) -> list[Plan]:
    """Plans from the whole arena to the least."""
    scheduled = passed(graph, scheduling())
    base = plan(scheduled, useful_threads(scheduled, threads, DEFAULT_TARGET), outputs_in_arena=True)
    frontier = Frontier(base, variant_plans(Stages(graph), base))
    least = frontier.smallest().plan
    between = frontier.fastest_within((base.arena_bytes + least.arena_bytes) // 2)
    assert between is not None
    return [base, between.plan, least]


@pytest.mark.parametrize("kind", [nn.LSTM, pytest.param(nn.GRU, marks=pytest.mark.slow)])
def test_tiles_with_segments_within_give_the_same_bits_under_every_budget_and_for_every_number_of_threads(kind: Any):
    graph, arrays = traced(kind)
    cut = prepared(graph)
    ((tiles, within),) = loops(cut)
    assert tiles == BATCH // TILE
    assert within.count((STEPS // SEGMENT, [(SEGMENT, [])] * 2)) == 2
    found: set[tuple[bytes, ...]] = set()
    for threads in (1, 2, 4):
        made = plans(cut, threads)
        assert made[-1].arena_bytes < 0.8 * made[0].arena_bytes
        for one in made:
            check_plan(one)
            outputs, _ = run_executable(Executable(one), graph, arrays)
            found.add(tuple(x.tobytes() for x in outputs))
    assert len(found) == 1
    for x, wanted in zip(outputs, interpret(graph, *arrays)):
        np.testing.assert_allclose(x, wanted, rtol=1e-4, atol=1e-5)
