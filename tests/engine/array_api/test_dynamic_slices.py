"""Slices that begin where traced values say: against NumPy, their derivatives, and that only the slice is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.ir import Builder, spec
from gradloom.ir.ops import dynamic_slice as ops
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.pipeline import plan_graph

X = np.arange(24.0).reshape(2, 3, 4)
STARTS = [(0, 0, 0), (1, 1, 1), (5, -1, 9), (-1, -2, -3), (-9, 0, -4)]


def window(starts: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    first = [min(max(s + n if s < 0 else s, 0), n - k) for s, n, k in zip(starts, X.shape, sizes)]
    return tuple(slice(s, s + k) for s, k in zip(first, sizes))


@pytest.mark.parametrize("sizes", [(1, 2, 3), (2, 3, 4), (2, 0, 1), (1, 3, 4)])
def test_slices_are_those_of_numpy_clamped(sizes: tuple[int, ...]) -> None:
    update = -1 - np.arange(float(np.prod(sizes))).reshape(sizes)

    def both(starts: Any) -> Any:
        return gnp.dynamic_slice(X, starts, sizes), gnp.dynamic_update_slice(X, update, starts)

    compiled = gl.compile(both)
    for starts in STARTS:
        written = X.copy()
        written[window(starts, sizes)] = update
        for part, whole in (both(starts), both(np.array(starts)), compiled(np.array(starts))):
            np.testing.assert_array_equal(part, X[window(starts, sizes)])
            np.testing.assert_array_equal(whole, written)


def test_an_update_passes_the_gradient_of_what_it_left() -> None:
    starts, sizes = (1, -2, 0), (1, 2, 4)
    update = np.full(sizes, 2.0)
    of_array, of_update = gl.compile(
        gl.grad(lambda x, u, s: gnp.sum(gnp.dynamic_update_slice(x, u, s) ** 3), argnums=(0, 1))
    )(X, update, np.array(starts))
    expected = 3 * X**2
    expected[window(starts, sizes)] = 0
    np.testing.assert_allclose(of_array, expected)
    np.testing.assert_allclose(of_update, 3 * update**2)
    of_part = gl.grad(lambda x: gnp.sum(gnp.dynamic_slice(x, np.array(starts), sizes) ** 2))(X)
    np.testing.assert_allclose(of_part, np.where(expected == 0, 2 * X, 0))


def test_functions_along_one_axis() -> None:
    i = np.array(1)
    np.testing.assert_array_equal(gnp.dynamic_slice_in_dim(X, i, 2, axis=2), X[:, :, 1:3])
    np.testing.assert_array_equal(gnp.dynamic_slice_in_dim(X, i, 1), X[1:2])
    np.testing.assert_array_equal(gnp.dynamic_index_in_dim(X, i, axis=-1), X[:, :, 1:2])
    np.testing.assert_array_equal(gnp.dynamic_index_in_dim(X, i, 1, keepdims=False), X[:, 1])
    changed = X.copy()
    changed[:, 1] = 0
    np.testing.assert_array_equal(gnp.dynamic_update_index_in_dim(X, np.zeros((2, 4)), i, 1), changed)
    np.testing.assert_array_equal(gnp.dynamic_update_index_in_dim(X, np.zeros((2, 1, 4)), i, 1), changed)
    np.testing.assert_array_equal(gnp.dynamic_update_slice_in_dim(X, np.zeros((2, 1, 4)), i, -2), changed)


def test_an_input_that_is_overwritten_takes_only_the_slice() -> None:
    b = Builder()
    cache, start, new = b.input(spec((4, 64, 8))), b.input(spec((), "int64")), b.input(spec((4, 1, 8)))
    after = b.emit(ops.dynamic_update_slice, cache, start, new, axis=1, batch=0)
    read = b.emit(ops.dynamic_slice, after, start, size=2, axis=1, batch=0)
    made = plan_graph(b.graph([after, ew.neg(b, after), read], {0: 0}))
    (writer,) = (node for node in made.graph.nodes if node.op is ops.dynamic_update_slice)
    assert made.in_place[writer] == {0: 0}
    assert not made.copied_back
    assert made.arena_bytes == 0


def test_a_loop_writes_into_the_array_that_it_carries() -> None:
    def filled(x: Any) -> Any:
        def step(carry: Any, t: Any) -> Any:
            return gnp.dynamic_update_index_in_dim(carry, x[t] * 2, t, 0), None

        return gl.scan(step, np.zeros((50, 3)), np.arange(50))[0]

    x = np.arange(150.0).reshape(50, 3)
    np.testing.assert_array_equal(gl.compile(filled)(x), 2 * x)
    made = plan_graph(gl.trace(filled, x))
    (loop,) = (node for node in made.graph.nodes if node.op.is_scan)
    (body,) = made.bodies[loop]
    (writer,) = (node for node in body.graph.nodes if node.op is ops.dynamic_update_slice)
    assert body.in_place[writer] == {0: 0}
    np.testing.assert_allclose(gl.compile(gl.grad(lambda x: gnp.sum(filled(x) ** 2)))(x), 8 * x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gnp.dynamic_slice(X, (0, 0), (1, 1)), gl.ShapeError, "2 starts for"),
        (lambda: gnp.dynamic_slice(X, (0, 0, 0), (1, 1)), gl.ShapeError, r"a slice of shape \(1, 1\) does not lie in"),
        (lambda: gnp.dynamic_slice(X, (0, 0, 0), (3, 1, 1)), gl.ShapeError, r"\(3, 1, 1\) does not lie in"),
        (lambda: gnp.dynamic_slice(X, (0.5, 0, 0), (1, 1, 1)), TypeError, "a start is an integer, got 0.5"),
        (lambda: gnp.dynamic_slice(X, np.zeros((3, 1), int), (1, 1, 1)), gl.ShapeError, "one for each axis"),
        (
            lambda: gnp.dynamic_update_slice(X, np.zeros((1, 1, 1), "float32"), (0, 0, 0)),
            TypeError,
            r"write update.astype\('float64'\)",
        ),
        (
            lambda: gl.trace(lambda i: gnp.dynamic_slice(X, (i, 0, 0), (1, 1, 1)), np.ones(2, int)),
            TypeError,
            "a start is an integer without axes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
