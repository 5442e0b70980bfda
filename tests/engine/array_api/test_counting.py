"""Histograms, counts and the elements that differ are NumPy's, with the length of the result said where it must be."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom import ShapeError
from like_numpy import check

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_histograms_are_numpys(dtype: str) -> None:
    x = (RNG.standard_normal((4, 5)) * 5).astype(dtype)
    bins: list[dict[str, Any]] = [{}, {"bins": 5}, {"bins": 7, "range": (-3, 4)}, {"bins": [-4.0, -1, 0, 2, 3]}]
    for kw in bins:
        check(lambda x, kw=kw: np.histogram(x, **kw), x)
    check(lambda x: np.histogram(x, weights=np.arange(20.0).reshape(4, 5)), x)
    check(lambda x: np.histogram(x * 0, 3), x)
    wide = x.astype("float64")
    check(lambda x: np.histogram(x, 4, density=True), wide)
    check(lambda x: np.histogram2d(x[0], x[1], bins=3), wide)
    check(lambda x: np.histogram2d(x[0], x[1], bins=(3, 2), density=True), wide)
    check(lambda x: np.histogram_bin_edges(x, 3, (0, 1)), wide)


def test_counts_of_whole_numbers() -> None:
    x, weights = RNG.integers(0, 9, 30), RNG.standard_normal(30)
    count = gl.compile(lambda x, w: (gnp.bincount(x, length=12), gnp.bincount(x, w, length=5)))
    plain, weighted = count(x, weights)
    np.testing.assert_array_equal(plain, np.bincount(x, minlength=12))
    np.testing.assert_allclose(weighted, np.bincount(x, weights)[:5])
    np.testing.assert_array_equal(gnp.bincount(x, minlength=20), np.bincount(x, minlength=20))
    gl.check_grads(lambda w: (gnp.bincount(x, w, length=9) ** 2).sum(), (weights,), order=2)
    with pytest.raises(TypeError, match=r"depends on values; write gl\.numpy\.bincount\(x, length=n\)"):
        gl.trace(np.bincount, x)
    with pytest.raises(ShapeError, match=r"x is \(n,\) of integers"):
        gnp.bincount(weights)


ELEMENTS = [
    RNG.integers(0, 5, (4, 6)),
    np.array([1.0, np.nan, 2.0, np.nan, 1.0]),
    np.array([True, False, True]),
    RNG.standard_normal((3, 3)).astype("float32"),
]


@pytest.mark.parametrize("x", ELEMENTS, ids=lambda x: str(x.dtype))
def test_elements_that_differ_are_numpys(x: np.ndarray) -> None:
    for nan in (True, False):
        expected = np.unique(x, True, True, True, equal_nan=nan)
        size = len(expected[0])
        result = gl.compile(lambda x: gnp.unique(x, True, True, True, equal_nan=nan, size=size))(x)  # noqa: B023
        for value, wanted in zip(result, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)
    by_standard = gnp.unique_all(x)
    for name in ("values", "indices", "inverse_indices", "counts"):
        np.testing.assert_array_equal(getattr(by_standard, name), getattr(np.unique_all(x), name))
    np.testing.assert_array_equal(gnp.unique_values(x), expected[0])
    np.testing.assert_array_equal(gnp.unique_counts(x).counts, by_standard.counts)
    np.testing.assert_array_equal(gnp.unique_inverse(x).inverse_indices, by_standard.inverse_indices)


def test_a_size_that_is_too_large_or_too_small() -> None:
    x = np.array([3, 1, 3, 2])
    values, first, counts = gl.compile(lambda x: gnp.unique(x, True, False, True, size=5))(x)
    np.testing.assert_array_equal(values, [1, 2, 3, 1, 1])
    np.testing.assert_array_equal(first, [1, 3, 0, 1, 1])
    np.testing.assert_array_equal(counts, [1, 1, 2, 0, 0])
    np.testing.assert_array_equal(gl.compile(lambda x: gnp.unique(x, size=4, fill_value=-7))(x), [1, 2, 3, -7])
    np.testing.assert_array_equal(gl.compile(lambda x: gnp.unique(x, size=2))(x), [1, 2])
    np.testing.assert_array_equal(gl.compile(lambda x: gnp.unique(x[:0], size=2, fill_value=9))(x), [9, 9])
    with pytest.raises(TypeError, match=r"write gl\.numpy\.unique\(x, size=n\)"):
        gl.trace(np.unique, x)
    with pytest.raises(TypeError, match="axis=0 is not traced"):
        gnp.unique(np.ones((2, 2)), axis=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="bins='auto' depends on values"):
        gl.trace(lambda x: np.histogram(x, "auto"), x)
    with pytest.raises(ValueError, match="bins is 1 or more, got 0"):
        gnp.histogram(x, 0)
