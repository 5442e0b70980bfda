"""What does not depend on the arguments of a hoisted function is computed once, before the loop that calls it."""

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
from gradloom.engine.tracing.hoisted import hoisted
from gradloom.ir import spec


def powers(w: Any, x: Any) -> Any:
    product = hoisted(lambda v: [gnp.exp(w @ w) @ v * 2, w], spec((3,), "float64"))
    last, _ = gl.scan(lambda v, _: (product(v)[0], product(v)[1][0]), x, length=4)
    return last + product(x)[0]


def test_a_loop_has_only_what_depends_on_its_steps():
    graph = gl.trace(powers, gl.spec((3, 3), "float64"), gl.spec((3,), "float64"))
    (loop,) = [node for node in graph.nodes if node.op.is_scan]
    outside, inside = ([node.op.name for node in nodes] for nodes in (graph.nodes, loop.attrs["body"].nodes))
    assert outside.count("exp") == 1
    assert "exp" not in inside
    assert inside.count("dot") == 2


def test_it_computes_what_the_function_does():
    w, x = np.random.default_rng(0).standard_normal((2, 3, 3))[0] / 3, np.ones(3)
    expected = x
    for _ in range(4):
        expected = np.exp(w @ w) @ expected * 2
    expected = expected + np.exp(w @ w) @ x * 2
    np.testing.assert_allclose(gl.compile(powers)(w, x), expected, rtol=1e-12)
