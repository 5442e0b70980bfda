"""Square brackets on traced arrays mean what they mean in NumPy."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NONEMPTY = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def counted(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)


def check(x: np.ndarray, key: Any) -> None:
    graph = gl.trace(lambda x: x[key], x)
    graph.verify()
    assert str(gl.parse(str(graph))) == str(graph)
    (result,) = gl.interpret(graph, x)
    np.testing.assert_array_equal(result, x[key])
    assert result.shape == x[key].shape


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_slices_integers_and_new_axes(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    check(counted(shape), data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)))


@st.composite
def advanced_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Index arrays of shapes that broadcast, among slices, integers, new axes and an ellipsis."""
    target = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    count = draw(st.integers(1, len(shape)))
    before = draw(st.integers(0, count)) if draw(st.booleans()) else count
    key: list[Any] = []
    for length in (*shape[:before], *shape[len(shape) - count + before :]):
        kind = draw(st.sampled_from(["slice", "int", "array", "array"]))
        if kind == "slice":
            key.append(draw(st.slices(length)))
        elif kind == "int":
            key.append(draw(st.integers(-length, length - 1)))
        else:
            mine = tuple(draw(st.sampled_from([n, 1])) for n in target[draw(st.integers(0, len(target))) :])
            key.append(draw(hnp.arrays(np.int64, mine, elements=st.integers(-length, length - 1))))
    if before < count:
        key.insert(before, Ellipsis)
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), None)
    return tuple(key)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_index_arrays_known_while_tracing(data: st.DataObject) -> None:
    shape = data.draw(NONEMPTY)
    check(counted(shape), data.draw(advanced_keys(shape)))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_index_arrays_that_are_traced(data: st.DataObject) -> None:
    shape = data.draw(NONEMPTY)
    x, key = counted(shape), data.draw(advanced_keys(shape))
    arrays = [part for part in key if isinstance(part, np.ndarray)]

    def function(x: Any, *indices: Any) -> Any:
        rest = iter(indices)
        return x[tuple(next(rest) if isinstance(part, np.ndarray) else part for part in key)]

    graph = gl.trace(function, x, *arrays)
    graph.verify()
    (result,) = gl.interpret(graph, x, *arrays)
    np.testing.assert_array_equal(result, x[key])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_masks_known_while_tracing(data: st.DataObject) -> None:
    shape = data.draw(NONEMPTY)
    first = data.draw(st.integers(0, len(shape) - 1))
    last = data.draw(st.integers(first + 1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[first:last]))
    check(counted(shape), (slice(None),) * first + (mask,))


@pytest.mark.parametrize(
    "key",
    [
        [0, 2],
        ([0, 1], [1, 0]),
        [[0, 1], [2, 2]],
        [],
        np.uint8([1, 2]),
        np.int64(1),
        np.array(2),
        ([True, False, True, False],),
    ],
    ids=str,
)
def test_lists_and_numpy_scalars(key: Any) -> None:
    check(counted((4, 3)), key)


def test_a_concrete_array_answers_a_traced_index() -> None:
    table = counted((5, 2))
    index = np.array([4, 0, -1])
    graph = gl.trace(lambda i: gl.numpy.take(table, i, axis=0), index)
    np.testing.assert_array_equal(gl.interpret(graph, index)[0], table[index])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_traced_index_of_every_integer_dtype(dtype: str) -> None:
    x, i = counted((3, 4)), np.array([2, 0, 1], dtype)
    graph = gl.trace(lambda x, i: (x[i, i], x[1, i], x[i[0]]), x, i)
    for result, wanted in zip(gl.interpret(graph, x, i), (x[i, i], x[1, i], x[i[0]])):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("bad", [3, -4])
def test_traced_index_out_of_range_stops_the_run(bad: int) -> None:
    x, i = counted((3, 3)), np.array([0, bad])
    for function in (lambda x, i: x[i], lambda x, i: x[i, i], lambda x, i: x[:, i]):
        with pytest.raises(IndexError, match="out of range"):
            gl.interpret(gl.trace(function, x, i), x, i)


def test_a_slice_is_one_node() -> None:
    graph = gl.trace(lambda x: x[1:, 0, ::2], counted((3, 4, 5)))
    assert [node.op.name for node in graph.nodes] == ["slice", "reshape"]
    assert [node.op.name for node in gl.trace(lambda x: x[::-1], counted((3,))).nodes] == ["reverse"]
