"""Products whose last columns are multiplied by column tiles: exact at every border, with bits of register tiles."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.kernels import matmul_tiles
from gradloom.passes.kernels.last_columns import NO_COLUMNS
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.codegen.host import runnable
from unjitted import run_unjitted

NAMES = sorted({"avx512", "avx2", "sse", "neon"} & set(runnable()))


def operands(m: int, k: int, n: int, dtype: str) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(m + k + n)
    return [rng.integers(-4, 4, shape).astype(dtype) for shape in ((m, k), (k, n), (k, m), (n, k))]


def products(x: Any, y: Any, turned: Any, other: Any) -> tuple[Any, ...]:
    """Of every pair of layouts."""
    return x @ y, turned.T @ y, x @ other.T, turned.T @ other.T


@pytest.mark.parametrize(("name", "n"), [("avx512", 5), ("avx512", 17), ("avx2", 9), ("sse", 5), ("neon", 5)])
def test_kernels_read_and_write_nothing_beside_their_operands(name: str, n: int):
    for shape in ((33, 17, n), (16, 16, n)):
        given = operands(*shape, "float32")
        graph = gl.trace(products, *map(gl.spec, (a.shape for a in given)))
        for array, expected in zip(run_unjitted(plan_graph(graph, target=Target.cpu(name)), *given), products(*given)):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_products_of_few_columns_are_exact_for_any_threads(name: str, dtype: str):
    lanes = Target.cpu(name).vector_bytes // np.dtype(dtype).itemsize
    shapes = [(2 * lanes + 1, lanes, lanes + 1), (3 * lanes, 2 * lanes + 3, 3), (70, 300, lanes - 1)]
    shapes += [(lanes, 40, 2 * lanes + 1), (700, 600, min(5, lanes - 1)), (40, lanes - 1, lanes + 1)]
    given = [operands(*shape, dtype) for shape in shapes if shape[2] > 0]

    def f(given: Any) -> Any:
        return [products(*four) for four in given]

    for threads in (1, 2):
        for found, expected in zip(gl.compile(f, target=Target.cpu(name), threads=threads)(given), f(given)):
            for array, wanted in zip(found, expected):
                np.testing.assert_array_equal(array, wanted)


def test_slices_and_broadcast_operands_are_read_as_they_lie():
    x, y, turned, _ = operands(50, 40, 60, "float32")
    bias = np.arange(5, dtype="float32")

    def f(x: Any, y: Any, turned: Any, bias: Any) -> Any:
        some = y[3:33, 7:12]
        row = np.broadcast_to(bias, (30, 5))
        return x[:, 5:35] @ some, turned[5:35].T @ some, x[::2, 5:35] @ row, np.tanh(x[:, 5:35] @ some + bias)

    for name in NAMES:
        found = gl.compile(f, target=Target.cpu(name))(x, y, turned, bias)
        for array, expected in zip(found, f(x, y, turned, bias)):
            np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_infinities_and_nans_stay_in_their_rows_and_columns():
    x, y, turned, other = operands(35, 37, 21, "float32")
    for a in (x, turned.T):
        a[3, 5], a[34, 36] = np.inf, np.nan
    for b in (y, other.T):
        b[36, 20], b[1, 18] = np.inf, -np.inf
    for name in NAMES:
        with np.errstate(invalid="ignore"):
            expected = products(x, y, turned, other)
            found = gl.compile(products, target=Target.cpu(name))(x, y, turned, other)
        for array, wanted in zip(found, expected):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_an_element_has_the_bits_that_register_tiles_give_it(name: str, monkeypatch: pytest.MonkeyPatch):
    lanes = Target.cpu(name).vector_bytes // 4
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype("float32") for shape in ((100, 300), (300, 2 * lanes + 1)))

    def f(x: Any, y: Any) -> Any:
        return x @ y, x[:90, :100].T @ y[:90]

    by_columns = gl.compile(f, target=Target.cpu(name))(x, y)
    monkeypatch.setattr(matmul_tiles, "last_columns", lambda *_: NO_COLUMNS)
    for array, expected in zip(by_columns, gl.compile(lambda *a: f(*a), target=Target.cpu(name))(x, y)):
        np.testing.assert_array_equal(array, expected)
