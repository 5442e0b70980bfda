"""Loops that run again for their backward: the same bits, and about the square root of the bytes."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn
from gradloom.ir import Graph, interpret, verify
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import passed, preparation, scheduling
from gradloom.passes.remat.checkpoint_scans import CheckpointScans
from gradloom.passes.remat.from_plan import recompute_flops
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable

WIDTH = 8
WAYS = (CheckpointScans(products=True), CheckpointScans())


def plan_of(prepared: Graph, *rerun: CheckpointScans) -> Plan:
    graph = passed(prepared, [*rerun, *scheduling()])
    verify(graph)
    made = plan(graph, 2)
    check_plan(made, prepared)
    return made


def results(made: Plan, graph: Graph, arrays: list[Any]) -> list[bytes]:
    return [x.tobytes() for x in run_executable(Executable(made), graph, arrays)[0]]


def gated(length: int, reverse: bool) -> tuple[Graph, list[Any]]:
    """The gradients of a loop with several carries, one of them a counter, that draws random numbers, and whose results
    are read by another.
    """

    def loss(w: Any, u: Any, start: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, c, n = carry
            z = h @ w + x
            c = c / (1 + np.exp(-z)) + np.tanh(z * u)
            h = nn.functional.dropout(np.tanh(c), 0.3)
            return (h, c, n + (c.sum() > 0)), h * np.where(n % 2 == 0, 1.0, 0.5)

        with gl.random.key(3):
            (h, c, n), hs = gl.scan(step, (start, start * 2, np.int64(0)), xs, reverse=reverse)
        _, sums = gl.scan(lambda s, h: (s + np.sin(s * h), s / 2), c, hs)
        return np.sum(sums**2) + np.sum(h * c) + 0.1 * n

    rng = np.random.default_rng(length)
    shapes = ((WIDTH, WIDTH), (WIDTH,), (5, WIDTH), (length, 5, WIDTH))
    arrays = [rng.standard_normal(shape) / 3 for shape in shapes]
    return gl.trace(gl.value_and_grad(loss, argnums=(0, 1, 2, 3)), *arrays), arrays


@pytest.mark.parametrize(("length", "reverse"), [(36, False), (23, True)])
def test_a_loop_in_segments_gives_the_bits_of_the_loop(length: int, reverse: bool):
    graph, arrays = gated(length, reverse)
    prepared = passed(graph, preparation())
    whole = plan_of(prepared)
    free = results(whole, graph, arrays)
    for rerun in WAYS:
        made = plan_of(prepared, rerun)
        assert recompute_flops(made.graph) > 0
        assert results(made, graph, arrays) == free
    for rerun in WAYS:
        cut = passed(prepared, [rerun])
        assert all(a.tobytes() == b.tobytes() for a, b in zip(interpret(cut, *arrays), interpret(prepared, *arrays)))


def decayed(steps: int) -> Graph:
    def loss(w: Any, xs: Any) -> Any:
        last, _ = gl.scan(lambda h, x: (np.tanh(h * w + x), None), np.zeros(xs.shape[1:], "float32"), xs)
        return np.sum(last**2)

    w, xs = gl.spec((64, 64), "float32"), gl.spec((steps, 64, 64), "float32")
    return passed(gl.trace(gl.grad(loss), w, xs), preparation())


@pytest.mark.parametrize("steps", [100, 400, 397])
def test_n_steps_need_about_twice_the_square_root_of_n_carries(steps: int):
    prepared, carry = decayed(steps), 4 * 64 * 64
    assert plan_of(prepared).arena_bytes > steps * carry
    # What a step leaves are its carry and what it begins with.
    assert plan_of(prepared, CheckpointScans()).arena_bytes < (2 * (2 * steps) ** 0.5 + 12) * carry


def test_kept_products_are_not_computed_twice():
    graph, _ = gated(36, False)
    prepared = passed(graph, preparation())
    kept, dropped = (recompute_flops(plan_of(prepared, rerun).graph) for rerun in WAYS)
    assert kept > 0
    assert dropped >= kept + 36 * 2 * 5 * WIDTH * WIDTH


def test_a_part_of_the_steps_runs_again():
    prepared = decayed(400)
    whole, half, none = (
        recompute_flops(plan_of(prepared, *way).graph)
        for way in ((CheckpointScans(),), (CheckpointScans(share=0.5),), ())
    )
    assert none == 0
    assert 0.4 * whole < half < 0.6 * whole
    held = [plan_of(prepared, CheckpointScans(share=share)).arena_bytes for share in (0.4, 0.6, 0.8, 1.0)]
    assert held == sorted(held, reverse=True)


class Recurrent(nn.Module):
    def __init__(self, kind: type[Any], layers: int, bidirectional: bool) -> None:
        self.cells = kind(6, 8, num_layers=layers, bidirectional=bidirectional, dropout=0.3 if layers > 1 else 0.0)
        self.out = nn.Linear(16 if bidirectional else 8, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.cells(x)[0])


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]).reshape(-1, 3), batch["y"].reshape(-1))


@pytest.mark.parametrize(("kind", "layers", "both"), [(nn.LSTM, 2, False), (nn.GRU, 1, True)])
def test_recurrent_networks_fit_every_budget_with_the_same_bits(kind: type[Any], layers: int, both: bool):
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((41, 5, 6), np.float32), "y": rng.integers(0, 3, (41, 5))}

    def run(memory: int | None) -> tuple[Any, gl.Step]:
        model = Recurrent(kind, layers, both)
        step = gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-2), batch, memory=memory, threads=2)
        losses = [step(batch).tobytes() for _ in range(3)]
        return (losses, {name: array.tobytes() for name, array in step.parameters().items()}), step

    plan = gl.plan_step(Recurrent(kind, layers, both), loss_fn, gl.optim.AdamW(1e-2), batch, threads=2)
    points = plan.curve(3 if layers > 1 else 2)
    free, _ = run(None)
    assert points[-1].arena_bytes < 0.75 * points[0].arena_bytes
    for point in points[1:]:
        now, step = run(point.total_bytes)
        step.report.check()
        assert step.report.total_bytes <= point.total_bytes
        assert now == free
