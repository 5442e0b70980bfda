"""Sums of millions of float32 terms keep their digits: no accumulator takes more than about a thousand in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.nn import functional as F

N = 1_200_000
"""Terms: 1% of their sum is lost where one accumulator takes all of them, and 1e-4 where each of sixteen lanes does."""
TENTH = np.float32(0.1)
CLOSE = 2e-5
"""Vectors of four lanes lose 1.2e-5: each lane adds up some 550 sections of as many terms."""


def assert_exact(got: Any, exact: Any, rtol: float = CLOSE) -> None:
    np.testing.assert_allclose(np.asarray(got, "float64"), np.asarray(exact, "float64"), rtol=rtol)


@pytest.mark.parametrize("target", [gl.Target.cpu(), replace(gl.Target.cpu(), matmul="blas")], ids=["own", "blas"])
@pytest.mark.parametrize(
    ("m", "n"),
    [(1, 1), (3, 2), (1, 33), (4, 33)],
    ids=lambda size: str(size),
)
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_long_rows(m: int, n: int, turned: bool, target: gl.Target):
    k = N // max(m, n)
    product: Callable[..., Any] = (lambda x, y: x @ y.T) if turned else (lambda x, y: x @ y)
    compiled = gl.compile(product, target=target)
    x, y = np.full((m, k), TENTH), np.ones((n, k) if turned else (k, n), "float32")
    assert_exact(compiled(x, y), np.full((m, n), float(TENTH) * k))
    rng = np.random.default_rng(0)
    x, y = rng.random(x.shape, "float32"), rng.standard_normal(y.shape, "float32")
    exact = x.astype("float64") @ (y.T if turned else y).astype("float64")
    assert np.abs(compiled(x, y) - exact).max() < 2e-6 * np.sqrt(k)


def test_a_long_product_is_added_to_a_carry():
    k = N // 12

    def total(x: Any, y: Any) -> Any:
        def add(carry: Any, rows: Any) -> Any:
            return carry + rows[0] @ rows[1], None

        return gl.scan(add, np.full((4, 33), TENTH), (x, y))[0]

    x, y = np.full((3, 4, k), TENTH), np.ones((3, k, 33), "float32")
    assert_exact(gl.compile(total)(x, y), np.full((4, 33), float(TENTH) * (3 * k + 1)))


def test_contractions_to_few_numbers():
    x, ones = np.full(N, TENTH), np.ones(N, "float32")
    square = (1000, N // 1000)

    def all_of_them(x: Any, y: Any) -> Any:
        x2, y2 = x.reshape(square), y.reshape(square)
        return (
            np.dot(x, y),
            np.vdot(x, y),
            np.inner(x, y),
            np.tensordot(x2, y2, 2),
            np.einsum("ij,ij->", x2, y2),
            np.einsum("ij,ij->i", x2.T.reshape(3, -1), y2.T.reshape(3, -1)).sum(),
        )

    for value in gl.compile(all_of_them)(x, ones):
        assert_exact(value, float(TENTH) * N)


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "one axis": ((N,), (0,)),
    "the last axis": ((2, N // 2), (1,)),
    "the first axis": ((N // 2, 2), (0,)),
    "the first axis, long rows": ((N // 300, 300), (0,)),
    "a middle axis": ((2, N // 4, 2), (1,)),
    "a middle axis, long rows": ((1, N // 300, 300), (1,)),
    "two middle axes": ((2, 1000, N // 8000, 4), (1, 2)),
    "outer axes": ((600, 2, N // 1200), (0, 2)),
    "positions in long lines": ((2, 2, N // 16, 4), (0, 1, 2)),
    "everything": ((N // 2, 2), (0, 1)),
}


@pytest.mark.parametrize("transposed", [False, True])
def test_sums_and_means_over_any_axes(transposed: bool):
    """One program, so that each shape costs the compiling of few kernels."""

    def sums(xs: dict[str, Any]) -> Any:
        made = {name: np.transpose(xs[name]) if transposed else xs[name] for name in SHAPES}
        ways = {name: tuple(x.ndim - 1 - a for a in SHAPES[name][1]) if transposed else SHAPES[name][1]
                for name, x in made.items()}  # fmt: skip
        return (
            {name: x.sum(ways[name]) for name, x in made.items()},
            {name: (x * 2 - 1).mean(ways[name]) for name, x in made.items()},
        )

    compiled = gl.compile(sums)
    arrays = {name: np.full(shape, TENTH) for name, (shape, _) in SHAPES.items()}
    totals, means = compiled(arrays)
    for name, (shape, axes) in SHAPES.items():
        terms = int(np.prod([shape[a] for a in axes]))
        np.testing.assert_allclose(totals[name], float(TENTH) * terms, rtol=CLOSE, err_msg=name)
        np.testing.assert_allclose(means[name], float(TENTH * 2 - 1), rtol=CLOSE, err_msg=name)
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, "float32") for name, (shape, _) in SHAPES.items()}
    totals, _ = compiled(arrays)
    for name, (shape, axes) in SHAPES.items():
        terms = int(np.prod([shape[a] for a in axes]))
        exact = arrays[name].sum(axes, dtype="float64")
        exact = exact.T if transposed else exact
        assert np.abs(totals[name] - exact).max() < 2e-6 * np.sqrt(terms), name


def test_mean_and_variance_of_long_columns():
    def moments(x: Any) -> Any:
        return x.mean(0), x.var(0), x.std(0)

    x = np.full((N // 4, 4), 3.1, "float32")
    x[::2] = 3.3
    mean, variance, deviation = gl.compile(moments)(x)
    exact = x.astype("float64")
    assert_exact(mean, exact.mean(0))
    assert_exact(variance, exact.var(0), 1e-4)
    assert_exact(deviation, exact.std(0), 1e-4)


PICKED = {"few": (3, 1), "few rows": (5, 3), "many, one of them often": (200_000, 1), "many rows": (70_000, 3)}
"""Entries, and elements of each: a table of float64 holds few of them, groups of updates are sorted for many."""


def test_gradients_of_rows_that_are_looked_up_again_and_again():
    def looked_up(tables: dict[str, Any], indices: dict[str, Any]) -> Any:
        return sum((tables[name][indices[name]]).sum() * TENTH for name in PICKED)

    tables = {name: np.ones((entries, inner), "float32") for name, (entries, inner) in PICKED.items()}
    rng = np.random.default_rng(0)
    indices: dict[str, Any] = {}
    for name, (entries, _) in PICKED.items():
        count = min(N, 15 * entries) if entries > 1000 else N // 2
        picked = rng.integers(-entries, entries, count)
        indices[name] = np.where(rng.random(count) < 0.6, 1, picked)
    gradients = gl.compile(gl.grad(looked_up))(tables, indices)
    for name, (entries, inner) in PICKED.items():
        counts = np.bincount(indices[name] % entries, minlength=entries)
        exact = np.repeat(counts[:, None] * float(TENTH), inner, 1)
        np.testing.assert_allclose(gradients[name], exact, rtol=CLOSE, err_msg=name)


@pytest.mark.parametrize(("entries", "axis"), [(4, 0), (600, 0), (4, 1), (600, 1)])
def test_updates_of_every_block_go_where_their_indices_say(entries: int, axis: int):
    """Random updates, more than are added one after the other, to entries with blocks before and columns behind."""
    rng = np.random.default_rng(1)
    shape = (entries, 70) if axis == 0 else (3, entries, 2)
    indices = rng.integers(-entries, entries, 1500)

    def picked(x: Any, i: Any, y: Any) -> Any:
        return (np.take(x, i, axis) * y).sum()

    x, y = rng.random(shape, "float32"), rng.random((*shape[:axis], 1500, *shape[axis + 1 :]), "float32")
    exact = np.zeros(shape)
    np.add.at(np.moveaxis(exact, axis, 0), indices, np.moveaxis(y, axis, 0))
    assert_exact(gl.compile(gl.grad(picked))(x, indices, y), exact, 1e-6)


def test_cumulated_sums_and_their_derivatives():
    shapes = {"one": ((N,), 0), "rows": ((3, N // 3), 1), "columns": ((N // 5, 5), 0)}

    def sums(xs: dict[str, Any]) -> Any:
        return {name: np.cumsum(xs[name], axis) for name, (_, axis) in shapes.items()}

    def ends(xs: dict[str, Any]) -> Any:
        """Each element counts as often as there are sums behind it."""
        return sum((total * TENTH).sum() for total in sums(xs).values())

    xs = {name: np.full(shape, TENTH) for name, (shape, _) in shapes.items()}
    totals, gradients = gl.compile(sums)(xs), gl.compile(gl.grad(ends))(xs)
    for name, (shape, axis) in shapes.items():
        exact = np.cumsum(np.full(shape, float(TENTH)), axis)
        np.testing.assert_allclose(totals[name], exact, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(gradients[name], np.flip(exact, axis), rtol=1e-6, err_msg=name)


Convolution = Callable[[Any, Any], Any]
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Convolution]] = {
    "a line of one channel": ((1, 1, N // 2), (1, 1, 3), lambda x, w: F.conv1d(x, w, padding=1)),
    "lines": ((2, 3, N // 12), (4, 3, 3), lambda x, w: F.conv1d(x, w, stride=2)),
    "images": ((3, 2, 256, 256), (5, 2, 3, 3), lambda x, w: F.conv2d(x, w, padding=1)),
    "positions": ((3, 3, 256, 256), (4, 3, 1, 1), lambda x, w: F.conv2d(x, w)),
    "channels by themselves": ((3, 6, 256, 256), (6, 1, 3, 3), lambda x, w: F.conv2d(x, w, padding=1, groups=6)),
    "transposed": ((3, 2, 160, 160), (2, 4, 2, 2), lambda x, w: F.conv_transpose2d(x, w, stride=2)),
    "small images": ((20_000, 2, 4, 4), (3, 2, 3, 3), lambda x, w: F.conv2d(x, w, padding=1)),
    "volumes": ((2, 1, 12, 24, 24), (2, 1, 2, 2, 2), lambda x, w: F.conv3d(x, w)),
}


def test_gradients_of_convolutions():
    def total(ws: dict[str, Any], xs: dict[str, Any]) -> Any:
        return sum((convolve(xs[name], ws[name]) * TENTH).sum() for name, (*_, convolve) in CONVOLUTIONS.items())

    def arrays(dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
        xs = {name: np.full(x, np.float32(0.7), dtype) for name, (x, *_) in CONVOLUTIONS.items()}
        return {name: np.zeros(w, dtype) for name, (_, w, _) in CONVOLUTIONS.items()}, xs

    gradients = gl.compile(gl.grad(total))
    got, exact = gradients(*arrays("float32")), gradients(*arrays("float64"))
    for name in CONVOLUTIONS:
        np.testing.assert_allclose(got[name], exact[name], rtol=2 * CLOSE, err_msg=name)


def test_means_over_large_windows_and_their_gradients():
    """A window over everything, long ones that overlap, and short steps: each element is in many windows."""
    pools: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
        "line": ((1, 2, N // 6), lambda x: F.avg_pool1d(x, N // 6)),
        "lines": ((1, 1, 9000), lambda x: F.avg_pool1d(x, 6000, stride=3)),
        "images": ((1, 2, 300, 200), lambda x: F.avg_pool2d(x, (200, 150), stride=(50, 25))),
    }

    def means(xs: dict[str, Any]) -> Any:
        return {name: pool(xs[name]) for name, (_, pool) in pools.items()}

    def total(xs: dict[str, Any]) -> Any:
        return sum(mean.sum() for mean in means(xs).values())

    def arrays(dtype: str) -> dict[str, Any]:
        return {name: np.full(shape, TENTH, dtype) for name, (shape, _) in pools.items()}

    compiled, gradients = gl.compile(means), gl.compile(gl.grad(total))
    exact = gradients(arrays("float64"))
    for name, mean in compiled(arrays("float32")).items():
        np.testing.assert_allclose(mean, float(TENTH), rtol=CLOSE, err_msg=name)
        np.testing.assert_allclose(gradients(arrays("float32"))[name], exact[name], rtol=CLOSE, err_msg=name)


def test_running_sums_of_negative_zeros_are_negative_zeros_at_any_length() -> None:
    shapes = (((9,), 0), ((300,), 0), ((300, 2), 0), ((2, 300), 1))
    xs = [np.full(shape, -0.0, "float32") for shape, _ in shapes]
    results = gl.compile(lambda xs: [np.cumsum(x, axis) for x, (_, axis) in zip(xs, shapes)])(xs)
    for x, result in zip(xs, results, strict=True):
        np.testing.assert_array_equal(result, x)
        assert np.signbit(result).all()
