"""The loop over tiles of the batch: the same numbers, an arena that does not grow, the same bits for any threads."""

import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret, spec, verify
from gradloom.nn import functional as F
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.simplify.simplify import Simplify
from gradloom.passes.tiling.batch import TileBatch
from gradloom.passes.verify.plan import check_plan


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        n, t, width = x.shape
        parts = np.split(self.qkv(self.norm(x)), 3, -1)
        q, k, v = (p.reshape(n, t, self.heads, -1).transpose(0, 2, 1, 3) for p in parts)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(attended.transpose(0, 2, 1, 3).reshape(n, t, width)))
        return x + self.drop(self.down(F.gelu(self.up(x))))


class Model(nn.Module):
    def __init__(self, vocabulary=17, context=32, width=16, heads=2, layers=2, dropout=0.0):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(np.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch_of(n, context=32, vocabulary=17, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, vocabulary, (2, n, context))
    y[rng.random(y.shape) < 0.3] = -100
    return {"x": x, "y": y}


def loss_fn(model, batch):
    logits = model(batch["x"])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))


def loss_and_rows(model, batch):
    logits = model(batch["x"])
    best = logits.argmax(axis=-1)
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))
    return loss, {"right": (best == batch["y"]).sum(), "best": best, "first": logits[:, 0]}


def loops(graph: Graph) -> int:
    return sum(node.op.name == "scan" for node in graph.nodes)


def inputs_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        t = value.type
        made = np.abs(0.1 * rng.standard_normal(t.shape)) if t.dtype.kind == "f" else rng.integers(0, 5, t.shape)
        arrays.append(np.asarray(made).astype(t.dtype))
    return arrays


def assert_same_numbers(one: Graph, two: Graph) -> None:
    verify(two)
    arrays = inputs_for(one)
    for a, b in zip(interpret(one, *arrays), interpret(two, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("loss", [loss_fn, loss_and_rows])
def test_a_transformer_step_keeps_its_numbers(loss, dropout):
    graph = Simplify()(trace_step(Model(dropout=dropout), loss, optim.AdamW(1e-3), batch_of(16)).graph)
    tiled = TileBatch()(graph)
    assert loops(tiled) == 1
    assert_same_numbers(graph, tiled)


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_clipping_comes_after_the_loop(options):
    graph = Simplify()(trace_step(Model(), loss_fn, optim.SGD(0.1), batch_of(16), **options).graph)
    tiled = TileBatch()(graph)
    assert loops(tiled) == 1
    assert_same_numbers(graph, tiled)


def test_a_wide_batch_of_a_small_perceptron_is_tiled():
    model = nn.Sequential(nn.Linear(20, 24), nn.Tanh(), nn.Dropout(0.5), nn.Linear(24, 5))
    batch = {"x": spec((4096, 20)), "y": spec((4096,), "int64")}

    def loss(model, batch):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    graph = Simplify()(trace_step(model, loss, optim.Adam(1e-3), batch).graph)
    tiled = TileBatch()(graph)
    assert loops(tiled) == 1
    assert_same_numbers(graph, tiled)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 12])
def test_any_batch_size_keeps_its_numbers(n):
    model = Model(context=128)
    graph = Simplify()(trace_step(model, loss_fn, optim.SGD(0.1), batch_of(n, 128)).graph)
    assert_same_numbers(graph, TileBatch()(graph))


def test_the_arena_does_not_grow_with_the_batch():
    arenas = [
        plan_graph(trace_step(Model(), loss_fn, optim.AdamW(1e-3), batch_of(n)).graph, 2, True).arena_bytes
        for n in (64, 512)
    ]
    assert arenas[1] < 1.1 * arenas[0]


def test_a_perceptron_holds_its_sums_and_a_tile_where_the_batch_outweighs_them():
    model = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))
    sums = 4 * sum(np.prod(p.shape) for p in model.parameters())

    def arena(n):
        batch = {"x": spec((n, 1024)), "y": spec((n,), "int64")}

        def loss(model, batch):
            return F.cross_entropy(model(batch["x"]), batch["y"])

        return plan_graph(trace_step(model, loss, optim.AdamW(1e-3), batch).graph, 2, True).arena_bytes

    assert arena(256) < 0.5 * sums
    assert sums < arena(2048) == arena(8192) < 1.5 * sums


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_plan_is_sound(threads):
    graph = trace_step(Model(dropout=0.1), loss_and_rows, optim.AdamW(1e-3), batch_of(32)).graph
    planned = plan_graph(graph, threads, True)
    assert planned.bodies
    check_plan(planned)


def test_steps_have_the_same_bits_for_any_number_of_threads():
    results = []
    for threads in (1, 2, 3, 4):
        step = compile_step(Model(dropout=0.2), loss_and_rows, optim.AdamW(1e-2), batch_of(32), threads=threads)
        assert step.report.plan.bodies
        losses = [step(batch_of(32, seed=i)) for i in range(3)]
        results.append((losses, step.parameters()))
    for losses, parameters in results[1:]:
        for (loss, metrics), (wanted, wanted_metrics) in zip(losses, results[0][0], strict=True):
            assert loss == wanted
            for name, metric in metrics.items():
                np.testing.assert_array_equal(metric, wanted_metrics[name])
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, results[0][1][name])


def test_an_index_out_of_range_is_told_and_nothing_is_lost():
    step = compile_step(Model(), loss_fn, optim.AdamW(1e-2), batch_of(32))
    assert step.report.plan.bodies
    before = step.parameters()
    bad = batch_of(32)
    bad["x"][17, 3] = 17
    with pytest.raises(IndexError, match=r"17 entries at .*test_batch.py"):
        step(bad)
    for name, value in step.parameters().items():
        np.testing.assert_array_equal(value, before[name])


def centred(model, batch):
    x = model(batch["x"])
    return ((x - x.mean(axis=0)) ** 2).mean()


def reversed_rows(model, batch):
    return (model(batch["x"]) * model(batch["x"])[::-1]).mean()


def half(model, batch):
    return (model(batch["x"])[: batch["x"].shape[0] // 2] ** 2).mean()


def between_rows(model, batch):
    x = model(batch["x"])
    return (x @ x.T).mean()


@pytest.mark.parametrize("loss", [centred, reversed_rows, half, between_rows])
def test_what_needs_other_entries_of_the_batch_is_left_alone(loss):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    graph = Simplify()(trace_step(model, loss, optim.SGD(0.1), {"x": spec((8192, 8))}).graph)
    tiled = TileBatch()(graph)
    assert loops(tiled) == 0
    assert tiled is graph
