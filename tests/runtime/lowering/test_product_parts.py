"""Products of parts: the bits of products of each part that are added up by a tree, which writes the result once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from gradloom.ir import Builder, Graph, spec
from gradloom.ir.ops import contraction, movement
from gradloom.passes.kernels.product_of_parts import can_add_parts
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.codegen.host import runnable
from gradloom.runtime.cpu.executable import Executable
from unjitted import run_unjitted


def in_parts(m: int, k: int, n: int, parts: int, dtype: str) -> tuple[Graph, list[np.ndarray[Any, Any]]]:
    """A product of parts for each layout of its operands, in columns or in rows; and operands."""
    b, rng = Builder(), np.random.default_rng(m + k + n)
    shapes = (m, k), (k, m), (k, n), (n, k)
    x, of_columns, y, right_of_columns = (b.input(spec(shape, dtype)) for shape in shapes)
    left = x, movement.transpose(b, of_columns, perm=(1, 0))
    right = y, movement.transpose(b, right_of_columns, perm=(1, 0))
    made = [contraction.dot_parts(b, a, c, parts=parts) for a in left for c in right]
    return b.graph(made), [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def by_tree(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], parts: int) -> np.ndarray[Any, Any]:
    sums = [a @ c for a, c in zip(np.split(x, parts, axis=1), np.split(y, parts))]
    while len(sums) > 1:
        sums = [a + c for a, c in zip(sums[::2], sums[1::2])]
    return sums[0]


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse"])
@pytest.mark.parametrize(("m", "k", "n", "parts"), [(7, 4, 41, 2), (13, 16, 33, 8), (50, 8, 34, 4)])
def test_kernels_read_and_write_nothing_beside_their_operands(name: str, m: int, k: int, n: int, parts: int):
    graph, arrays = in_parts(m, k, n, parts, "float32")
    target = Target.cpu(name)
    made = plan(graph, 2, target=target)
    check_plan(made)
    x, x_turned, y, y_turned = (a.round(0) for a in arrays)
    found = run_unjitted(made, x, x_turned, y, y_turned)
    for array, (left, right) in zip(found, [(a, c) for a in (x, x_turned.T) for c in (y, y_turned.T)]):
        np.testing.assert_array_equal(array, by_tree(left, right, parts))


@pytest.mark.parametrize("name", sorted({"avx512", "avx2"} & set(runnable())))
def test_bits_are_those_of_a_product_for_each_part(name: str):
    target = Target.cpu(name)
    for m, k, n, parts, dtype in ((130, 128, 200, 4, "float32"), (70, 1024, 67, 8, "float64")):
        assert can_add_parts(spec((m, k), dtype), spec((k, n), dtype), parts, target)
        graph, arrays = in_parts(m, k, n, parts, dtype)
        apart = plan_graph(graph, target=target)  # the canonical form has a product for each part
        assert sum(node.op.is_contraction for node in apart.graph.nodes) >= 4 * parts
        expected = run_executable(Executable(apart), graph, arrays)[0]
        for threads in (1, 2):
            found = run_executable(Executable(plan(graph, threads, target=target)), graph, arrays)[0]
            for array, wanted in zip(found, expected):
                np.testing.assert_array_equal(array, wanted)
