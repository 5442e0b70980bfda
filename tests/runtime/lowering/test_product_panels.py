"""Products whose operands are packed: no copy reads or writes beside its place, and every cut gives the same bits."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.codegen.host import runnable
from unjitted import run_unjitted

TARGETS = ["avx2", "sse", "neon"]


def both(x: Any, w: Any) -> Any:
    """Products of a left operand as it lies and transposed, the right one as it lies and transposed."""
    return x @ w, (w.T @ x.T).T


def operands(m: int, k: int, n: int, dtype: str = "float32") -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(m + k + n)
    return [rng.integers(-4, 4, shape).astype(dtype) for shape in ((m, k), (k, n))]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("m", "k", "n"), [(50, 3, 41), (49, 2, 50)])
def test_copies_stay_in_their_panels(name: str, m: int, k: int, n: int):
    x, w = operands(m, k, n)
    graph = gl.trace(both, gl.spec(x.shape), gl.spec(w.shape))
    found = run_unjitted(plan_graph(graph, target=Target.cpu(name)), x, w)
    for array, expected in zip(found, both(x, w)):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.skipif("avx2" not in runnable(), reason="no target that packs runs here")
def test_products_of_many_shapes_are_exact():
    shapes = [(48, 1, 16), (61, 300, 47), (130, 64, 129), (300, 257, 70), (97, 700, 8), (200, 16, 515)]
    for dtype in ("float32", "float64"):
        given = [operands(*shape, dtype) for shape in shapes]

        def f(given: Any) -> Any:
            return [(both(x, w), np.maximum(w.T @ x.T + 1, 0).sum(axis=0)) for x, w in given]

        for name in (name for name in ("avx2", "sse") if name in runnable()):
            for threads in (1, 2):
                found = gl.compile(f, target=Target.cpu(name), threads=threads)(given)
                for ((one, two), three), ((a, b), c) in zip(found, f(given)):
                    np.testing.assert_array_equal(one, a)
                    np.testing.assert_array_equal(two, b)
                    np.testing.assert_array_equal(three, c)


def test_a_target_with_long_vectors_copies_rows_that_lie_far_apart():
    x, w = operands(512, 2, 1029)

    def f(x: Any, w: Any) -> Any:
        return x @ w[:, 5:40]

    graph = gl.trace(f, gl.spec(x.shape), gl.spec(w.shape))
    made = plan_graph(graph, target=Target.cpu("avx512"))
    (dot,) = (node for node in made.graph.nodes if node.op.is_contraction)
    assert dot in made.scratch
    (found,) = run_unjitted(made, x, w)
    np.testing.assert_array_equal(found, f(x, w))
    if "avx512" in runnable():
        x, w = operands(600, 300, 1029)
        for threads in (1, 2):
            compiled = gl.compile(lambda x, w: x @ w, target=Target.cpu("avx512"), threads=threads)
            np.testing.assert_array_equal(compiled(x, w), x @ w)
