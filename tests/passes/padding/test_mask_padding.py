"""Padded programs: what is real of their results is what the program gives without padding."""

from __future__ import annotations

import random
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.ir import Array, Graph, interpret, parse, verify
from gradloom.passes.padding.axes import Axes, Axis, plain, reshaped, unified
from gradloom.passes.padding.mask_padding import MaskedGraph, PaddingError, first_difference, mask_padding
from random_programs import random_program

B, T = (8, 5), (6, 4)
"""A batch and a time, of the padded program and of the other."""


def padded(array: Array, shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape, array.dtype)
    result[tuple(map(slice, array.shape))] = array
    return result


def real_of(array: Array, axes: Axes, k: int) -> Array:
    factors = [factor for axis in axes for factor in axis.factors]
    grid = array.reshape([factor[0] for factor in factors])
    return grid[tuple(slice(factor[k]) for factor in factors)].reshape([axis.size[k] for axis in axes])


def check(masked: MaskedGraph, whole: Graph, real: Graph, arrays, k: int = 1, tolerance: float = 1e-12) -> None:
    """The masked program gives for padded arrays what `real`, the k-th graph, does without."""
    verify(masked.graph)
    given = [padded(a, v.type.shape) for a, v in zip(arrays, whole.inputs, strict=True)]
    with np.errstate(all="ignore"):
        results = interpret(masked.graph, *given, *masked.numbers(k))
        expected = interpret(real, *arrays)
    for result, wanted, axes in zip(results, expected, masked.outputs, strict=True):
        np.testing.assert_allclose(real_of(result, axes, k), wanted, tolerance, tolerance)


def both(fn, *shapes, n=B, t=T):
    """`fn` traced for arrays of both lengths; in `shapes` "b" and "t" stand for them."""
    graphs = []
    for k in range(2):
        graphs.append(gl.trace(fn, *(arrays_of(shape, np.random.default_rng(0), n[k], t[k]) for shape in shapes)))
    return graphs


def arrays_of(shape, rng, b, t):
    lengths = [{"b": b, "t": t}.get(n, n) for n in shape if n != "int"]
    return rng.integers(0, 4, lengths) if "int" in shape else rng.uniform(-2, 2, lengths)


def assert_exact(fn, *shapes, tolerance=1e-12, n=B, t=T):
    whole, real = both(fn, *shapes, n=n, t=t)
    masked = mask_padding(whole, real)
    rng = np.random.default_rng(1)
    check(masked, whole, real, [arrays_of(shape, rng, n[1], t[1]) for shape in shapes], tolerance=tolerance)
    return masked


@dataclass(frozen=True)
class Case:
    """A graph as it is traced for padded arrays, the same for shorter ones, and the masked graph."""

    title: str
    whole: str
    real: str
    masked: str

    @staticmethod
    def all() -> list[Case]:
        texts = re.split(r"^=== ", FILE.read_text(), flags=re.MULTILINE)[1:]
        found = (re.split(r"^---$", text.partition("\n")[2], flags=re.MULTILINE) for text in texts)
        return [Case(text.partition("\n")[0], *map(str.strip, parts)) for text, parts in zip(texts, found)]


def outcome(case: Case) -> str:
    whole, real = parse(case.whole), parse(case.real)
    try:
        masked = mask_padding(whole, real)
    except PaddingError as error:
        return str(error)
    rng = np.random.default_rng(0)
    arrays = [
        rng.uniform(-2, 2, v.type.shape).astype(v.type.dtype)
        if v.type.dtype.kind == "f"
        else np.zeros(v.type.shape, v.type.dtype)
        for v in real.inputs
    ]
    check(masked, whole, real, arrays, tolerance=1e-5)
    return str(masked.graph)


FILE = Path(__file__).parent / "cases.txt"


@pytest.mark.parametrize("case", Case.all(), ids=lambda case: case.title)
def test_masks_give_the_expected_text(case: Case, request: pytest.FixtureRequest):
    if request.config.getoption("--update-cases"):
        texts = (f"=== {c.title}\n{c.whole}\n---\n{c.real}\n---\n{outcome(c)}\n" for c in Case.all())
        FILE.write_text("\n".join(texts))
    else:
        assert outcome(case) == case.masked


def softmax(x, axis):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


CASES = {
    "sums over either axis": (lambda x: (x.sum(0), x.sum(1), x.sum()), ("b", "t")),
    "products, maxima and minima": (lambda x: (x.prod(1), x.max(0), x.min((0, 1)), (x > 0).all(1)), ("b", "t")),
    "places of extrema": (lambda x: (x.argmax(1), x.argmin(0), x.argmax()), ("b", 3)),
    "variance, and its unbiased form": (lambda x: (x.var(0), x.std(1, ddof=1)), ("b", "t")),
    "softmax over padding": (lambda x: softmax(x, 1), ("b", "t")),
    "padding that is not finite": (lambda x: np.sum(np.log(x * x) * 0.5), ("b", "t")),
    "attention": (
        lambda q, k, v: softmax(q @ np.swapaxes(k, 1, 2), -1) @ v,
        ("b", "t", 2),
        ("b", "t", 2),
        ("b", "t", 3),
    ),
    "running sums": (lambda x: (np.cumsum(x, 1), np.cumsum(x[:, ::-1], 1)[:, ::-1], np.cumprod(x, 0)), ("b", "t")),
    "sorted": (lambda x: (np.sort(x, 1), np.argsort(x, 0), np.sort(-x, 1)[:, ::-1]), ("b", "t")),
    "the last element": (lambda x: (x[:, -1], x[-1], x[-2:, 0]), ("b", "t")),
    "all but the ends": (lambda x: (x[:, 1:] - x[:, :-1], x[1:-1], x[::2]), ("b", "t")),
    "turned around": (lambda x: x[:, ::-1] * np.arange(x.shape[1]), ("b", "t")),
    "joined": (lambda x, y: (np.concatenate([x, y, x], 0), np.concatenate([y, x], 1)), ("b", "t"), ("b", "t")),
    "joined with constants": (lambda x: np.concatenate([x, np.ones((x.shape[0], 2)), x], 1), ("b", "t")),
    "padded": (lambda x: (np.pad(x, 1), np.pad(x, ((2, 0), (0, 3)), constant_values=7)), ("b", "t")),
    "rows of both axes": (lambda x: (x.reshape(-1, 2).sum(0), softmax(x.reshape(-1, 2), 0)), ("b", "t", 2)),
    "rows and back": (lambda x: x.reshape(-1, 2).reshape(x.shape) * x.transpose(0, 1, 2), ("b", "t", 2)),
    "merged with what is not padded": (lambda x: x.reshape(x.shape[0], -1).reshape(-1)[1:4], ("b", 2, 3)),
    "lengths as numbers": (
        lambda x: x.sum() / x.shape[0] ** 0.5 + np.log(x.shape[1]) + x.shape[0] * x.shape[1],
        ("b", "t"),
    ),
    "tables that depend on the length": (lambda x: x * np.linspace(0, 1, x.shape[1]), ("b", "t")),
    "triangles": (lambda x: np.where(np.tril(np.ones((x.shape[1],) * 2, bool)), x.T @ x, -np.inf).max(1), ("b", "t")),
    "looked up": (lambda w, i: (w[i], w[i - 1], np.sum(w[i])), (5, 3), ("b", "t", "int")),
    "looked up in padding": (lambda x, i: (x[:, i], x[:, i - 4]), ("b", "t"), (3, "int")),
    "looked up in rows": (lambda x, i: np.take_along_axis(x, i, 1), ("b", "t"), ("b", "t", "int")),
    "put": (lambda x, i: x.at[i].set(x[:, 0:1] * 0 + 7.0), ("b", 4), ("b", "int")),
    "put into a table": (
        lambda w, i, x: (w.at[i].set(x), w.at[i].add(x), w.at[i].multiply(x), w.at[i].max(x), w.at[i].min(x)),
        (5, 3),
        ("b", "int"),
        ("b", 3),
    ),
    "products of matrices": (lambda x, w: (x.T @ (x @ w), np.einsum("bt,bs->ts", x, x)), ("b", "t"), ("t", 3)),
    "a loop": (lambda x: gl.scan(lambda c, y: (np.tanh(c + y), c * y), np.zeros(3), x), ("t", 3)),
    "a loop backwards": (lambda x: gl.scan(lambda c, y: (c * 0.5 + y, c), np.ones(3), x, reverse=True), ("t", 3)),
    "a loop of a padded batch": (
        lambda x: gl.scan(lambda c, y: (c + y.mean(), y * c), 0.0, np.swapaxes(x, 0, 1)),
        ("b", "t"),
    ),
    "a loop that ends": (lambda x: gl.while_loop(lambda s: s.sum() < 50, lambda s: s + np.abs(x) + 1, x), ("b", "t")),
    "branches": (lambda x: gl.cond(x.sum() > 0, lambda x: x.mean(0), lambda x: x.max(0), x), ("b", "t")),
    "a table that is as long as the padding": (lambda w, x: x * w[: x.shape[1]] + w[0], (6,), ("b", "t")),
    "cut to a length between": (lambda x: np.sum(x[:, :5] ** 2), ("b", "t")),
    "filled up to a length": (lambda x: np.pad(x, ((0, 0), (0, 6 - x.shape[1])), constant_values=3.0), ("b", "t")),
    "a loop over rows of a table": (
        lambda w, x: gl.scan(lambda c, y: (c * y[: x.shape[1]].sum(), c), 1.0, np.stack([w, w])),
        (6,),
        ("b", "t"),
    ),
    "systems of a batch": (
        lambda x: np.linalg.solve(np.swapaxes(x, 1, 2) @ x + 4 * np.eye(2), np.ones((2, 1))),
        ("b", "t", 2),
    ),
    "factors of a batch": (
        lambda x: (np.linalg.cholesky(x @ x[:, ::-1] + 9 * np.eye(2)), np.linalg.eigvalsh(x + 3 * np.eye(2))),
        ("b", 2, 2),
    ),
    "pooled over time": (lambda x: nn.functional.max_pool1d(np.swapaxes(x, 1, 2), x.shape[1]), ("b", "t", 2)),
    "similarities of all pairs": (lambda x: nn.functional.softmax(x @ x.T, axis=-1).sum(0), ("b", "t")),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_real_is_as_without_padding(name):
    fn, *shapes = CASES[name]
    assert_exact(fn, *shapes)
    assert_exact(fn, *shapes, n=(8, 8), t=(6, 6))


WITHOUT_DERIVATIVE = {
    "a loop that ends": "a while_loop has no derivative in reverse mode",
    "products, maxima and minima": "the derivative of a product halves its axis until one element is left",
    "running sums": "so does that of a running product",
    "put into a table": "nothing is common to the derivatives of all ways to put",
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITHOUT_DERIVATIVE])
def test_derivatives_are_as_without_padding(name):
    fn, *shapes = CASES[name]
    wrt = tuple(i for i, shape in enumerate(shapes) if "int" not in shape)

    def total(*arrays):
        return sum(np.sum(np.sin(y)) for y in gl.tree.leaves(fn(*arrays)) if y.dtype.kind == "f") + 0.0

    assert_exact(gl.value_and_grad(total, wrt), *shapes, tolerance=1e-11)


def test_draws_are_those_without_padding():
    def fn(x):
        with gl.random.key(3):
            _, inside = gl.scan(lambda c, y: (c, y * gl.random.uniform(y.shape, "float64")), 0.0, x)
            return (
                gl.random.normal(x.shape, "float64"),
                gl.random.permutation(7),
                gl.random.randint(x.shape, 0, 9),
                inside,
            )

    assert_exact(fn, ("t", "b"))


IMAGES = {
    "convolution": lambda x, w: nn.functional.conv2d(x, w, stride=2, padding=1),
    "transposed convolution": lambda x, w: nn.functional.conv_transpose2d(x, np.swapaxes(w, 0, 1), stride=2, padding=1),
    "max pooling": lambda x, w: nn.functional.max_pool2d(x, 3, 2, padding=1) * w[0, 0, 0, 0],
    "mean pooling": lambda x, w: nn.functional.avg_pool2d(x, 2, padding=1) * w[0, 0, 0, 0],
    "adaptive pooling": lambda x, w: nn.functional.adaptive_max_pool2d(nn.functional.conv2d(x, w), 1),
    "global pooling": lambda x, w: nn.functional.conv2d(x, w).max((2, 3)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_other_sizes(name):
    def loss(x, w):
        return np.sum(np.sin(IMAGES[name](x, w)))

    fn = gl.value_and_grad(loss, (0, 1))
    for n, t in (((8, 5), (12, 9)), ((8, 8), (11, 8)), ((7, 6), (12, 12))):
        assert_exact(fn, ("b", 2, "t", "t"), (3, 2, 3, 3), n=n, t=t, tolerance=1e-11)


def test_an_index_beyond_what_is_real_is_out_of_range():
    whole, real = both(lambda x, i: x[i], ("b",), (2, "int"))
    masked = mask_padding(whole, real)
    x = padded(np.ones(5), (8,))
    for index in (5, 7, -6):
        with pytest.raises(IndexError):
            interpret(masked.graph, x, np.array([0, index]), *masked.numbers(1))
    (result,) = interpret(masked.graph, x + np.arange(8), np.array([4, -5]), *masked.numbers(1))
    assert result.tolist() == [5, 1]


def test_nan_is_sorted_before_padding():
    whole, real = both(lambda x: np.sort(x), ("b",))
    masked = mask_padding(whole, real)
    (result,) = interpret(masked.graph, padded(np.array([2, np.nan, np.inf, -1, 0]), (8,)), *masked.numbers(1))
    np.testing.assert_equal(result[:5], [-1, 0, 2, np.inf, np.nan])


REFUSED = {
    "slice along an axis of another length": lambda x: x[::-2],
    "reshape along an axis of another length": lambda x: np.concatenate([x, x]).reshape(2, -1).sum(0),
    "cholesky along": lambda x: np.linalg.cholesky(x @ x.T + np.eye(x.shape[0])),
    "a place in a window": lambda x: nn.functional.max_pool1d(x[None, None], len(x), return_indices=True)[1] + 1,
    "window_max along": lambda x: nn.functional.max_pool1d(x[None, None], len(x) // 2),
    "argmax along": lambda x: np.argmax(np.stack([x, x]).reshape(-1)),
    "add of arrays that are padded differently": lambda x: np.stack([x, x]).reshape(-1) + np.arange(2 * x.size) * 1.0,
    "other axes, or another dtype": lambda x: np.reshape(x, (2, 4) if x.shape[0] > 6 else (5,)),
    "another one for one length": lambda x: np.tanh(x) if x.shape[0] > 6 else np.exp(x),
    "more operations": lambda x: np.max(x) if x.shape[0] < 6 else np.tanh(np.max(x)),
    "an array is longer where the batch is shorter": lambda x: np.zeros(20 - x.shape[0]) + x[0],
    "is asked for something else": lambda x: np.pad(x, 1, constant_values=x.shape[0] // 2),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_has_no_exact_form_is_named_with_its_line(why):
    whole, real = both(REFUSED[why], ("b",) if "cholesky" not in why else ("b", 3))
    with pytest.raises(PaddingError, match=f"{why}.*, at .*test_mask_padding.py:"):
        mask_padding(whole, real)


def test_a_program_that_is_right_for_one_length_is_compared_for_another():
    def fn(x):
        return np.sum(x) * min(x.shape[0], 8)

    whole, probe, real = (gl.trace(fn, np.zeros(n)) for n in (12, 10, 5))
    masked = mask_padding(whole, probe)
    assert first_difference(mask_padding(whole, probe, gl.trace(fn, np.zeros(9))).graph, masked.graph) is None
    both = mask_padding(whole, probe, real)
    assert first_difference(both.graph, masked.graph) is not None
    check(both, whole, real, [np.arange(5.0)], k=2)


def test_axes_are_merged_and_cut():
    batch, time, width = plain((8, 5)), plain((6, 4)), plain((3, 3))
    assert reshaped((batch, width), [(24, 15)]) == [plain((24, 15))]
    assert reshaped((plain((24, 15)),), [(8, 5), (3, 3)]) == [batch, width]
    rows = reshaped((batch, time), [(48, 20)])
    assert rows == [Axis(((8, 5), (6, 4)))]
    assert reshaped(rows, [(8, 5), (6, 4)]) == [batch, time]
    assert reshaped(rows, [(1, 1), (48, 20)]) == [plain((1, 1), True), *rows]
    assert reshaped((width, time), [(6, 4), (3, 3)]) is None
    assert reshaped((plain((48, 20)),), [(8, 5), (6, 4)]) is None
    assert reshaped((plain((48, 20), True),), [(8, 5), (6, 4)]) == [plain((8, 5), True), plain((6, 4), True)]
    assert unified([rows[0], plain((48, 20), True)]) == rows[0]
    assert unified([rows[0], plain((48, 20))]) is None


def check_random(seed: int, differentiated: bool) -> bool:
    """Whether a random program is masked for batches of some other lengths, and not refused; it is right then."""
    program, rnd = random_program(seed), random.Random(seed)
    fn, arrays = program.function, [np.asarray(x) for x in program.inputs]
    floats = tuple(i for i, x in enumerate(arrays) if x.dtype.kind == "f")
    lengths = sorted({n for x in arrays for n in x.shape if n > 2})
    if not lengths or (differentiated and not floats):
        return False
    whole = {n: n + rnd.choice([3, 5, 8]) for n in lengths if rnd.random() < 0.7}
    probe = {n: whole[n] - rnd.choice([1, 2]) for n in whole}
    real = {n: max(2, whole[n] - rnd.choice([1, 2, 3, 4])) for n in whole}
    rng = np.random.default_rng(seed)

    def resized(x, to):
        shape = [to.get(n, n) for n in x.shape]
        return (rng.uniform(-2, 2, shape) if x.dtype.kind == "f" else rng.integers(0, 6, shape)).astype(x.dtype)

    def loss(*arrays):
        return sum(np.sum(np.tanh(y) ** 2) for y in fn(*arrays) if y.dtype.kind == "f") * 1.0

    traced = gl.value_and_grad(loss, floats) if differentiated else fn
    try:
        graphs = [gl.trace(traced, *(resized(x, to) for x in arrays)) for to in (whole, probe, real)]
        given = [resized(x, real) for x in arrays]
        first, all_of = mask_padding(*graphs[:2]), mask_padding(*graphs)
    except (TypeError, ValueError, IndexError, PaddingError):
        return False  # not all programs are for all shapes
    if first_difference(first.graph, all_of.graph) is None:
        check(all_of, graphs[0], graphs[2], given, k=2, tolerance=1e-4)
    return True


@pytest.mark.parametrize("differentiated", [False, True])
def test_random_programs_are_right_or_refused(differentiated):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(check_random(seed, differentiated) for seed in range(60)) > 30


@pytest.mark.slow
@pytest.mark.parametrize("differentiated", [False, True])
def test_many_random_programs_are_right_or_refused(differentiated):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(check_random(seed, differentiated) for seed in range(100, 3000)) > 1500
