"""Convolutions, gradients, areas, phases, covariances and the largest so far are NumPy's."""

from __future__ import annotations

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom import ShapeError
from like_numpy import check

RNG = np.random.default_rng(0)
PLACES = np.array([0.0, 1, 3, 7, 8, 9, 12])


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_they_are_numpys(dtype: str) -> None:
    x, y, s = ((RNG.standard_normal(shape) * 3).astype(dtype) for shape in ((4, 7), (2, 7), (5,)))
    for mode in ("full", "same", "valid"):
        for kernel in (s, s[:4], s[:1], np.concatenate([s, s, s])):
            check(lambda x, k, m=mode: (np.convolve(x[0], k, m), np.correlate(x[0], k, m)), x, kernel)
    check(lambda x: (*np.gradient(x), *np.gradient(x, 2.0), np.gradient(x[0], 0.5, edge_order=2)), x)
    for order in (1, 2):
        check(lambda x, o=order: np.gradient(x, PLACES, axis=1, edge_order=o), x)
        check(lambda x, o=order: np.gradient(x, axis=0, edge_order=o), x)
    check(lambda x: (np.trapezoid(x), np.trapezoid(x, axis=0, dx=0.5), np.trapezoid(x, x * x)), x)
    check(lambda x: (np.trapezoid(x, PLACES), np.trapezoid(x, PLACES[:4], axis=0)), x.astype("float64"))
    check(lambda x: (np.ediff1d(x), np.ediff1d(x, to_begin=x[0, :2], to_end=x[0, 0])), x)
    check(lambda x, s: (np.polyval(s, x), np.vander(s), np.vander(s, 3, increasing=True)), x, s)
    check(lambda x: (np.maximum.accumulate(x, axis=1), np.minimum.accumulate(x), np.maximum.accumulate(x[:0])), x)
    for kw in ({}, {"bias": True}, {"ddof": 0}, {"rowvar": False}, {"fweights": np.arange(1, 8)}):
        check(lambda x, kw=kw: np.cov(x, **kw), x)
    check(lambda x, y: np.cov(x, y, fweights=np.arange(1, 8), aweights=np.arange(1.0, 8)), x, y)
    check(lambda x, y: (np.cov(x[0]), np.corrcoef(x, y), np.corrcoef(x, rowvar=False)), x, y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_phases_and_sinc_are_numpys(dtype: str) -> None:
    x = (RNG.standard_normal((4, 7)) * 9).astype(dtype)
    check(lambda x: (np.unwrap(x), np.unwrap(x, axis=0, period=2.0), np.unwrap(x, 5.0)), x)
    check(lambda x: (np.sinc(x), np.sinc(x * 0)), x)


def test_derivatives() -> None:
    x, k = RNG.standard_normal((2, 7)), RNG.standard_normal(3)
    gl.check_grads(lambda x, k: (np.convolve(x[0], k, "same") * np.correlate(x[1], k, "same")).sum(), (x, k), order=2)
    gl.check_grads(lambda x: (np.gradient(x, axis=1) ** 2).sum() + np.trapezoid(x[0], x[1]), (x,), order=2)
    gl.check_grads(lambda x: np.corrcoef(x)[0, 1] + np.cov(x).sum(), (x,), order=2)
    gl.check_grads(lambda x: (np.sinc(x) + np.maximum.accumulate(x, axis=1)).sum(), (x,), order=1)
    np.testing.assert_allclose(gl.grad(gl.grad(gnp.sinc))(0.0), -(np.pi**2) / 3)


def test_what_is_no_sequence() -> None:
    x = gl.spec((3, 2))
    for call, kind, message in (
        (lambda x: np.convolve(x, x), ShapeError, "both have one axis and an element"),
        (lambda x: gnp.convolve(x[0], x[0], "most"), ValueError, "mode is 'full', 'same' or 'valid', got 'most'"),
        (lambda x: np.gradient(x, axis=1, edge_order=2), ShapeError, "has too few samples"),
        (lambda x: np.gradient(x, 1, 2, 3), TypeError, "3 distances are given for 2 axes"),
        (lambda x: np.gradient(x, [1, 2], axis=0), ShapeError, r"places along axis 0 are \(3,\), got"),
        (lambda x: np.cov(x, aweights=[1, 2, 3]), ShapeError, "a weight for each observation"),
        (lambda x: np.polyval(x, 1.0), ShapeError, "p has one axis"),
    ):
        with pytest.raises(kind, match=message + r".*test_signals\.py"):
            gl.trace(call, x)
