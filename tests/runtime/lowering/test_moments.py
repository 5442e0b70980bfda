"""Sums and sums of squared distances from the mean, tile by tile: exact beside a large mean, the same bits always."""

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.nn import functional as F
from gradloom.passes.kernels.moment_tiles import MomentTiles
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from unjitted import run_unjitted

SHAPES = [((6, 5, 7, 3), 3), ((32, 32, 32, 4), 3), ((3, 30, 31, 10), 3), ((4000, 12), 1), ((1, 9, 1, 300), 3),
          ((7, 5), 2), ((2, 3, 4, 5), 1)]  # fmt: skip


def graph_of(shape, rows, dtype="float32"):
    b = Builder()
    x = b.input(spec(shape, dtype), "x")
    return b.graph([b.emit(OPS["moments"], x, rows=rows)])


def compiled(graph, threads, *arrays):
    made = plan(run_passes(graph), threads)
    check_plan(made)
    return run_executable(Executable(made), graph, arrays)[0][0]


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize(("shape", "rows"), SHAPES)
def test_what_is_combined_of_tiles_keeps_the_digits_that_the_array_has(shape, rows, mean):
    x = (mean + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    exact = interpret(graph_of(shape, rows, "float64"), x.astype(np.float64))[0]
    found = compiled(graph_of(shape, rows), 1, x)
    count = np.prod(shape[:rows])
    np.testing.assert_allclose(found[0] / count, exact[0] / count, rtol=1e-6, atol=1e-6)
    # Beside a mean of 1000 the digits of x itself end at 3e-5.
    np.testing.assert_allclose(found[1] / count, exact[1] / count, rtol=3e-5 if mean else 1e-6)
    for threads in (2, 4):
        np.testing.assert_array_equal(compiled(graph_of(shape, rows), threads, x), found)
    double = compiled(graph_of(shape, rows, "float64"), 2, x.astype(np.float64))
    np.testing.assert_allclose(double, exact, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("shape", "rows"), SHAPES)
def test_kernels_keep_to_the_memory_that_is_theirs(shape, rows):
    graph = graph_of(shape, rows, "float64")
    x = np.random.default_rng(0).standard_normal(shape)
    found = run_unjitted(plan(run_passes(graph), 2), x)[0]
    np.testing.assert_allclose(found, interpret(graph, x)[0], rtol=1e-12, atol=1e-9)


def test_a_plan_without_room_for_the_parts_is_refused_by_the_verifier():
    made = plan(run_passes(graph_of((32, 32, 32, 4), 3)), 2)
    (node,) = made.phases[0]
    (block,) = [block for block in made.blocks if block.unit is node]
    assert block.nbytes == MomentTiles.of(node, made.target).scratch_bytes(2)
    object.__setattr__(block, "nbytes", block.nbytes - 64)
    with pytest.raises(PlanVerificationError, match="scratch"):
        check_plan(made)


def test_a_layer_that_normalizes_reads_what_it_normalizes_once_for_its_statistics():
    model = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 5))
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((256, 64), np.float32), "y": rng.integers(0, 5, 256)}

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    states = []
    for threads in (1, 2, 4):
        step = compile_step(model, loss_fn, optim.SGD(0.1), batch, threads=threads)
        assert sum(node.op.name == "moments" for node in step.report.plan.graph.nodes) == 1
        losses = [step(batch) for _ in range(3)]
        states.append([*losses, *step.parameters().values()])
    for state in states[1:]:
        for one, two in zip(states[0], state, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("axis", [0, (0, 1)])
def test_sums_that_are_asked_for_beside_variances_are_written(axis):
    x = np.random.default_rng(0).standard_normal((64, 16, 12)).astype(np.float32)

    def program(x):
        off = x - np.sum(x, axis=axis, keepdims=True) / np.float32(x.size // x.sum(axis=axis).size)
        return np.sum(x, axis=axis), np.var(x, axis=axis), np.std(x, axis=axis), np.sum(off * off, axis=axis)

    for got, wanted in zip(gl.compile(program)(x), program(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
