"""Kernels of products have the register tiles that the calls of a program meet, and are shared as before."""

import gradloom as gl
import numpy as np
import pytest
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.lowering.launch_list import lower
from unjitted import run_unjitted

WIDE = Target.cpu("avx512")


def kernels(*shapes: tuple[int, int, int]) -> list[list[str]]:
    """The register tiles of each kernel of a function that makes products of these shapes."""
    given = [(gl.spec((m, k)), gl.spec((k, n))) for m, k, n in shapes]
    graph = gl.trace(lambda given: [x @ y for x, y in given], given)
    sources = dict.fromkeys(lower(plan_graph(graph, target=WIDE)).sources())
    tiles = [[line.split(" = ")[0] for line in source.splitlines() if "tile_product" in line] for source in sources]
    return sorted(found for found in tiles if found)


def test_a_kernel_has_the_tiles_that_occur():
    assert kernels((12, 8, 50)) == [["tail_6_4"]]
    assert kernels((12, 8, 100)) == [["tail_6_3", "tile_6_4"]]


def test_a_kernel_of_two_tiles_is_the_same_for_other_numbers_of_rows():
    for rows in (10, 11, 12):
        assert kernels((rows, 8, 64)) == [["tile_5_4", "tile_6_4"]]


def test_products_that_may_share_a_kernel_share_one_with_the_tiles_of_all():
    assert kernels((12, 8, 100), (10, 8, 100)) == [["tail_5_3", "tile_5_4", "tail_6_3", "tile_6_4"]]
    assert kernels((12, 8, 50), (12, 8, 120)) == [["tile_6_4", "tail_6_4"]]


def test_products_whose_kernels_differ_in_tiles_alone_share_one():
    assert kernels((12, 8, 64), (8, 8, 48)) == [["tile_6_4", "tile_8_3"]]
    assert kernels((12, 8, 64), (11, 8, 64)) == [["tile_5_4", "tile_6_4"]]


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse"])
def test_products_that_share_a_kernel_are_exact(name: str):
    rng = np.random.default_rng(0)
    shapes = [(12, 3, 50), (10, 3, 61), (48, 3, 50), (49, 3, 40)]
    arrays = [rng.integers(-4, 4, s).astype("float32") for m, k, n in shapes for s in ((m, k), (k, n))]
    graph = gl.trace(lambda *a: [x @ y for x, y in zip(a[::2], a[1::2])], *[gl.spec(a.shape) for a in arrays])
    found = run_unjitted(plan_graph(graph, target=Target.cpu(name)), *arrays)
    for array, x, y in zip(found, arrays[::2], arrays[1::2]):
        np.testing.assert_array_equal(array, x @ y)
