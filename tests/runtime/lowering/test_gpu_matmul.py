"""Products by our own kernels of a GPU: every tile, parts of long sums, odd shapes, in the emulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from gradloom.ir import OPS, Builder, Graph, spec
from gradloom.passes.kernels.block_tiles import BlockTiles, block_tiles
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram

RNG = np.random.default_rng(3)


def emulated(multiprocessors: int) -> Target:
    return replace(Target.cuda(emulated=True), multiprocessors=multiprocessors)


def product(x: tuple[int, ...], y: tuple[int, ...], dtype: str, added: bool = False) -> Graph:
    b = Builder()
    left, right = b.input(spec(x, dtype), "x"), b.input(spec(y, dtype), "y")
    batch = tuple(range(len(x) - 2))
    attrs = {"contract": ((len(x) - 1,), (len(y) - 2,)), "batch": (batch, batch)}
    made = OPS["dot"](b, left, right, **attrs)
    if not added:
        return b.graph([made])
    return b.graph([OPS["add"](b, b.input(made.type, "z"), made)])


def run(graph: Graph, target: Target, *arrays: Any) -> Any:
    plan = plan_graph(graph, target=target)
    check_plan(plan)
    return run_executable(EmulatedProgram(plan, allocate(plan.arena_bytes)), graph, arrays)[0][0]


def factors(x: tuple[int, ...], y: tuple[int, ...], dtype: str) -> list[Any]:
    if np.dtype(dtype).kind == "f":
        return [RNG.normal(size=shape).astype(dtype) for shape in (x, y)]
    return [RNG.integers(-9, 9, size=shape).astype(dtype) for shape in (x, y)]


def cut(m: int, n: int, k: int, multiprocessors: int, dtype: str = "float32") -> BlockTiles:
    return block_tiles(m, n, k, 1, np.dtype(dtype), emulated(multiprocessors))


@pytest.mark.parametrize(
    ("m", "n", "k", "dtype", "multiprocessors", "side"),
    [
        (130, 70, 19, "float32", 4, 128),
        (60, 66, 40, "float32", 4, 64),
        (33, 20, 300, "float32", 4, 32),
        (9, 3, 5, "float32", 4, 16),
        (65, 66, 20, "float64", 4, 64),
        (40, 33, 20, "int32", 4, 32),
    ],
)
def test_a_tile_of_each_kind_is_right_at_ragged_edges(
    m: int, n: int, k: int, dtype: str, multiprocessors: int, side: int
):
    assert cut(m, n, k, multiprocessors, dtype).tile.rows == side
    x, y = factors((m, k), (k, n), dtype)
    found = run(product((m, k), (k, n), dtype), emulated(multiprocessors), x, y)
    tolerance = 0 if found.dtype.kind == "i" else 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, np.matmul(x.astype(dtype), y), tolerance, tolerance)


def test_tiles_change_no_bits():
    x, y = factors((130, 30), (30, 70), "float32")
    graph = product((130, 30), (30, 70), "float32")
    assert cut(130, 70, 30, 4).tile != cut(130, 70, 30, 132).tile
    np.testing.assert_array_equal(run(graph, emulated(4), x, y), run(graph, emulated(132), x, y))


def test_long_sums_of_few_elements_are_made_in_parts_in_the_arena():
    m, n, k = 5, 7, 2500
    assert (cut(m, n, k, 132).parts, cut(m, n, k, 132).terms) == (10, 256)
    graph = product((m, k), (k, n), "float32")
    plan = plan_graph(graph, target=emulated(132))
    assert plan.arena_bytes == -(-10 * m * n * 4 // 256) * 256
    x, y = factors((m, k), (k, n), "float32")
    np.testing.assert_allclose(run(graph, emulated(132), x, y), x @ y, 1e-4, 1e-4)
    assert cut(m, n, k, 2).parts == cut(m, n, 700, 132).parts == cut(2000, 2000, k, 132).parts == 1
    assert cut(m, n, k, 132, "int32").parts == 1


def test_parts_are_added_to_what_stands_there_and_along_a_batch():
    shapes = (3, 5, 1300), (3, 1300, 4)
    x, y = factors(*shapes, "float32")
    z = RNG.normal(size=(3, 5, 4)).astype(np.float32)
    found = run(product(*shapes, "float32", added=True), emulated(132), x, y, z)
    np.testing.assert_allclose(found, z + x @ y, 1e-4, 1e-4)


@pytest.mark.parametrize(("m", "n", "k"), [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 20, 3), (20, 1, 1)])
def test_lengths_of_nothing_and_of_one_are_right(m: int, n: int, k: int):
    x, y = factors((m, k), (k, n), "float32")
    found = run(product((m, k), (k, n), "float32"), emulated(132), x, y)
    np.testing.assert_allclose(found, x @ y, 1e-5, 1e-5)
