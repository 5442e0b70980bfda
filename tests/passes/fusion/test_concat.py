"""Parts of an array are written into the whole by the loop that makes them."""

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gradloom.engine.tracing.trace import trace
from gradloom.ir import interpret, spec
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.plan import check_plan
from unjitted import run_unjitted

SHAPES = [(4, 32), (5, 17), (32,), (3, 4, 40), (2, 1, 33)]


def gates(x, y, axis):
    product = x * y
    return np.concatenate([np.tanh(product), product - y, np.exp(-product * product)], axis)


def loops(graph):
    return [n for n in run_passes(graph).nodes if n.op.name == "region"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, -1])
def test_the_whole_is_that_of_the_parts(shape, axis):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    graph = trace(lambda x, y: gates(x, y, axis), x, y)
    (loop,) = loops(graph)
    assert loop.attrs["body"].outputs[0].node.op.name == "concatenate"
    planned = plan(run_passes(graph), 1)
    check_plan(planned)
    expected = interpret(graph, x, y)
    (jitted,) = run_compiled(graph, x, y, threads=2)
    (plain,) = run_unjitted(planned, x, y)
    np.testing.assert_allclose(jitted, expected[0], rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(plain, expected[0], rtol=2e-6, atol=1e-6)


def test_a_part_that_comes_twice_stands_in_both_places():
    x = np.random.default_rng(2).standard_normal((4, 32))
    graph = trace(lambda x: np.concatenate([np.tanh(x * 2), np.exp(x), np.tanh(x * 2)], -1), x)
    (whole,) = run_compiled(graph, x, threads=2)
    np.testing.assert_allclose(whole, interpret(graph, x)[0], rtol=1e-12)


def test_parts_come_with_sums_and_rows_and_other_outputs():
    def fn(x, y):
        centred = x - np.mean(x, axis=-1, keepdims=True)
        scaled = centred * y
        whole = np.concatenate([np.tanh(scaled), scaled * centred], -1)
        return whole, scaled, np.sum(scaled, axis=0)

    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal((70, 45)).astype(np.float32) for _ in range(2))
    graph = trace(fn, x, y)
    assert any("concatenate" in str(loop.attrs["body"]) for loop in loops(graph))
    assert all(n.op.name != "concatenate" for n in run_passes(graph).nodes)
    check_plan(plan(run_passes(graph), 2))
    results = [run_compiled(graph, x, y, threads=threads) for threads in (1, 2, 4)]
    for result, expected in zip(results[0], interpret(graph, x, y)):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(other, results[0]))


def test_gradients_of_gates_need_no_copy():
    lstm = gl.nn.LSTM(8, 32)
    step = gl.plan_step(
        lstm, lambda m, b: gl.nn.functional.mse_loss(m(b)[0], 0 * m(b)[0]), gl.optim.SGD(0.1), spec((6, 3, 8))
    )
    bodies = [n.attrs["body"] for n in run_passes(step.graph).nodes if n.op.name == "scan"]
    assert bodies
    assert all(n.op.name != "concatenate" for body in bodies for n in body.nodes)
