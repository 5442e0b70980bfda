"""Units of a GPU that are no regions: sorts, cumulative sums, transposed copies, at odd sizes in the emulator."""

import gradloom as gl
import numpy as np
import pytest
from gpu_emulated import run_emulated
from gradloom import numpy as gnp
from gradloom.ir import interpret

LENGTHS = (0, 1, 31, 32, 33, 257, 1025)


def test_lines_are_sorted_with_ties_in_their_order_and_nan_last():
    rng = np.random.default_rng(0)
    lines = [rng.integers(-3, 4, (2, n)).astype(np.float32) for n in LENGTHS[1:]]
    lines[-1][0, ::7], lines[-1][1, ::5] = np.nan, -0.0
    columns = rng.integers(0, 5, (33, 3))

    def sorts(columns, *lines):
        sorted_lines = [part for x in lines for part in (np.sort(x, axis=1), gnp.argsort(x, axis=1, stable=True))]
        return [*sorted_lines, np.sort(columns, axis=0), gnp.argsort(columns, axis=0, stable=True)]

    graph = gl.trace(sorts, columns, *lines)
    for one, other in zip(run_emulated(graph, columns, *lines), interpret(graph, columns, *lines), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_cumulative_sums_along_lines_of_every_length(dtype):
    rng = np.random.default_rng(1)
    lines = [rng.integers(-9, 9, (2, n, 1 + n % 3)).astype(dtype) for n in LENGTHS]

    def sums(*lines):
        forth = [np.cumsum(x, axis=1) for x in lines]
        return [*forth, *(np.cumsum(x[:, ::-1], axis=1)[:, ::-1] for x in lines)]

    graph = gl.trace(sums, *lines)
    for one, other in zip(run_emulated(graph, *lines), interpret(graph, *lines), strict=True):
        np.testing.assert_array_equal(one, other)


def test_transposed_copies_of_any_sides():
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(shape) for shape in ((33, 70), (3, 8, 100), (2, 65, 9))]
    arrays.append(rng.standard_normal((64, 32)).astype(np.float32))
    graph = gl.trace(lambda *xs: [np.swapaxes(x, -1, -2) for x in xs], *arrays)
    for one, x in zip(run_emulated(graph, *arrays), arrays, strict=True):
        np.testing.assert_array_equal(one, np.swapaxes(x, -1, -2))
