"""Reductions over segments, one-hot arrays and the largest elements: against NumPy and JAX, with derivatives."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

IDS = np.array([2, 0, 2, 5, -1, 0])
DATA = np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 2.0], [7.0, 8.0], [9.0, 9.0], [3.0, 6.0]])
NAMES = ["segment_sum", "segment_prod", "segment_max", "segment_min"]


def reduced(name: str, data: np.ndarray, count: int) -> np.ndarray:
    of, start = {
        "segment_sum": (np.add, 0),
        "segment_prod": (np.multiply, 1),
        "segment_max": (np.maximum, -np.inf if data.dtype.kind == "f" else np.iinfo(data.dtype).min),
        "segment_min": (np.minimum, np.inf if data.dtype.kind == "f" else np.iinfo(data.dtype).max),
    }[name]
    result = np.full((count, *data.shape[1:]), start, data.dtype)
    for entry, place in zip(data, IDS):
        if 0 <= place < count:
            result[place] = of(result[place], entry)
    return result


def test_segments_are_reduced_and_what_belongs_to_none_is_left_away() -> None:
    def f(data: Any, ids: Any) -> Any:
        return [getattr(gnp, name)(data, ids, 4) for name in NAMES]

    for data in (DATA, DATA[:, 0].astype("int32"), np.zeros((6, 0), "float32")):
        for given in (f(data, IDS), gl.compile(f)(data, IDS)):
            for name, one in zip(NAMES, given):
                np.testing.assert_array_equal(one, reduced(name, data, 4))
                assert one.dtype == data.dtype
    np.testing.assert_array_equal(gnp.segment_sum(DATA, IDS), reduced("segment_sum", DATA, 6))
    np.testing.assert_array_equal(gnp.segment_sum(DATA > 2, IDS, 3)[0], [2, 1])
    np.testing.assert_array_equal(gnp.segment_mean(DATA, IDS, 4), [[3, 1], [0, 0], [3, 2], [0, 0]])


@pytest.mark.peers
def test_derivatives_of_segments_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    w = np.linspace(1, 2, 6).reshape(3, 2)
    with jax.enable_x64(True):
        for name in ("segment_sum", "segment_max", "segment_min"):
            ours = gl.grad(lambda x, name=name: gnp.sum(w * getattr(gnp, name)(x, IDS % 3, 3)))(DATA)
            theirs = jax.grad(lambda x, name=name: (w * getattr(jax.ops, name)(x, IDS % 3, 3)).sum())(DATA)
            np.testing.assert_allclose(ours, theirs)
    ours = gl.grad(lambda x: gnp.sum(gnp.segment_prod(x, IDS % 3, 3)))(DATA)
    np.testing.assert_allclose(ours[0], [DATA[2, 0] * DATA[4, 0] * DATA[3, 0], DATA[2, 1] * DATA[4, 1] * DATA[3, 1]])


def test_one_hot() -> None:
    classes = np.array([[0, 2], [3, -1]])
    expected = (classes[..., None] == np.arange(3)).astype("float32")
    for given in (gnp.one_hot(classes, 3), gl.compile(lambda c: gnp.one_hot(c, 3))(classes)):
        np.testing.assert_array_equal(given, expected)
        assert given.dtype == np.float32
    np.testing.assert_array_equal(gnp.one_hot(classes, 3, axis=0, dtype="int64"), np.moveaxis(expected, -1, 0))
    with pytest.raises(TypeError, match="classes are integers"):
        gnp.one_hot(np.ones(3), 2)


def test_top_k() -> None:
    x = np.array([[1.0, 5.0, np.nan, 5.0], [0.0, -1.0, 2.0, 2.0]])
    for values, indices in (gnp.top_k(x, 3), gl.compile(lambda x: gnp.top_k(x, 3))(x)):
        np.testing.assert_array_equal(values, [[np.nan, 5, 5], [2, 2, 0]])
        np.testing.assert_array_equal(indices, [[2, 1, 3], [2, 3, 0]])
    values, indices = gnp.top_k(x, 1, axis=0)
    np.testing.assert_array_equal(values, [[1, 5, np.nan, 5]])
    assert gnp.top_k(x, 0)[0].shape == (2, 0)
    gradient = gl.grad(lambda x: gnp.sum(gnp.top_k(x, 2)[0] * np.array([1.0, 10.0])))(x[1:])
    np.testing.assert_array_equal(gradient, [[0, 0, 1, 10]])
    with pytest.raises(ValueError, match="k is from 0 to 4, got 5"):
        gnp.top_k(x, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gl.trace(lambda i: gnp.segment_sum(DATA, i), IDS), TypeError, "their number is needed: num_segments="),
        (lambda: gnp.segment_sum(DATA, IDS[:4], 3), gl.ShapeError, "one integer for each entry of the first axis"),
        (lambda: gnp.segment_sum(DATA, IDS * 1.0, 3), gl.ShapeError, r"got \(6,\) float64"),
        (lambda: gnp.segment_sum(DATA, IDS, -3), ValueError, "num_segments is 0 or more"),
        (lambda: gnp.segment_sum(DATA, IDS, 3, mode="clip"), NotImplementedError, "leave them away"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
