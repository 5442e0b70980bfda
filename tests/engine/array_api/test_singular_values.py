"""Singular values, ranks, norms, pseudoinverses, least squares, powers and exponentials are NumPy's and SciPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
import scipy.linalg
from gradloom import ShapeError

RNG = np.random.default_rng(0)
TALL, SQUARE = RNG.standard_normal((5, 3)), RNG.standard_normal((2, 4, 4))
LOW = RNG.standard_normal((5, 2)) @ RNG.standard_normal((2, 4))


def check(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, tolerance: float = 1e-9) -> None:
    """The interpreted trace of `ours` equals `theirs`."""
    expected = theirs(*arrays)
    found = gl.interpret(gl.trace(ours, *arrays), *arrays)
    for value, wanted in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert value.shape == np.shape(wanted)
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "a", [TALL, TALL.T, SQUARE, LOW, np.zeros((2, 3)), np.ones((3, 1))], ids=lambda a: str(a.shape)
)
def test_what_follows_from_singular_values(a: np.ndarray) -> None:
    check(np.linalg.svdvals, np.linalg.svdvals, a)
    check(np.linalg.matrix_rank, np.linalg.matrix_rank, a)
    check(lambda a: np.linalg.matrix_rank(a, rtol=0.5), lambda a: np.linalg.matrix_rank(a, rtol=0.5), a)
    check(lambda a: gnp.linalg.pinv(a, rtol=1e-9), lambda a: np.linalg.pinv(a, rtol=1e-9), a)
    for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        norms = lambda a, o=order: (  # noqa: E731
            np.linalg.matrix_norm(a, ord=o),
            np.linalg.norm(a, o, axis=(-1, -2), keepdims=True),
            np.linalg.norm(a, o, axis=(-2, -1)),
        )
        check(norms, norms, a)


def test_condition_numbers_and_least_squares() -> None:
    for p in (None, 2, -2, 1, -1, np.inf, -np.inf, "fro"):
        check(lambda a, p=p: np.linalg.cond(a, p), lambda a, p=p: np.linalg.cond(a, p), SQUARE, tolerance=1e-8)
    assert gnp.linalg.cond(np.zeros((2, 2)) + np.diag([1, 0])) == np.inf
    solved = lambda a, b: tuple(np.linalg.lstsq(a, b))  # noqa: E731
    for a, b in ((TALL, VECTOR), (TALL, RNG.standard_normal((5, 2))), (TALL.T.copy(), VECTOR[:3])):
        check(solved, solved, a, b)
    x, residuals, rank, _ = gnp.linalg.lstsq(LOW, VECTOR)
    np.testing.assert_allclose(x, np.linalg.lstsq(LOW, VECTOR)[0])
    assert (rank, residuals.shape) == (2, (0,))


VECTOR = RNG.standard_normal(5)


def test_powers_products_and_exponentials() -> None:
    for n in (0, 1, 2, 5, -1, -3):
        power = lambda a, n=n: np.linalg.matrix_power(a, n)  # noqa: E731
        check(power, power, SQUARE, tolerance=1e-8)
    check(lambda a: np.linalg.matrix_power(a, 0), lambda a: np.linalg.matrix_power(a, 0), SQUARE * np.inf)
    product = lambda a, b: (np.linalg.multi_dot([a, b, a]), np.linalg.multi_dot([b[0], a, b, a[:, 0]]))  # noqa: E731
    check(product, product, TALL, TALL.T.copy())
    for scale in (1e-3, 1.0, 20.0):
        check(gnp.linalg.expm, scipy.linalg.expm, SQUARE * scale, tolerance=1e-8)
    check(gnp.linalg.expm, scipy.linalg.expm, np.zeros((0, 0)))
    assert np.isnan(gnp.linalg.expm(np.eye(2) * 1e6)).all()
    pairs = RNG.standard_normal((4, 3)), RNG.standard_normal(3)
    check(np.cross, np.cross, *pairs)
    check(lambda a, b: np.linalg.cross(a, b, axis=0), lambda a, b: np.cross(a, b, axis=0), pairs[0][:3], pairs[0][1:])


def test_derivatives_agree_with_differences() -> None:
    weights = np.arange(15.0)
    for a in (TALL, TALL.T.copy()):
        w = weights.reshape(a.T.shape)
        gl.check_grads(lambda a, w=w: (np.linalg.pinv(a) * w).sum(), (a,), order=2, modes=("rev",))
    gl.check_grads(lambda a: (np.linalg.svdvals(a) * weights[:3]).sum(), (TALL,), order=1)
    gl.check_grads(lambda a: (np.linalg.norm(a, "nuc", (1, 2)) + np.linalg.cond(a)).sum(), (SQUARE,), order=1)
    gl.check_grads(lambda a: gnp.linalg.expm(a).sum(), (SQUARE,), order=1)
    gl.check_grads(lambda a, b: (np.linalg.lstsq(a, b)[0] ** 2).sum(), (TALL, VECTOR), order=1, modes=("rev",))


def test_a_compiled_program_has_the_same_numbers() -> None:
    found = gl.compile(lambda a: (np.linalg.svdvals(a), np.linalg.pinv(a)))(TALL)
    np.testing.assert_allclose(found[0], np.linalg.svdvals(TALL))
    np.testing.assert_allclose(found[1], np.linalg.pinv(TALL))


def test_what_is_no_matrix() -> None:
    x = gl.spec((3,))
    for call, kind, message in (
        (np.linalg.svdvals, ShapeError, "svdvals takes matrices in the last two axes"),
        (lambda x: np.linalg.matrix_power(x, 2), ShapeError, "takes square matrices"),
        (gnp.linalg.expm, ShapeError, "expm takes square matrices"),
        (lambda x: np.linalg.lstsq(x[:, None], x[:2]), ShapeError, r"a is \(m, n\), b \(m,\) or \(m, k\)"),
        (lambda x: np.cross(x[:2], x), ShapeError, "vectors have three elements"),
        (lambda x: np.linalg.multi_dot([x]), ValueError, "takes two arrays or more"),
        (lambda x: gnp.linalg.matrix_norm(x[:, None], ord=3), ValueError, "norm of matrices is 'fro', 'nuc'"),
    ):
        with pytest.raises(kind, match=message + r".*test_singular_values\.py"):
            gl.trace(call, x)
