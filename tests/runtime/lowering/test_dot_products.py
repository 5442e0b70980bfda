"""Products of few rows and of few columns: exact sums for every layout and target, without BLAS where it says so."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.codegen.host import runnable
from gradloom.runtime.lowering.launch_list import lower
from unjitted import run_unjitted

SHAPES = [
    (1, 40, 70),
    (2, 33, 9),
    (3, 64, 5),
    (37, 50, 1),
    (20, 16, 10),
    (9, 300, 13),
    (13, 203, 37),
    (1, 7, 1),
    (2, 3, 40),
    (30, 3, 2),
    (20, 40, 2),
    (33, 70, 3),
    (0, 64, 5),
    (5, 64, 0),
]


def operands(m: int, k: int, n: int, dtype: str, batch: tuple[int, ...] = ()) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(m + k + n)
    return [rng.integers(-4, 4, (*batch, *shape)).astype(dtype) for shape in ((m, k), (k, n), (k, m), (n, k))]


def products(x: Any, y: Any, turned: Any, other: Any) -> tuple[Any, ...]:
    """Of every pair of layouts."""
    x_of, y_of = np.swapaxes(turned, -1, -2), np.swapaxes(other, -1, -2)
    return x @ y, x_of @ y, x @ y_of, x_of @ y_of


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse", "neon"])
def test_kernels_read_and_write_nothing_beside_their_operands(name: str):
    for shape in ((1, 17, 9), (3, 16, 4), (5, 19, 3), (6, 16, 1), (9, 18, 2), (5, 49, 41)):
        given = operands(*shape, "float32", (2,))
        graph = gl.trace(products, *map(gl.spec, (a.shape for a in given)))
        found = run_unjitted(plan_graph(graph, target=Target.cpu(name)), *given)
        for array, expected in zip(found, products(*given)):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("name", sorted({"avx512", "avx2", "sse", "neon"} & set(runnable())))
def test_products_of_few_rows_and_columns_are_exact(name: str):
    given = [operands(*shape, ("float32", "float64")[i % 2]) for i, shape in enumerate(SHAPES)]
    given.append(operands(2, 5000, 60, "float32"))
    given.append(operands(3, 20, 10, "float64", (2, 2)))

    def f(given: Any) -> Any:
        return [products(*four) for four in given]

    for threads in (1, 2):
        for found, expected in zip(gl.compile(f, target=Target.cpu(name), threads=threads)(given), f(given)):
            for array, wanted in zip(found, expected):
                np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse", "neon"])
def test_a_classifier_calls_no_blas(name: str):
    def forward(x: Any, w: Any, v: Any) -> Any:
        return np.maximum(x @ w.T, 0) @ v.T

    for rows in (1, 3, 32):
        graph = gl.trace(forward, gl.spec((rows, 64)), gl.spec((100, 64)), gl.spec((10, 100)))
        text = "".join(lower(plan_graph(graph, target=Target.cpu(name))).sources())
        assert "gemm_" not in text
        assert "gemv_" not in text
