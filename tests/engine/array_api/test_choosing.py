"""Elements chosen, put in, left out and written over, blocks, and parts of numbers, as NumPy has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom import ShapeError, TracingError
from like_numpy import check

RNG = np.random.default_rng(0)
FLOATS = RNG.standard_normal((4, 7)) * 3
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, 1e-30, 3.0, -27.0, 1e30])


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_elements_are_chosen_as_by_numpy(dtype: str) -> None:
    x = FLOATS.astype(dtype)
    rows = np.array([0, 1, 1, 0, 2, 2, 0])
    check(lambda x: (np.select([x > 1, x > 0], [x * 2, x * 3], 7), np.select([x[:1] > 1], [x])), x)
    check(lambda x: np.piecewise(x, [x < 0, x >= 1], [lambda v: -v, 3, lambda v: v * v]), x)
    check(lambda x: (np.piecewise(x[0], x[0] < 0, [lambda v, a: v + a], 2), np.piecewise(x[0], x[:2] < 0, [1, 2])), x)
    check(lambda x: np.choose(rows, [x[0], x[1], x[2]]), x)
    for mode in ("wrap", "clip"):
        check(lambda x, m=mode: np.choose(rows * 5 - 4, x[:3], mode=m), x)
    check(lambda x: (np.compress([True, False, True], x, axis=0), np.compress([True, False, True], x)), x)
    check(lambda x: (np.append(x, x[0]), np.append(x, x[:1], axis=0), np.resize(x, (5, 9)), np.resize(x, 3)), x)
    for what in (1, [0, 2], slice(0, 3, 2), np.array([True, False, True, False]), -1):
        check(lambda x, o=what: (np.delete(x, o, axis=0), np.delete(x, [1, 5])), x)
    for what, values, axis in (
        (1, 9, 0),
        (1, np.arange(7), 0),
        ([1, 3], 5, 0),
        ([1, 3], np.arange(14).reshape(2, 7), 0),
        (2, np.arange(4), 1),
        (1, [[1] * 7, [2] * 7], 0),
        ([0, 0], [[1], [2], [3], [4]], 1),
        (slice(0, 2), 7, 1),
        (-1, 3, 1),
        (3, 8, None),
        ([1, 1], [8, 9], None),
    ):
        check(lambda x, o=what, v=values, a=axis: np.insert(x, o, v, axis=a), x)
    check(lambda x: np.apply_along_axis(lambda v: v * v.sum(), 1, x), x)
    check(lambda x: np.apply_along_axis(lambda v: v.max(), 0, x), x)
    check(lambda x: np.apply_along_axis(lambda v, s: np.outer(v, v) * s, 0, x, 2), x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_blocks_are_cut_and_joined_as_by_numpy(dtype: str) -> None:
    x = FLOATS[:, :6].astype(dtype)
    box = x.reshape(2, 3, 4)
    check(lambda x: (*np.hsplit(x, 3), *np.hsplit(x[0], 2), *np.vsplit(x, [1, 3])), x)
    check(lambda b: (*np.dsplit(b, 2), np.rollaxis(b, 2), np.rollaxis(b, 0, 3), np.rollaxis(b, -1, 1)), box)
    check(lambda x: (np.dstack([x, x]), np.dstack([x[0], x[1]]), np.atleast_3d(x), np.atleast_3d(x[0])), x)
    check(lambda x: (np.block([[x, x[:, :1]], [x[:2] * 0, x[:2, :1]]]), np.block([x[0], x[1]]), np.block([[x[0]]])), x)
    check(lambda x: (np.logspace(x[0, :2], x[1, :2], 4), np.geomspace(1.0 + x[0, 0] ** 2, 9.0, 5)), x.astype("float64"))
    np.testing.assert_array_equal(gnp.fromfunction(lambda i, j: i * j, (2, 3)), np.outer([0, 1], [0, 1, 2]))
    check(lambda x: x[gnp.tril_indices(3)] * gnp.indices((6,)), x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_parts_of_numbers_are_numpys(dtype: str) -> None:
    s = SPECIAL.astype(dtype)
    check(lambda s: (np.copysign(s, s[::-1]), np.copysign(2.0, s), np.signbit(s), np.isposinf(s), np.isneginf(s)), s)
    check(lambda s: (np.cbrt(s), np.cbrt(s * s), np.ldexp(s, np.array([-1, 2, -200, 300, 900, -3, 1, 0]))), s)
    check(lambda s: np.logaddexp2(s[4:], s[0]), s)
    gl.check_grads(lambda x: np.cbrt(x).sum() + np.logaddexp2(x, x[0]).sum(), (FLOATS[0],), order=2)


def changed(write: Callable[..., Any]) -> Callable[[Any], Any]:
    """A function that writes into a copy of an array in NumPy, and gives a changed one when it is traced."""

    def f(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            y = x.copy()
            write(np, y)
            return y
        return write(gnp, x, inplace=False)

    return f


def test_what_numpy_writes_into_an_array() -> None:
    x = FLOATS
    order = np.argsort(x, axis=1)[:, :2]
    for write in (
        lambda m, x, **k: m.put_along_axis(x, order, 9, 1, **k),
        lambda m, x, **k: m.put_along_axis(x, order[:1], np.arange(2.0), 1, **k),
        lambda m, x, **k: m.put_along_axis(x, np.array([3, 5]), [1, 2], None, **k),
        lambda m, x, **k: m.put_along_axis(x, np.array([[0, 1, 2, 3, 0, 1, 2]]), 7, 0, **k),
        lambda m, x, **k: m.put(x, [0, 4, -1], [1, 2], **k),
        lambda m, x, **k: m.put(x, [0, 40, -1], [1, 2], mode="clip", **k),
        lambda m, x, **k: m.put(x, [0, 40, -1], 7, mode="wrap", **k),
        lambda m, x, **k: m.place(x, x > 0, [1, 2, 3], **k),
    ):
        check(changed(write), x)
    for shape in ((4, 6), (6, 4), (8, 3), (2, 2, 2)):
        for wrap in (False, True):
            for value in (5, [1, 2, 3]):
                check(changed(lambda m, x, w=wrap, v=value, **k: m.fill_diagonal(x, v, w, **k)), np.zeros(shape))
    gl.check_grads(lambda x, v: (gnp.put_along_axis(x, order, v, 1, inplace=False) ** 2).sum(), (x, x[:, :2]), order=2)


def test_what_is_refused_says_what_to_write() -> None:
    x = gl.spec((3, 2))
    for call, kind, message in (
        (
            lambda x: np.put_along_axis(x, [[0]], 1, 0),
            TracingError,
            r"write x = gl\.numpy\.put_along_axis\(x, indices, values, axis, inplace=False\)",
        ),
        (
            lambda x: np.fill_diagonal(x, 1),
            TracingError,
            r"write x = gl\.numpy\.fill_diagonal\(x, val, inplace=False\)",
        ),
        (lambda x: gnp.fill_diagonal(x[0], 1, inplace=False), ShapeError, "a has two axes"),
        (lambda x: np.compress(x[0] > 0, x), TracingError, "depends on values"),
        (lambda x: np.delete(x, x[0]), TracingError, "must be known while tracing"),
        (lambda x: np.select([], []), ValueError, None),
        (lambda x: np.piecewise(x, [x > 0], [1, 2, 3]), ValueError, "1 conditions go with as many functions"),
        (lambda x: np.vsplit(x[0], 2), ShapeError, "has no such axis"),
        (lambda x: np.ldexp(x, x), TypeError, "exponents are whole numbers"),
        (lambda x: np.block([[x], x]), ValueError, "nested equally deep"),
    ):
        with pytest.raises(kind, match=message and message + r".*test_choosing\.py"):
            gl.trace(call, x)
