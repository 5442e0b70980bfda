"""The policy of mixed precision: what is rounded to bfloat16 is a pair of casts, and all else is float32."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.tracing.activations import in_precision
from gradloom.engine.tracing.precisions import checked_precision
from gradloom.engine.tracing.tracer import current_trace
from gradloom.ir import BFLOAT16
from gradloom.passes.pipeline import passed
from gradloom.passes.simplify.push_casts import PushCasts
from gradloom.passes.simplify.simplify import Simplify


def traced(fn, *args, everywhere=True):
    def inside(*arrays):
        with in_precision("bf16", current_trace(), everywhere=everywhere):
            return fn(*arrays)

    return gl.trace(inside, *args)


def dtypes(graph, name):
    """The dtypes of what ops of a name read and make."""
    nodes = [node for node in graph.nodes if node.op.name == name]
    return {"".join(sorted({v.type.dtype.name for v in (*n.inputs, *n.outputs)})) for n in nodes}


def is_rounded(value):
    return value.node.op.name == "cast" and value.node.inputs[0].type.dtype == BFLOAT16


X, W = gl.spec((4, 8)), gl.spec((8, 8))


def test_products_have_bfloat16_operands_and_results_and_who_traces_sees_float32():
    seen = []

    def f(x, w):
        y = x @ w
        seen.append((y.dtype, np.einsum("ij,kj->ik", y, x).dtype))
        return y

    graph = traced(f, X, W)
    assert seen == [(np.float32, np.float32)]
    assert dtypes(graph, "dot") == {"bfloat16"}
    assert is_rounded(graph.outputs[0])


def test_what_is_made_of_activations_and_parameters_element_by_element_is_rounded():
    def f(x, w):
        h = x @ w
        return np.tanh(h), h + h, h * 0.5, h[:, :3], np.where(h > 0, h, 0), np.concatenate([h, h])

    assert all(map(is_rounded, passed(traced(f, X, W), [PushCasts()]).outputs))


def test_sums_and_what_meets_them_are_float32():
    def f(x, w):
        h = x @ w
        return h.sum(axis=1), h - h.mean(axis=1, keepdims=True), h * x, h.max(), np.cumsum(h, axis=0)

    graph = traced(f, X, W)
    assert not any(map(is_rounded, graph.outputs))
    assert dtypes(graph, "reduce_sum") == {"float32"}


@pytest.mark.parametrize("fn", [nn.layer_norm, nn.rms_norm])
def test_a_normalization_is_float32_inside_and_rounded_at_its_end(fn):
    graph = traced(lambda x, w: fn(x @ w, 8), X, W)
    assert is_rounded(graph.outputs[0])
    assert sum(node.op.name == "cast" for node in graph.nodes) == 5  # of operands, of the product's result, at the end


@pytest.mark.parametrize("fn", [nn.softmax, nn.log_softmax, nn.logsumexp])
def test_softmax_is_float32(fn):
    graph = traced(lambda x, w: fn(x @ w, axis=1), X, W)
    assert not is_rounded(graph.outputs[0])
    assert sum(node.op.name == "cast" for node in graph.nodes) == 3


@pytest.mark.parametrize(
    "fn", [nn.gelu, nn.silu, nn.softplus, nn.elu, nn.hardswish, nn.mish, nn.relu, nn.tanh, nn.sigmoid]
)
def test_an_activation_function_is_rounded_once(fn):
    graph = passed(traced(lambda x, w: fn(x @ w), X, W), [PushCasts()])
    assert is_rounded(graph.outputs[0])
    # Of both operands, and of the result; an op that is exact needs none.
    roundings = [n for n in graph.nodes if n.op.name == "cast" and n.output.type.dtype == BFLOAT16]
    numbers = [n for n in roundings if n.inputs[0].node is not None and n.inputs[0].node.op.is_generated]
    assert len(roundings) - len(numbers) == 3 - (fn is nn.relu)


def test_losses_are_float32():
    def f(x, w):
        y = x @ w
        return nn.mse_loss(y, y * y, reduction="none"), nn.binary_cross_entropy_with_logits(y, y, reduction="none")

    assert not any(map(is_rounded, traced(f, X, W).outputs))


def test_outside_of_modules_products_alone_are_rounded():
    graph = traced(lambda x, w: (np.tanh(x @ w), x @ w), X, W, everywhere=False)
    assert [is_rounded(v) for v in graph.outputs] == [False, True]


def test_float64_and_integers_stay_as_they_are():
    def f(x, w, i):
        return x @ w, i @ i

    graph = traced(f, gl.spec((4, 8), "float64"), gl.spec((8, 8), "float64"), gl.spec((3, 3), "int64"))
    assert dtypes(graph, "dot") == {"float64", "int64"}


def test_loops_carry_float32_and_stack_bfloat16():
    def f(h, w, xs):
        def step(h, x):
            y = np.tanh(x + h @ w)
            return h + y, y

        return gl.scan(step, h, xs @ w)

    graph = passed(traced(f, gl.spec((8,)), W, gl.spec((5, 8))), [PushCasts()])
    (loop,) = [node for node in graph.nodes if node.op.is_scan]
    assert [v.type.dtype.name for v in loop.outputs] == ["float32", "bfloat16"]
    assert loop.inputs[-1].type.dtype == BFLOAT16
    assert [v.type.dtype.name for v in graph.outputs] == ["float32", "float32"]


def test_gradients_of_parameters_are_not_rounded_and_accumulate_in_float32():
    def loss(w, x):
        def step(total, x):
            return total + np.sum((x @ w) * x), None

        return gl.scan(step, np.float32(0), x)[0]

    graph = passed(traced(gl.grad(loss), W, gl.spec((6, 8))), [Simplify()])
    assert graph.outputs[0].type.dtype == np.float32
    (back,) = [node for node in graph.nodes if node.op.is_scan and node.outputs[0].type.shape == (8, 8)]
    assert back.outputs[0].type.dtype == np.float32
    assert "float32" in dtypes(back.attrs["body"], "dot")


def test_numbers_are_those_of_float32_to_the_precision_of_bfloat16():
    def f(x, w):
        return np.sum(nn.gelu(nn.layer_norm(x @ w, 8)) @ w)

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 8), np.float32), rng.standard_normal((8, 8), np.float32)

    def both(x, w):
        return gl.value_and_grad(f, argnums=(0, 1))(x, w)

    rounded, exact = gl.interpret(traced(both, x, w), x, w), gl.interpret(gl.trace(both, x, w), x, w)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=0.03 * np.abs(b).max())
    assert not np.array_equal(rounded[1], exact[1])


def test_wrong_precisions_say_what_to_write():
    assert [checked_precision(p) for p in ("fp32", "tf32", "bf16", "fp16")] == ["fp32", "tf32", "bf16", "fp16"]
    assert [checked_precision(p) for p in ("float32", "bfloat16", "float16")] == ["fp32", "bf16", "fp16"]
    for given, instead in (("half", "fp16"), (np.float32, "fp32"), ("amp", "bf16"), (16, "bf16"), (None, "bf16")):
        with pytest.raises(ValueError, match=f"precision is .*write precision=.{instead}."):
            checked_precision(given)
