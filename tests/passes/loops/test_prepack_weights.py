"""Weights of loops are turned once: before the outermost loop, and the numbers stay."""

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.loops.prepack_weights import PrepackWeights


def recurrent(rows: int, steps: int):
    def f(w, x):
        return gl.scan(lambda h, x: (np.tanh(h @ w.T + x), None), np.zeros((rows, 6), np.float32), x)[0]

    return f, gl.spec((6, 6)), gl.spec((steps, rows, 6))


def names(graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_a_weight_is_turned_before_the_loop():
    graph = PrepackWeights()(gl.trace(*recurrent(5, 8)))
    (loop,) = [node for node in graph.nodes if node.op.name == "scan"]
    assert "copy" in names(graph)
    assert not {"copy", "transpose"} & set(names(loop.attrs["body"]))


@pytest.mark.parametrize(("rows", "steps"), [(1, 8), (65, 8), (5, 3)])
def test_nothing_is_copied_where_that_gains_little(rows: int, steps: int):
    assert "copy" not in names(PrepackWeights()(gl.trace(*recurrent(rows, steps))))


@pytest.mark.parametrize(("steps", "copied"), [(7, False), (8, True)])
def test_a_weight_larger_than_the_cache_is_copied_for_many_steps_only(steps: int, copied: bool):
    def f(w, x):
        return gl.scan(lambda h, x: (np.tanh(h @ w.T + x), None), np.zeros((2, 2200), np.float32), x)[0]

    graph = PrepackWeights()(gl.trace(f, gl.spec((2200, 2200)), gl.spec((steps, 2, 2200))))
    assert ("copy" in names(graph)) == copied


@pytest.mark.parametrize(("wide", "copied"), [(64, True), (1024, False)])
def test_a_weight_is_not_copied_beside_products_that_take_far_longer(wide: int, copied: bool):
    def f(w, v, x):
        def step(h, x):
            return np.tanh(h @ w.T + x + np.sum((v + h[0, 0]) @ v)), None

        return gl.scan(step, np.zeros((3, 64), np.float32), x)[0]

    graph = PrepackWeights()(gl.trace(f, gl.spec((64, 64)), gl.spec((wide, wide)), gl.spec((8, 3, 64))))
    assert ("copy" in names(graph)) == copied


def test_copies_leave_loops_within_loops_and_numbers_stay():
    inner, w, x = recurrent(3, 5)
    graph = gl.trace(lambda w, xs: gl.scan(lambda c, x: (c + inner(w, x), None), np.zeros((3, 6), np.float32), xs)[0],
                     w, gl.spec((4, *x.shape)))  # fmt: skip
    turned = PrepackWeights()(graph)
    turned.verify()
    (loop,) = [node for node in turned.nodes if node.op.name == "scan"]
    assert "copy" in names(turned)
    assert "copy" not in names(loop.attrs["body"])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(gl.interpret(turned, *arrays), gl.interpret(graph, *arrays)):
        np.testing.assert_allclose(a, b, rtol=1e-6)
