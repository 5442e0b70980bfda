"""One row times a matrix that the second cache does not hold: exact sums, of rows that are swept from end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.codegen.host import runnable
from gradloom.runtime.lowering.launch_list import lower
from unjitted import run_unjitted

NAMES = ["avx512", "avx2", "sse", "neon"]


def with_little_cache(name: str) -> Target:
    return replace(Target.cpu(name), l2_bytes=1 << 8)


def operands(k: int, n: int, dtype: str = "float32", batch: tuple[int, ...] = ()) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(k + n)
    return [rng.integers(-4, 4, shape).astype(dtype) for shape in ((*batch, 1, k), (*batch, k, n))]


def rows(x: Any, w: Any) -> tuple[Any, ...]:
    """A row times a matrix, some of its columns, and of a row whose elements are apart some terms."""
    return x @ w, x @ w[..., 1:66], np.swapaxes(w, -1, -2)[..., 3:4, ::2] @ w[..., ::2, :]


@pytest.mark.parametrize("name", NAMES)
def test_sweeps_read_and_write_nothing_beside_their_operands(name: str):
    for k, n, batch in ((19, 70, ()), (8, 67, (2,)), (3, 130, ())):
        x, w = operands(k, n, batch=batch)
        plan = plan_graph(gl.trace(rows, gl.spec(x.shape), gl.spec(w.shape)), target=with_little_cache(name))
        for found, expected in zip(run_unjitted(plan, x, w), rows(x, w)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", sorted(set(NAMES) & set(runnable())))
def test_swept_products_are_exact(name: str):
    given = [operands(9001, 70), operands(4104, 517, "float64"), operands(33, 1030, "float64", (3,))]

    def f(given: Any) -> Any:
        return [rows(x, w) for x, w in given]

    once = gl.compile(f, target=with_little_cache(name), threads=1)(given)
    twice = gl.compile(f, target=with_little_cache(name), threads=2)(given)
    for one, two, expected in zip(once, twice, f(given)):
        for found in (one, two):
            for array, wanted in zip(found, expected):
                np.testing.assert_array_equal(array, wanted)


def test_infinities_and_nans_are_those_of_the_columns_that_have_them():
    x, w = operands(27, 70)
    x[0, 5], w[5, 3], w[26, 69], w[7, 40] = 0, np.inf, np.nan, -np.inf
    plan = plan_graph(gl.trace(lambda x, w: x @ w, gl.spec(x.shape), gl.spec(w.shape)), target=with_little_cache("sse"))
    with np.errstate(invalid="ignore"):
        (found,) = run_unjitted(plan, x, w)
        np.testing.assert_array_equal(found, x @ w)


def test_a_row_times_a_large_matrix_calls_no_blas():
    for n in (1, 40, 3000):
        graph = gl.trace(lambda x, w: x @ w, gl.spec((1, 1 << 21)), gl.spec((1 << 21, n)))
        for name in NAMES:
            text = "".join(lower(plan_graph(graph, target=Target.cpu(name))).sources())
            assert "gemm_" not in text
            assert "gemv_" not in text
