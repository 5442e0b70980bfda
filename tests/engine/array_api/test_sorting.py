"""Sorting and running products, compiled: ties, NaN, zeros of both signs, dtypes, strides, derivatives at zeros."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np

RNG = np.random.default_rng(5)
DTYPES = ("float32", "int32", "uint8", "bool")


def _many_ties(dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    if dtype == "bool":
        return RNG.random(shape) < 0.5
    x = RNG.integers(0 if dtype == "uint8" else -4, 5, shape).astype(dtype)
    if dtype.startswith("float") and x.size:
        x.flat[RNG.integers(0, x.size, x.size // 5)] = np.nan
        x.flat[RNG.integers(0, x.size, x.size // 5)] = -0.0
        x.flat[RNG.integers(0, x.size, x.size // 9)] = np.inf
    return x


def _descending(x: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """The stable order from the largest to the smallest."""
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


def test_every_kind_of_number_is_sorted_as_a_stable_sort_of_numpy_does_with_the_same_bits() -> None:
    shapes = [(1,), (16,), (17,), (100,), (3, 40), (40, 3), (2, 33, 3), (0, 4), (4, 0), (5, 1)]
    arrays = [_many_ties(dtype, *shape) for dtype in DTYPES for shape in shapes]

    def function(xs: list[Any]) -> list[Any]:
        np_, found = gl.numpy, []
        for x in xs:
            for axis in range(x.ndim):
                found += [np_.sort(x, axis=axis), np_.argsort(x, axis=axis)]
                found += [np_.sort(x, axis=axis, descending=True), np_.argsort(x, axis=axis, descending=True)]
        return found

    expected: list[Any] = []
    for x in arrays:
        for axis in range(x.ndim):
            for order in (np.argsort(x, axis, kind="stable"), _descending(x, axis)):
                expected += [np.take_along_axis(x, order, axis), order]
    for threads in (1, 2):
        for got, wanted in zip(gl.compile(function, threads=threads)(arrays), expected, strict=True):
            assert got.dtype == wanted.dtype
            assert got.tobytes() == wanted.tobytes()


def test_operands_of_any_strides_are_sorted_and_multiplied() -> None:
    x = RNG.normal(size=(6, 5, 4)).astype("float32")

    def function(x: Any) -> list[Any]:
        views = [x.T, x[::-1, ::2], x[:, ::-1, 1:3], np.broadcast_to(x[0], (3, 5, 4)), x.transpose(1, 2, 0)]
        found = [f(v, a) for v in views for f in (np.sort, np.argsort, np.cumprod) for a in (0, 1, -1)]
        return [*found, np.sort(x, None), np.cumprod(x), np.median(x, (0, 2))]

    for got, wanted in zip(gl.compile(function)(x), function(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_long_running_products_of_float32_are_rounded_once() -> None:
    x = (1 + RNG.normal(size=(3, 900)) / 30).astype("float32")
    got = gl.compile(lambda x: (np.cumprod(x, 1), np.cumprod(x.T, 0)))(x)
    exact = np.cumprod(x.astype("float64"), 1)
    for result in (got[0], got[1].T):
        np.testing.assert_allclose(result, exact, rtol=1e-7)


def _weighted(x: Any, w: Any) -> Any:
    return (np.cumprod(x, axis=1) * w).sum()


def _exact_gradient(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result = np.zeros_like(x)
    for row, j in np.ndindex(*x.shape):
        others = np.where(np.arange(x.shape[1]) == j, 1.0, x[row])
        result[row, j] = (np.cumprod(others) * w[row])[j:].sum()
    return result


def test_the_derivatives_of_a_running_product_are_exact_at_zeros_once_and_twice() -> None:
    """Of small integers every product and sum is exact."""
    for n in (1, 2, 3, 7, 8, 13):
        x = RNG.integers(-2, 3, (4, n)).astype("float64")
        x[0] = 0
        w, v = RNG.integers(-3, 4, (2, 4, n)).astype("float64")
        gradient = gl.compile(gl.grad(_weighted)) if n == 7 else gl.grad(_weighted)
        np.testing.assert_array_equal(gradient(x, w), _exact_gradient(x, w))
        second = gl.grad(lambda x, w, v: (gl.grad(_weighted)(x, w) * v).sum())(x, w, v)
        # The gradient is linear in each element of x: differences of it are exact.
        for k in range(n):
            step = np.zeros_like(x)
            step[:, k] = 1
            change = (_exact_gradient(x + step, w) - _exact_gradient(x, w)) * v
            np.testing.assert_array_equal(second[:, k], change.sum(axis=1))


def test_a_step_learns_through_a_sort() -> None:
    class Model(gl.nn.Module):
        def __init__(self) -> None:
            self.linear = gl.nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return np.sort(self.linear(x), axis=-1)

    x, y = RNG.normal(size=(2, 16, 4)).astype("float32")
    batch = {"x": x, "y": np.sort(y[:, :3], axis=-1)}
    step = gl.compile_step(
        Model(), lambda model, batch: ((model(batch["x"]) - batch["y"]) ** 2).mean(), gl.optim.SGD(0.1), batch
    )
    losses = [float(step(batch)) for _ in range(20)]
    assert losses[-1] < losses[0]
    step.report.check()
