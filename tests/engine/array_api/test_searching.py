"""Places in sorted arrays, bins and interpolation are NumPy's."""

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
def test_places_are_numpys(dtype: str) -> None:
    a = np.sort((RNG.standard_normal(23) * 5).astype(dtype))
    v = (RNG.standard_normal((4, 5)) * 5).astype(dtype)
    v[0, :3] = a[[0, 5, 22]]
    for side in ("left", "right"):
        check(lambda a, v, side=side: np.searchsorted(a, v, side), a, v)
        check(lambda a, v, side=side: np.searchsorted(a[::-1], v, side, sorter=np.arange(23)[::-1]), a, v)
        check(lambda a, v, side=side: np.searchsorted(a[:1], v[0, 0], side), a, v)
    for right in (False, True):
        check(lambda a, v, right=right: np.digitize(v, a, right), a, v)
        check(lambda v, right=right: (np.digitize(v, a[::-1], right), np.digitize(v, a, right)), v)
    check(lambda a, v: (np.isin(v, a), np.isin(v, a[:3]), np.isin(v, a, invert=True)), a, v)


def test_nan_comes_last() -> None:
    a, v = np.array([1.0, 2.0, np.nan, np.nan]), np.array([1.0, np.nan, 3.0])
    check(lambda a, v: (np.searchsorted(a, v), np.searchsorted(a, v, "right")), a, v)


def test_interpolation_is_numpys() -> None:
    xp, fp = np.cumsum(RNG.random(9)), RNG.standard_normal(9)
    x = np.concatenate([RNG.uniform(-1, 7, 20), xp[[0, 3, 8]]])
    for kw in ({}, {"left": -1.0, "right": 7.0}):
        check(lambda x, xp, fp, kw=kw: np.interp(x, xp, fp, **kw), x, xp, fp)
    check(lambda x, xp, fp: np.interp(x, xp, fp, period=3.0), x, xp, fp)
    check(lambda x, xp, fp: np.interp(x.astype(np.float32), xp[:1], fp[:1]), x, xp, fp)
    gl.check_grads(lambda x, xp, fp: np.interp(x, xp, fp).sum(), (x[:20], xp, fp), order=1)


def test_flat_indices_go_both_ways() -> None:
    flat = RNG.integers(0, 60, (7,))
    check(lambda x: np.unravel_index(x, (3, 4, 5)), flat)
    check(lambda x: np.unravel_index(x, (3, 4, 5), order="F"), flat)
    check(lambda x: np.ravel_multi_index((x % 3, x % 4), (3, 4)), flat)
    check(lambda x: np.ravel_multi_index((x, x), (5, 4), mode=("wrap", "clip"), order="F"), flat)


def test_what_cannot_be_searched() -> None:
    x = gl.spec((3, 2))
    for call, kind, message in (
        (lambda x: np.searchsorted(x, 1.0), ShapeError, "a has one axis, got"),
        (lambda x: gnp.searchsorted(x[0], 1.0, "middle"), ValueError, "side is 'left' or 'right', got 'middle'"),
        (lambda x: np.digitize(x, [1, 3, 2]), ValueError, "bins rise or fall from each to the next"),
        (lambda x: np.interp(x, x[0], x[:, 0]), ShapeError, "xp and fp are "),
        (lambda x: np.interp(x, x[0], x[1], period=0), ValueError, "period is a number other than 0"),
    ):
        with pytest.raises(kind, match=message + r".*test_searching\.py"):
            gl.trace(call, x)


def test_a_long_search_is_compiled() -> None:
    a, v = np.sort(RNG.standard_normal(1000)), RNG.standard_normal(50)
    result: Any = gl.compile(lambda a, v: np.searchsorted(a, v))(a, v)
    np.testing.assert_array_equal(result, np.searchsorted(a, v))
