"""Attention's scores tile by tile: never whole in memory, forward or backward, however the user writes it."""

import math

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.nn import functional as F
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.simplify.simplify import Simplify
from gradloom.passes.tiling.attention import TileAttention
from gradloom.passes.verify.plan import check_plan

N, S, D, H = 3, 256, 16, 2


def heads(x, parts):
    n, s, _ = x.shape
    return [p.reshape(n, s, H, -1).transpose(0, 2, 1, 3) for p in np.split(x, parts, -1)]


def torch_like(x):
    return F.scaled_dot_product_attention(*heads(x, 3))


def causal(x):
    return F.scaled_dot_product_attention(*heads(x, 3), is_causal=True)


def by_hand(x):
    q, k, v = heads(x, 3)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def einsum(x):
    q, k, v = (p.reshape(*x.shape[:2], H, -1) for p in np.split(x, 3, -1))
    scores = np.einsum("nqhd,nkhd->nhqk", q, k)
    mask = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
    weights = F.softmax(np.where(mask, scores, -1e9), axis=-1)
    return np.einsum("nhqk,nkhd->nqhd", weights, v)


def dropped(x):
    return F.scaled_dot_product_attention(*heads(x, 3), dropout_p=0.2)


def sigmoid_attention(x):
    q, k, v = heads(x, 3)
    return gl.nn.functional.sigmoid(q @ k.transpose(0, 1, 3, 2) - 5.0) @ v


def distances(x):
    squares = (x**2).sum(axis=-1)
    apart = squares[:, :, None] + squares[:, None, :] - 2 * x @ x.transpose(0, 2, 1)
    return np.exp(-apart) @ x


def step_of(attention, n=N, s=S, dtype="float32"):
    model = nn.Linear(D, 3 * D, dtype=dtype) if dtype != "float32" else nn.Linear(D, 3 * D)

    def loss(model, batch):
        return (attention(model(batch["x"])) ** 2).mean()

    return model, loss, optim.SGD(0.1), {"x": spec((n, s, D), dtype)}


def loops(graph):
    return [node for node in graph.nodes if node.op.name == "scan"]


def inputs_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(0.5 * rng.standard_normal(v.type.shape)).astype(v.type.dtype) for v in graph.inputs]


def test_dropout_draws_the_bits_of_a_tile_in_forward_and_backward():
    graph = TileAttention()(Simplify()(trace_step(*step_of(dropped)).graph))
    drawn = [[n for n in loop.attrs["body"].nodes if n.op.name == "random_bits"] for loop in loops(graph)]
    assert [len(nodes) for nodes in drawn] == [1, 1]
    assert all(n.op.name != "random_bits" for n in graph.nodes)
    traced = trace_step(*step_of(dropped)).graph
    arrays = inputs_for(traced)
    wanted = interpret(traced, *arrays)
    for threads in (1, 2):
        for one, two in zip(run_compiled(traced, *arrays, threads=threads), wanted, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


ALL = [torch_like, causal, by_hand, einsum, dropped, sigmoid_attention, distances]


@pytest.mark.parametrize("attention", ALL)
def test_the_numbers_stay_and_no_score_matrix_is_held(attention):
    graph = Simplify()(trace_step(*step_of(attention)).graph)
    tiled = TileAttention()(graph)
    assert len(loops(tiled)) == 2
    tiled.verify()
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    assert max(v.type.size for node in tiled.nodes for v in node.outputs) < N * S * S
    for threads in (1, 2):
        planned = plan_graph(trace_step(*step_of(attention)).graph, threads, True)
        check_plan(planned)


@pytest.mark.parametrize("attention", ALL)
def test_the_arena_grows_with_the_length_not_its_square(attention):
    short, long = (
        plan_graph(trace_step(*step_of(attention, n=2, s=s)).graph, 2, True).arena_bytes for s in (512, 2048)
    )
    assert long < 8 * short
    assert long < 2 * 2048 * 2048 * 4


@pytest.mark.parametrize("attention", [causal, by_hand, einsum, distances])
def test_compiled_steps_agree_with_torch_like_numbers_and_have_the_same_bits(attention):
    model, loss, optimizer, batch = step_of(attention)
    x = {"x": np.random.default_rng(0).standard_normal((N, S, D)).astype("float32")}
    results = []
    for threads in (1, 2, 3):
        step = compile_step(model, loss, optimizer, batch, threads=threads)
        before = step.parameters()
        results.append(([step(x) for _ in range(3)], step.parameters()))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, results[0][1][name])
    graph = trace_step(model, loss, optimizer, batch).graph
    state = {"weight": before["weight"], "bias": before["bias"]}
    arrays = [state.get(v.name, np.zeros(v.type.shape, v.type.dtype)) for v in graph.inputs]
    arrays[-1] = x["x"]
    wanted = interpret(graph, *arrays)
    np.testing.assert_allclose(results[0][0][0], wanted[graph.output_names.index("loss")], rtol=1e-5)


@pytest.mark.parametrize("mask_shape", [(S, S), (N, 1, 1, S), (N, 1, S, S), (N, H, S, S)])
@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_masks_of_every_shape(mask_shape, kind):
    def loss(model, batch):
        q, k, v = heads(model(batch["x"]), 3)
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=batch["mask"]) ** 2).mean()

    batch = {"x": spec((N, S, D)), "mask": spec(mask_shape, kind)}
    graph = Simplify()(trace_step(nn.Linear(D, 3 * D), loss, optim.SGD(0.1), batch).graph)
    tiled = TileAttention()(graph)
    assert len(loops(tiled)) == 2
    rng = np.random.default_rng(0)
    arrays = [
        rng.random(v.type.shape) < 0.7 if v.type.dtype.kind == "b" else
        np.asarray(rng.standard_normal(v.type.shape)).astype(v.type.dtype)
        for v in graph.inputs
    ]  # fmt: skip
    for one, two in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_the_layer_of_torch_is_tiled_too():
    model = nn.MultiheadAttention(32, 2, batch_first=True)

    def loss(model, batch):
        return (model(batch["x"], batch["x"], batch["x"], need_weights=False)[0] ** 2).mean()

    planned = plan_graph(trace_step(model, loss, optim.SGD(0.1), {"x": spec((2, 1024, 32))}).graph, 2, True)
    assert planned.arena_bytes < 2 * 2 * 1024 * 1024 * 4


def test_a_loop_over_the_batch_holds_a_loop_over_rows():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(D, 3 * D), nn.Linear(D, 4 * D), nn.Linear(4 * D, D)])

        def forward(self, x):
            n, s, width = x.shape
            y = causal(self.layers[0](x)).transpose(0, 2, 1, 3).reshape(n, s, width)
            return x + self.layers[2](np.tanh(self.layers[1](x + y)))

    model = nn.Sequential(Layer(), Layer())

    def loss(model, batch):
        return (model(batch["x"]) ** 2).mean()

    x = {"x": np.random.default_rng(0).standard_normal((8, 512, D)).astype("float32")}
    losses = []
    for threads in (1, 2, 3):
        step = compile_step(model, loss, optim.AdamW(1e-3), x, threads=threads)
        step.report.check()
        losses.append([step(x) for _ in range(3)])
    assert losses[0] == losses[1] == losses[2]
    (loop,) = loops(step.report.plan.graph)
    (inner,) = loops(loop.attrs["body"])
    assert len(loops(inner.attrs["body"])) == 4
    graph = trace_step(model, loss, optim.AdamW(1e-3), x).graph
    assert plan_graph(graph, 2, True).arena_bytes < 4 * H * 512 * 512 * 4


@pytest.mark.parametrize("s", [100, 257, 300])
def test_lengths_that_have_no_good_tile_keep_their_numbers(s):
    graph = Simplify()(trace_step(*step_of(causal, s=s)).graph)
    tiled = TileAttention()(graph)
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_second_derivatives_keep_their_numbers():
    def loss(model, batch):
        def inner(x):
            return (causal(model(x)) ** 2).mean()

        return (gl.grad(inner)(batch["x"]) ** 2).sum() * 100

    graph = Simplify()(trace_step(nn.Linear(D, 3 * D), loss, optim.SGD(0.1), {"x": spec((2, S, D))}).graph)
    tiled = TileAttention()(graph)
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def normed_over_queries(x):
    q, k, v = heads(x, 3)
    scores = q @ k.transpose(0, 1, 3, 2)
    return (scores - scores.mean(axis=(-1, -2), keepdims=True)) @ v


def test_scores_that_need_all_scores_are_left_alone():
    graph = Simplify()(trace_step(*step_of(normed_over_queries)).graph)
    assert not loops(TileAttention()(graph))


def test_scores_that_are_results_are_left_alone():
    def fn(x):
        q, k, _ = heads(x, 3)
        return np.tanh(q @ k.transpose(0, 1, 3, 2))

    graph = Simplify()(gl.trace(fn, spec((2, S, 3 * D))))
    assert not loops(TileAttention()(graph))


def test_a_weight_gradient_that_goes_on_whole_is_no_wide_value():
    # As of an embedding whose weight is that of the logits, too, in the body of a loop over the batch.
    b = Builder()
    shapes = {"total": (1024, 256), "g": (16, 1024), "x": (16, 256), "updates": (8, 256)}
    total, g, x, updates = (b.input(spec(shape, "float32"), name) for name, shape in shapes.items())
    tokens = b.input(spec((8,), "int64"), "tokens")
    product = b.emit(OPS["dot"], g, x, contract=((0,), (0,)), batch=((), ()))
    added = b.emit(OPS["scatter_add"], ew.add(b, total, product), tokens, updates, axis=0, batch=0)
    graph = b.graph([added])
    assert TileAttention()(graph) is graph
