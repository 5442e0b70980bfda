"""Recurrent layers in tiles of the batch: the loop over time inside the loop over tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import run_compiled
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret
from gradloom.passes.pipeline import plan_graph, run_passes
from gradloom.passes.verify.plan import check_plan


class Classifier(nn.Module):
    def __init__(self, kind: type, batch_first: bool) -> None:
        self.layer = kind(6, 8, batch_first=batch_first)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        steps = self.layer(x)[0]
        return self.out(steps[:, -1] if self.layer.batch_first else steps[-1])


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def traced(kind: type, n: int, batch_first: bool = True) -> Graph:
    rng = np.random.default_rng(0)
    shape = (n, 5, 6) if batch_first else (5, n, 6)
    batch = {"x": rng.standard_normal(shape).astype("float32"), "y": rng.integers(0, 3, n)}
    return trace_step(Classifier(kind, batch_first), loss_fn, optim.SGD(0.1), batch).graph


def steps_within(graph: Graph) -> list[int]:
    """The lengths of loops that stand in loops."""
    found: list[int] = []
    for node in graph.nodes:
        if node.op.name == "scan":
            body: Graph = node.attrs["body"]
            found += [inner.attrs["length"] for inner in body.nodes if inner.op.name == "scan"]
            found += steps_within(body)
    return found


FIRST = pytest.mark.parametrize("batch_first", [True, False])


@FIRST
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN, nn.GRU])
def test_a_large_batch_runs_in_tiles_with_the_same_numbers(kind: type, batch_first: bool):
    graph = traced(kind, 1024, batch_first)
    assert steps_within(run_passes(graph)).count(5) >= 2
    rng = np.random.default_rng(1)
    arrays = [
        np.asarray(0.3 * rng.standard_normal(v.type.shape) if v.type.dtype.kind == "f" else
                   rng.integers(0, 3, v.type.shape)).astype(v.type.dtype)
        for v in graph.inputs
    ]  # fmt: skip
    first = run_compiled(graph, *arrays)
    for threads in (2, 4):
        for a, b in zip(first, run_compiled(graph, *arrays, threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(interpret(graph, *arrays), first, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    check_plan(plan_graph(graph, 2, True))


@FIRST
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN, nn.GRU])
def test_the_arena_does_not_grow_with_a_large_batch(kind: type, batch_first: bool):
    sizes = (1024, 8192)
    # What has time first is copied into tiles.
    small, large = (
        plan_graph(traced(kind, n, batch_first), 2, True).arena_bytes - (0 if batch_first else 5 * n * 6 * 4)
        for n in sizes
    )
    assert large < 1.1 * small


def test_a_small_batch_is_not_cut_into_slivers():
    assert steps_within(run_passes(traced(nn.LSTM, 32))) == []
