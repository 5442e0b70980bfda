"""Attention in tiles in the emulator: outputs and gradients are those of the interpreter, for all sizes and masks."""

import gradloom as gl
import numpy as np
import pytest
from gpu_emulated import run_emulated
from gpu_target import gpu_plan
from gradloom.ir import BFLOAT16, interpret
from gradloom.nn import functional as F
from gradloom.passes.verify.plan import check_plan

RNG = np.random.default_rng(0)
MASK = RNG.random((2, 1, 20, 29)) > 0.5
MASK[0, 0, 3] = MASK[1] = False
"""Some rows see nothing."""


def units(graph):
    made = gpu_plan(graph)
    check_plan(made)
    return [node for node in made.graph.nodes if node.op.is_tiled]


def check(function, arrays, *, count, tolerance):
    graph = gl.trace(function, *arrays)
    assert len(units(graph)) == count
    for actual, wanted in zip(run_emulated(graph, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(wanted))
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.nanmax(np.abs(wanted)))


@pytest.mark.parametrize(
    ("query", "key", "width", "dtype", "options"),
    [
        ((2, 17, 8), (2, 17, 8), 8, "float32", {"is_causal": True}),
        ((3, 1, 8), (3, 31, 8), 24, "float32", {}),
        ((65, 8), (65, 8), 8, "float64", {"is_causal": True, "scale": 0.5}),
        ((2, 2, 20, 16), (2, 2, 29, 16), 16, "float32", {"attn_mask": MASK}),
        ((2, 20, 16), (2, 29, 16), 16, "float32", {"attn_mask": np.where(MASK[0], np.float32(0), np.float32(-np.inf))}),
        ((2, 4, 9, 8), (2, 2, 9, 8), 8, "float32", {"is_causal": True, "enable_gqa": True}),
        ((1, 130, 128), (1, 130, 128), 128, "float32", {"is_causal": True}),
    ],
    ids=["causal", "one-query", "float64", "masked-rows", "added-mask", "grouped", "wide"],
)
def test_attention_and_its_gradients_are_units_that_compute_what_the_interpreter_does(
    query, key, width, dtype, options
):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((*query[:-1], width)).astype(dtype)

    def loss(q, k, v):
        made = F.scaled_dot_product_attention(q, k, v, **options)
        return (made * weights).sum() + (made**2).sum()

    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (query, key, (*key[:-1], width))]
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    check(gl.value_and_grad(loss, argnums=(0, 1, 2)), arrays, count=3, tolerance=tolerance)


def test_dropout_draws_the_bits_of_the_whole_array_in_every_unit():
    rng = np.random.default_rng(2)
    q, k, v = rng.standard_normal((3, 2, 3, 18, 8)).astype("float32")

    def loss(q, k, v):
        with gl.random.key(3):
            return (F.scaled_dot_product_attention(q, k, v, dropout_p=0.3, is_causal=True) ** 2).sum()

    check(gl.value_and_grad(loss, argnums=(0, 1, 2)), [q, k, v], count=3, tolerance=1e-5)


def test_bfloat16_is_read_as_it_is_and_summed_in_float32():
    rng = np.random.default_rng(4)
    q, k, v = rng.standard_normal((3, 2, 16, 8)).astype("float32").astype(BFLOAT16)

    def loss(q, k, v):
        weights = F.softmax((q @ k.transpose(0, 2, 1)).astype("float32"), axis=-1)
        return ((weights.astype(BFLOAT16) @ v).astype("float32") ** 2).sum()

    graph = gl.trace(gl.grad(loss, argnums=(0, 1, 2)), q, k, v)
    made = units(graph)
    assert {str(v.type.dtype) for node in made for v in (node.inputs[0], node.inputs[-1])} == {"bfloat16"}
    assert {str(v.type.dtype) for node in made for v in node.outputs} == {"float32"}
    for actual, wanted in zip(run_emulated(graph, q, k, v), interpret(graph, q, k, v), strict=True):
        actual, wanted = actual.astype("float32"), wanted.astype("float32")
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=0.02 * np.abs(wanted).max())


def test_two_runs_give_the_same_bits():
    q = np.random.default_rng(3).standard_normal((2, 16, 8)).astype("float32")
    graph = gl.trace(gl.grad(lambda q: F.scaled_dot_product_attention(q, q, q).sum()), q)
    one, two = (run_emulated(graph, q, checked=checked)[0] for checked in (True, False))
    assert one.tobytes() == two.tobytes()
