"""Attention as units of a GPU: recognized however it is written, and left alone where scores are wanted."""

import math

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import interpret, parse, spec
from gradloom.nn import functional as F
from gradloom.passes.kernels.score_tiles import skips_above_diagonal
from gradloom.passes.pipeline import plan_graph, preparation, run_passes
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan

H, N, S, D = 2, 3, 40, 16
TARGET = Target.cuda("sm_90")


def heads(x):
    return (p.reshape(*x.shape[:2], H, -1).transpose(0, 2, 1, 3) for p in np.split(x, 3, -1))


def library(x, **options):
    return F.scaled_dot_product_attention(*heads(x), **options)


def masked(x):
    return library(x, attn_mask=np.tri(S, k=2, dtype=bool))


def dropped(x):
    return library(x, dropout_p=0.2, is_causal=True)


def by_hand(x):
    q, k, v = heads(x)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def einsum(x):
    q, k, v = (p.reshape(*x.shape[:2], H, -1) for p in np.split(x, 3, -1))
    scores = np.einsum("nqhd,nkhd->nhqk", q, k)
    mask = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
    weights = F.softmax(np.where(mask, scores, -1e9), axis=-1)
    return np.einsum("nhqk,nkhd->nqhd", weights, v)


def values_first(x):
    q, k, v = heads(x)
    weights = F.softmax(np.tanh(q @ k.transpose(0, 1, 3, 2)), axis=-1)
    return np.einsum("nhkd,nhqk->nhdq", v, weights)


def biased(x):
    q, k, v = heads(x)
    places = np.arange(S)
    slopes = np.array([0.5, 0.25], np.float32)[:, None, None]
    scores = q @ k.transpose(0, 1, 3, 2) - slopes * np.abs(places[:, None] - places).astype(np.float32)
    return F.softmax(scores, axis=-1) @ v


def one_head(x):
    return F.scaled_dot_product_attention(x[0, :, :D], x[0, :, D : 2 * D], x[0, :, 2 * D :])


def graph_of(attention, loss=lambda o: (o**2).mean(), dtype="float32"):
    model = nn.Linear(D, 3 * D, dtype=dtype)
    return trace_step(model, lambda m, x: loss(attention(m(x))), optim.SGD(0.1), spec((N, S, D), dtype)).graph


def prepared(graph, without=()):
    return run_passes(graph, [step for step in preparation(target=TARGET) if step.name not in without])


def units(graph):
    return [node for node in graph.nodes if node.op.is_tiled]


def inputs_for(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(0.5 * rng.standard_normal(v.type.shape)).astype(v.type.dtype) for v in graph.inputs]


@pytest.mark.parametrize(
    "attention", [library, masked, dropped, by_hand, einsum, values_first, biased, one_head], ids=lambda f: f.__name__
)
def test_the_numbers_stay_and_no_scores_are_held(attention):
    graph = graph_of(attention)
    fused = prepared(graph)
    fused.verify()
    assert str(parse(str(fused))) == str(fused)
    whole = prepared(graph, "fuse-attention")
    # What the derivative of a softmax subtracts needs no scores; that of a largest score is a sum of them and a count.
    count = 3 if attention is by_hand else 2
    assert [node.origin.role for node in units(fused)] == ["forward", *["backward"] * count]
    assert [node.attrs["over"] for node in units(fused)].count("rows") == 1
    shape = next(iter(units(fused))).attrs["body"].outputs[0].type.shape
    shapes = [{v.type.shape for n in made.nodes if n.op.has_kernel for v in n.outputs} for made in (whole, fused)]
    assert (shape in shapes[0], shape in shapes[1]) == (True, False)
    arrays = inputs_for(graph)
    for one, two in zip(interpret(whole, *arrays), interpret(fused, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    check_plan(plan_graph(graph, target=TARGET))


def sigmoids(x):
    q, k, v = heads(x)
    return F.sigmoid(q @ k.transpose(0, 1, 3, 2) - 5.0) @ v


def distances(x):
    squares = (x**2).sum(axis=-1)
    apart = squares[:, :, None] + squares[:, None, :] - 2 * x @ x.transpose(0, 2, 1)
    return np.exp(-apart) @ x


@pytest.mark.parametrize("attention", [sigmoids, distances], ids=lambda f: f.__name__)
def test_scores_without_a_softmax_are_units_too(attention):
    graph = trace_step(
        nn.Linear(D, 24), lambda m, x: (attention(m(x)) ** 2).mean(), optim.SGD(0.1), spec((N, S * 2, D))
    ).graph
    whole, fused = prepared(graph, "fuse-attention"), prepared(graph)
    assert [node.origin.role for node in units(fused)] == ["forward", "backward", "backward"]
    assert not any(node.attrs["softmax"] for node in units(fused))
    arrays = inputs_for(graph)
    for one, two in zip(interpret(whole, *arrays), interpret(fused, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    check_plan(plan_graph(graph, target=TARGET))


def test_products_with_parameters_are_no_scores():
    class Experts(nn.Module):
        def __init__(self):
            self.up = nn.Parameter(np.ones((4, 8, 64), np.float32))
            self.down = nn.Parameter(np.ones((4, 64, 8), np.float32))

        def forward(self, x):
            return F.relu(x @ self.up) @ self.down

    graph = trace_step(Experts(), lambda m, x: m(x).sum(), optim.SGD(0.1), spec((4, 128, 8))).graph
    assert not units(prepared(graph))


def test_the_arena_grows_with_the_length_not_its_square():
    def arena(length):
        x = gl.spec((2, length, 16))
        graph = gl.trace(gl.grad(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True).sum()), x)
        return plan_graph(graph, target=TARGET).arena_bytes

    assert arena(4096) < 4.5 * arena(1024) < 1024 * 1024 * 4


def with_weights(x):
    q, k, v = heads(x)
    weights = F.softmax(q @ k.transpose(0, 1, 3, 2), axis=-1)
    return np.concatenate([weights @ v, weights], axis=-1)


def largest_weights(x):
    q, k, v = heads(x)
    weights = F.softmax(q @ k.transpose(0, 1, 3, 2), axis=-1)
    return weights @ v * weights.max(axis=-1, keepdims=True)


def one_shift_for_all(x):
    q, k, v = heads(x)
    scores = q @ k.transpose(0, 1, 3, 2)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum(axis=-1, keepdims=True) @ v


@pytest.mark.parametrize("attention", [with_weights, largest_weights, one_shift_for_all], ids=lambda f: f.__name__)
def test_where_scores_are_wanted_they_are_whole(attention):
    graph = graph_of(attention)
    fused = prepared(graph)
    assert not units(fused)
    assert str(fused) == str(prepared(graph, "fuse-attention"))


def test_a_mixture_of_experts_of_a_softmax_is_no_attention():
    """Its matrix is wider than its scores: nothing would be saved."""
    model = nn.Sequential(nn.Linear(D, 8), nn.Softmax(-1), nn.Linear(8, 64))
    graph = trace_step(model, lambda m, x: m(x).sum(), optim.SGD(0.1), spec((S, D))).graph
    assert not units(prepared(graph))


def test_beside_loops_attention_is_found_in_their_bodies():
    def layer(x, w):
        y = x @ w
        return x + F.scaled_dot_product_attention(y, y, y), (y**2).sum()

    def loss(x, w):
        x, sums = gl.scan(layer, x, w)
        return (F.scaled_dot_product_attention(x, x, x) ** 2).sum() + sums.sum()

    graph = gl.trace(loss, gl.spec((N, S, D)), gl.spec((2, D, D)))
    fused = prepared(graph)
    (loop,) = [node for node in fused.nodes if node.op.is_scan]
    assert len(units(fused)) == len(units(loop.attrs["body"])) == 1
    arrays = inputs_for(graph)
    for one, two in zip(interpret(graph, *arrays), interpret(fused, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4)


def test_a_causal_mask_halves_the_tiles():
    assert all(map(skips_above_diagonal, units(prepared(graph_of(dropped)))))
    for attention in (library, masked, biased):
        assert not any(map(skips_above_diagonal, units(prepared(graph_of(attention)))))
