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


FACTORED = [
    TALL,
    TALL.T,
    SQUARE,
    SQUARE[0, ::-1, ::2],
    np.zeros((2, 0, 3)),
    np.zeros((3, 0)),
    np.arange(6).reshape(2, 3),
]


def all_factors(matrices: list[Any]) -> list[Any]:
    whole = [part for a in matrices for part in np.linalg.svd(a, full_matrices=False)]
    squares = [a for a in matrices if a.shape[-1] == a.shape[-2] and a.dtype == np.float64]  # signs follow from bits
    symmetric = [a + np.swapaxes(a, -1, -2) for a in squares]
    whole += [part for a in symmetric for part in np.linalg.svd(a, hermitian=True)]
    whole += [np.linalg.svd(a, compute_uv=False, hermitian=True) for a in symmetric]
    return whole + [np.linalg.svd(a, compute_uv=False) for a in matrices]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_singular_vectors_are_those_of_numpy(dtype: str) -> None:
    given = [a if a.dtype.kind == "i" else a.astype(dtype) for a in FACTORED]
    for one, other in zip(gl.compile(all_factors)(given), all_factors(given), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-10 if one.dtype == np.float64 else 1e-5)


def test_whole_orthogonal_matrices_of_singular_vectors() -> None:
    for a in FACTORED:
        u, s, v = gnp.linalg.svd(a)
        assert (u.shape, v.shape) == ((*a.shape[:-1], a.shape[-2]), (*a.shape[:-2], a.shape[-1], a.shape[-1]))
        k = s.shape[-1]
        np.testing.assert_allclose(u[..., :k] * s[..., None, :] @ v[..., :k, :], a, atol=1e-12)
        for orthogonal in (u, v):
            unit = np.broadcast_to(np.eye(orthogonal.shape[-1]), orthogonal.shape)
            np.testing.assert_allclose(np.matrix_transpose(orthogonal) @ orthogonal, unit, atol=1e-12)


def test_derivatives_of_singular_vectors_agree_with_differences() -> None:
    for a in (TALL, TALL.T.copy(), SQUARE, TALL[:, :1]):
        weights = [RNG.standard_normal(part.shape) for part in np.linalg.svd(a, full_matrices=False)]

        def weighed(a: Any, weights: Any = weights) -> Any:
            parts = np.linalg.svd(a, full_matrices=False)
            return sum((part**2 * w).sum() for part, w in zip(parts, weights, strict=True))

        gl.check_grads(weighed, (a,), order=2, modes=("rev",), rtol=1e-3)


def test_sums_of_equal_singular_values_and_eigenvalues_have_derivatives() -> None:
    unit = np.eye(3)
    for call in (lambda a: np.linalg.norm(a, "nuc"), lambda a: np.linalg.eigvalsh(a).sum()):
        np.testing.assert_allclose(gl.grad(call)(unit), unit, atol=1e-15)
    assert np.isfinite(gl.grad(lambda a: np.linalg.norm(a, 2))(np.zeros((2, 3)))).all()


def test_small_singular_values_are_as_precise_as_those_of_lapack() -> None:
    graded = np.diag([1.0, 1e-9, 1e-14]) @ np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    np.testing.assert_allclose(gl.compile(np.linalg.svdvals)(graded), [1, 1e-9, 1e-14], rtol=1e-2)


def test_what_has_no_singular_vectors_or_no_derivative() -> None:
    with pytest.raises(NotImplementedError, match=r"full_matrices=False for np\.linalg\.svd, at .*values\.py"):
        gl.grad(lambda a: np.linalg.svd(a)[0].sum())(TALL)
    assert gl.grad(lambda a: np.linalg.svd(a)[1].sum())(TALL).shape == TALL.shape
    with pytest.raises(np.linalg.LinAlgError, match=r"singular values of a matrix did not converge at .*values\.py"):
        gl.compile(np.linalg.svdvals)(TALL * np.nan)
    with pytest.raises(ShapeError, match="hermitian matrices are square"):
        gl.trace(lambda a: np.linalg.svd(a, hermitian=True), gl.spec((2, 3)))


@pytest.mark.peers
def test_derivatives_of_singular_vectors_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for a in (TALL, TALL.T, SQUARE):
        x = torch.tensor(a, requires_grad=True)
        parts = torch.linalg.svd(x, full_matrices=False)
        weights = [RNG.standard_normal(part.shape) for part in parts]
        sum((part**2 * torch.tensor(w)).sum() for part, w in zip(parts, weights, strict=True)).backward()

        def weighed(a: Any, weights: Any = weights) -> Any:
            ours = np.linalg.svd(a, full_matrices=False)
            return sum((part**2 * w).sum() for part, w in zip(ours, weights, strict=True))

        np.testing.assert_allclose(gl.grad(weighed)(a), x.grad.numpy(), rtol=1e-8, atol=1e-10)


def every_norm(arrays: list[Any]) -> list[Any]:
    found = []
    for x in arrays:
        pairs = [axis for axis in (None, (0, 1), (-1, 0)) if (axis is None) == (x.ndim == 2)]
        orders = (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
        found += [np.linalg.norm(x, o, axis, True) for o in orders for axis in pairs if x.ndim > 1]
        found += [np.linalg.norm(x, o, -1) for o in (None, 0, 1, -1, 2, -2, 3, 0.5, -3, np.inf, -np.inf)]
    return found


def test_norms_in_every_order_over_vectors_and_matrices_are_those_of_numpy() -> None:
    arrays = [RNG.standard_normal(shape) for shape in ((4,), (3, 2), (2, 3, 2), (1, 1))] + [np.arange(6).reshape(2, 3)]
    with np.errstate(all="ignore"):
        expected = every_norm(arrays)
    for one, other in zip(gl.compile(every_norm)(arrays), expected, strict=True):
        assert (np.shape(one), one.dtype) == (np.shape(other), other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-10)
    none = np.zeros((2, 0))
    for ord, axis in ((np.inf, None), (2, None), (1, None), ("nuc", (1, 0)), (np.inf, 1), (None, 0)):
        np.testing.assert_array_equal(gnp.linalg.norm(none, ord, axis), np.linalg.norm(none, ord, axis))


def test_condition_numbers_and_least_squares() -> None:
    for p in (None, 2, -2, 1, -1, np.inf, -np.inf, "fro"):
        check(lambda a, p=p: np.linalg.cond(a, p), lambda a, p=p: np.linalg.cond(a, p), SQUARE, tolerance=1e-8)
    for p in (None, 1, np.inf, "fro"):
        assert gl.compile(lambda a, p=p: np.linalg.cond(a, p))(np.diag([1.0, 0])) == np.inf
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
