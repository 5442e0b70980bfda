"""A weight's gradient and its update in one region: the gradient is never whole in memory."""

from itertools import pairwise

import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import interpret, spec
from gradloom.nn import functional as F
from gradloom.passes.kernels.loop_nest import product_of, tile_rows
from gradloom.passes.pipeline import plan_graph, run_passes
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan


def model_of(*widths, bias=True):
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def batch_of(n, wide, classes, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((n, wide)).astype("float32"), "y": rng.integers(0, classes, n)}


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"])


def products(graph):
    return [node for node in graph.nodes if node.op.name == "region" and product_of(node) is not None]


def step_graph(*widths, optimizer=None, **options):
    batch = {"x": spec((32, widths[0])), "y": spec((32,), "int64")}
    return trace_step(model_of(*widths), loss_fn, optimizer or optim.AdamW(1e-3), batch, **options).graph


@pytest.mark.parametrize("optimizer", [optim.AdamW(1e-3), optim.Adam(1e-3), optim.SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("widths", [(256, 512, 512, 10), (96, 520, 10), (784, 512, 64, 3), (64, 64, 50, 10)])
def test_gradients_are_used_tile_by_tile(widths, optimizer):
    graph = step_graph(*widths, optimizer=optimizer)
    fused = run_passes(graph)
    fused.verify()
    assert products(fused)
    rng = np.random.default_rng(0)
    arrays = [
        np.asarray(np.abs(0.1 * rng.standard_normal(v.type.shape)) if v.type.dtype.kind == "f" else
                   rng.integers(0, 3, v.type.shape)).astype(v.type.dtype)
        for v in graph.inputs
    ]  # fmt: skip
    for one, two in zip(interpret(graph, *arrays), interpret(fused, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    for threads in (1, 2, 3):
        check_plan(plan_graph(graph, threads, True))


def test_the_arena_holds_no_whole_gradient():
    planned = plan_graph(step_graph(256, 1024, 1024, 10), 2, True)
    assert planned.arena_bytes < 1024 * 1024 * 4


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}])
def test_a_gradient_that_is_needed_whole_stays_whole(options):
    assert not products(run_passes(step_graph(256, 512, 512, 10, **options)))


@pytest.mark.peers
@pytest.mark.parametrize("widths", [(784, 512, 512, 10), (100, 600, 520, 7)])
def test_steps_have_the_numbers_of_torch_and_the_same_bits_for_any_threads(widths):
    results = []
    for threads in (1, 2, 4):
        batch = batch_of(48, widths[0], widths[-1])
        step = compile_step(model_of(*widths), loss_fn, optim.AdamW(1e-3), batch, threads=threads)
        assert products(step.report.plan.graph)
        losses = [step(batch_of(48, widths[0], widths[-1], seed)) for seed in range(4)]
        results.append((losses, step.parameters()))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, results[0][1][name])
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential()
    for i, (before, after) in enumerate(pairwise(widths)):
        model.append(torch.nn.Linear(before, after))
        if i < len(widths) - 2:
            model.append(torch.nn.Tanh())
    step = compile_step(model_of(*widths), loss_fn, optim.AdamW(1e-3), batch_of(48, widths[0], widths[-1]))
    model.load_state_dict({name: torch.tensor(value) for name, value in step.parameters().items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for seed in range(4):
        batch = batch_of(48, widths[0], widths[-1], seed)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(step(batch), loss.item(), rtol=1e-5)


@pytest.mark.parametrize("m", [128, 200, 513, 2048, 10_000])
def test_there_are_tiles_for_several_threads(m):
    rows = tile_rows(m, 100)
    assert rows % 16 == 0
    assert -(-m // rows) >= 3


def test_an_update_over_what_the_product_reads_is_a_fault():
    planned = plan_graph(step_graph(512, 512, 512, 10), 2, True)
    check_plan(planned)
    (node, *_) = products(planned.graph)
    planned.in_place[node][0] = 0
    with pytest.raises(PlanVerificationError):
        check_plan(planned)
