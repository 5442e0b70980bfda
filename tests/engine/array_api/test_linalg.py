"""Factors and systems of `np.linalg`: NumPy's numbers, derivatives of two orders, errors at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
import scipy.linalg
from derivatives import both_orders
from gradloom import nn

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((3, 3)) + 3 * np.eye(3)
BATCH = RNG.standard_normal((2, 1, 3, 3)) + 3 * np.eye(3)
POSITIVE = MATRIX @ MATRIX.T
VECTOR, COLUMNS = RNG.standard_normal(3), RNG.standard_normal((4, 3, 2))

FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
    "cholesky": (np.linalg.cholesky, [(POSITIVE,), (BATCH @ BATCH.swapaxes(-1, -2),), (np.zeros((2, 0, 0)),)]),
    "lower triangle": (np.linalg.cholesky, [(np.tril(POSITIVE),), (POSITIVE + np.triu(MATRIX, 1),)]),
    "upper": (lambda a: np.linalg.cholesky(a, upper=True), [(POSITIVE,), (np.array([[4]]),)]),
    "eigh": (
        lambda a: np.concatenate(np.broadcast_arrays(*np.linalg.eigh(a))),
        [(POSITIVE,), (np.tril(POSITIVE),), (np.diag([3, 1, 2]),)],
    ),
    "eigvalsh": (
        lambda a: np.linalg.eigvalsh(a, "U"),
        [(BATCH + BATCH.swapaxes(-1, -2),), (np.triu(POSITIVE),), (np.zeros((2, 0, 0)),), (np.eye(3),)],
    ),
    "solve": (
        np.linalg.solve,
        [(MATRIX, VECTOR), (BATCH, VECTOR), (BATCH, COLUMNS), (MATRIX.T, COLUMNS[0]), (np.eye(3, dtype=int), VECTOR)],
    ),
    "solve of nothing": (np.linalg.solve, [(np.zeros((2, 0, 0)), np.zeros((0, 3))), (MATRIX, np.zeros((3, 0)))]),
    "inv": (np.linalg.inv, [(MATRIX,), (BATCH,), (np.array([[2, 1], [1, 1]]),), (np.zeros((0, 0)),)]),
    "det": (np.linalg.det, [(MATRIX,), (BATCH,), (np.zeros((2, 2)),), (np.zeros((3, 0, 0)),), (np.ones((1, 1)),)]),
    "slogdet": (lambda a: tuple(np.linalg.slogdet(a)), [(MATRIX,), (-BATCH,), (np.zeros((2, 2)),)]),
}
"""Functions of NumPy and their arguments."""


def every_call(dtype: str | None) -> tuple[Callable[..., Any], list[Any]]:
    """A function that makes all calls of the table, and their arguments."""
    given = [(call, arguments) for call, rows in FUNCTIONS.values() for arguments in rows]
    arrays = [a.astype(dtype) if dtype and a.dtype.kind == "f" else a for _, arguments in given for a in arguments]

    def calls(*flat: Any) -> list[Any]:
        left = iter(flat)
        return [call(*(next(left) for _ in arguments)) for call, arguments in given]

    return calls, arrays


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_program_gives_numpys_numbers(dtype: str):
    calls, arrays = every_call(dtype)
    for actual, expected in zip(gl.compile(calls)(*arrays), calls(*arrays), strict=True):
        for one, other in zip(np.atleast_1d(actual), np.atleast_1d(expected), strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype
        tolerance = 1e-12 if np.asarray(actual).dtype == np.float64 else 2e-5
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_triangles_are_solved_as_by_scipy():
    for options in ({}, {"lower": True}, {"trans": 1}, {"trans": "T", "lower": True}, {"unit_diagonal": True}):
        for right in (VECTOR, COLUMNS[0]):
            ours = gnp.linalg.solve_triangular(MATRIX, right, **options)
            np.testing.assert_allclose(ours, scipy.linalg.solve_triangular(MATRIX, right, **options), rtol=1e-12)


def test_a_row_with_a_zero_on_the_diagonal_of_a_triangle_gives_no_finite_number():
    assert not np.isfinite(gl.compile(gnp.linalg.solve_triangular)(np.diag([1.0, 0.0]), np.ones(2))[1])


SMOOTH: dict[str, Callable[[Any], Any]] = {
    "cholesky": lambda x: gnp.linalg.cholesky(x @ x.T + x[0, 0] * np.eye(3)) * x,
    "cholesky of a symmetric part": lambda x: gnp.linalg.cholesky((x + x.T) / 2 + 5 * np.eye(3)) * x,
    "eigenvalues": lambda x: gnp.linalg.eigh(x @ x.T)[0] ** 2 * x,
    "eigenvectors": lambda x: gnp.linalg.eigh(x + x.T)[1] ** 2 * x,
    "solve": lambda x: gnp.linalg.solve(x, x.T @ x),
    "solve of a vector": lambda x: gnp.linalg.solve(x, x[0]),
    "inv": lambda x: gnp.linalg.inv(x),
    "det": lambda x: gnp.linalg.det(x),
    "slogdet": lambda x: gnp.linalg.slogdet(-x)[1] * gnp.linalg.slogdet(-x)[0],
    "triangles": lambda x: gnp.linalg.solve_triangular(x, gnp.linalg.solve_triangular(x, x.T, trans=1, lower=True)),
    "unit diagonal": lambda x: gnp.linalg.solve_triangular(x, x, unit_diagonal=True),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_two_orders_are_those_of_finite_differences(name: str):
    derivatives, f = both_orders(SMOOTH[name]), SMOOTH[name]
    gradient, second = derivatives(MATRIX)
    direction, step = RNG.standard_normal((3, 3)), 1e-5

    def slope(of: Callable[[Any], Any]) -> Any:
        return (np.sum(of(MATRIX + step * direction)) - np.sum(of(MATRIX - step * direction))) / (2 * step)

    np.testing.assert_allclose(np.sum(gradient * direction), slope(f), rtol=1e-7)
    np.testing.assert_allclose(np.sum(second * direction), slope(lambda x: derivatives(x)[0]), rtol=1e-6)


def test_compiled_derivatives_are_those_of_the_interpreter():
    def all_of(x: Any) -> list[Any]:
        return [both_orders(f)(x) for f in SMOOTH.values()]

    for ours, theirs in zip(gl.compile(all_of)(MATRIX), all_of(MATRIX), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * np.abs(other).max())


def test_the_bits_do_not_depend_on_the_number_of_threads():
    x = RNG.standard_normal((5, 80, 80))

    def all_of(x: Any) -> list[Any]:
        symmetric = x @ np.matrix_transpose(x) + np.eye(80)
        factors = [*np.linalg.qr(x), *np.linalg.svd(x)]
        solved = [np.linalg.inv(x), gnp.linalg.solve_triangular(symmetric, symmetric)]
        return [np.linalg.cholesky(symmetric), *factors, *solved]

    one, two = (gl.compile(all_of, threads=threads)(x) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.linalg.cholesky(x), r"not positive definite at .*test_linalg.py"),
        (lambda x: np.linalg.solve(x, np.ones(2)), r"a matrix is singular at .*test_linalg.py"),
        (lambda x: np.linalg.inv(np.stack([np.eye(2), x])), r"a matrix is singular at .*test_linalg.py"),
        (lambda x: gl.grad(np.linalg.det)(x), r"a matrix is singular"),
        (lambda x: np.linalg.eigh(x[0, 0] * np.full((3, 3), np.inf)), r"eigenvalues of a matrix did not converge at"),
    ],
)
def test_a_matrix_that_has_no_factor_is_numpys_error_in_a_run(call: Callable[[Any], Any], message: str):
    bad = np.array([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(np.linalg.LinAlgError, match=message):
        gl.compile(call)(bad)
    with pytest.raises(np.linalg.LinAlgError, match=r"test_linalg.py"):
        gl.interpret(gl.trace(call, bad), bad)


def test_a_step_that_meets_such_a_matrix_has_changed_nothing():
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean(model(np.linalg.cholesky(batch)) ** 2)

    step = gl.compile_step(nn.Linear(2, 2, dtype="float64"), loss_fn, gl.optim.Adam(0.1), np.eye(2))
    step(np.eye(2))
    before = step.parameters()
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        step(-np.eye(2))
    for name, array in step.parameters().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.linalg.cholesky(x), r"np.linalg.cholesky takes square matrices .* \(2, 3\)"),
        (lambda x: np.linalg.inv(x[0]), r"np.linalg.inv takes square matrices .* \(3,\)"),
        (lambda x: np.linalg.det(x), r"np.linalg.det takes square matrices"),
        (lambda x: np.linalg.solve(x @ x.T, x[0]), r"np.linalg.solve: .*\(2, 2\).* and .*\(3,\).* do not fit; b is a"),
        (lambda x: np.linalg.solve(x @ x.T, x[0, 0]), r"do not fit; b is a"),
        (lambda x: np.linalg.solve(gnp.stack([x @ x.T] * 2), gnp.stack([x] * 3)), r"do not fit; b is a"),
    ],
)
def test_shapes_that_do_not_fit_name_themselves(call: Callable[[Any], Any], message: str):
    with pytest.raises(ValueError, match=message):
        gl.trace(call, np.ones((2, 3)))


def test_which_triangle_is_read_is_said_as_numpy_and_scipy_say_it():
    with pytest.raises(ValueError, match=r"np.linalg.eigh: UPLO is 'L' or 'U', got 'X'"):
        gnp.linalg.eigh(MATRIX, "X")
    with pytest.raises(ValueError, match="trans is 0 or 'N', 1 or 'T', got 2"):
        gnp.linalg.solve_triangular(MATRIX, VECTOR, trans=2)


def _spectrum(torch: Any, a: Any) -> Any:
    values, vectors = torch.linalg.eigh(a)
    return vectors**2 * values


@pytest.mark.peers
def test_derivatives_are_those_of_torch():
    torch = pytest.importorskip("torch")
    weights = RNG.standard_normal((3, 3))
    for ours, theirs in (
        (np.linalg.cholesky, torch.linalg.cholesky),
        (lambda a: np.linalg.eigh(a)[1] ** 2 * np.linalg.eigvalsh(a), lambda a: _spectrum(torch, a)),
        (lambda a: np.linalg.solve(a, a @ a), lambda a: torch.linalg.solve(a, a @ a)),
        (np.linalg.inv, torch.linalg.inv),
        (lambda a: np.linalg.slogdet(a)[1] + np.zeros((3, 3)), lambda a: torch.linalg.slogdet(a)[1].expand(3, 3)),
        (lambda a: np.linalg.det(a) * a, lambda a: torch.linalg.det(a) * a),
    ):
        x = torch.tensor(POSITIVE, requires_grad=True)
        (theirs(x) * torch.tensor(weights)).sum().backward()
        gradient = gl.grad(lambda a, f=ours: np.sum(f(a) * weights))(POSITIVE)
        np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_scipys_names_are_here() -> None:
    ours, theirs = gnp.linalg, scipy.linalg

    def calls(a: Any, s: Any, b: Any) -> list[Any]:
        solved = [ours.cho_solve(ours.cho_factor(s, lower=lower), b) for lower in (False, True)]
        return [*solved, ours.block_diag(a, b, b[0], 2.0), ours.toeplitz(a[0], b[:, 0]), ours.toeplitz(b[0])]

    found = gl.compile(calls)(MATRIX, POSITIVE, COLUMNS[0])
    solved = scipy.linalg.solve(POSITIVE, COLUMNS[0])
    block = theirs.block_diag(MATRIX, COLUMNS[0], COLUMNS[0, 0], 2.0)
    toeplitz = theirs.toeplitz(MATRIX[0], COLUMNS[0, :, 0]), theirs.toeplitz(COLUMNS[0, 0])
    for one, other in zip(found, (solved, solved, block, *toeplitz), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)
    assert ours.block_diag().shape == (1, 0)
    with pytest.raises(gl.ShapeError, match="toeplitz takes vectors"):
        ours.toeplitz(MATRIX)
    with pytest.raises(gl.ShapeError, match="block_diag takes matrices"):
        ours.block_diag(COLUMNS)


def test_complex_systems_are_solved_as_by_numpy() -> None:
    z, right = MATRIX + 1j * MATRIX.T, COLUMNS[0] - 1j

    def calls(z: Any, right: Any, x: Any) -> list[Any]:
        return [np.linalg.solve(z, right), np.linalg.solve(x, right[:, 0]), np.linalg.inv(np.stack([z, z.T]))]

    for one, other in zip(gl.compile(calls)(z, right, MATRIX), calls(z, right, MATRIX), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)
    assert gnp.linalg.inv(z.astype(np.complex64)).dtype == np.complex64
    gl.check_grads(lambda x: np.abs(np.linalg.solve(x + 1j * x.T, x[0])).sum(), (MATRIX,), order=2, modes=("rev",))
    with pytest.raises(gl.ShapeError, match=r"np\.linalg\.inv takes square matrices .* \(2, 3\) complex128"):
        gl.trace(np.linalg.inv, z[:2])


TO_ELIMINATE = [RNG.standard_normal(shape) for shape in ((3, 3), (1, 1), (2, 4, 4), (5, 3), (3, 5), (2, 3, 1))]


def test_factors_of_elimination_are_those_of_scipy() -> None:
    given = [*TO_ELIMINATE, TO_ELIMINATE[3][::-1].T, np.array([[0.0, 1], [0, 2], [0, 3]]), np.arange(6).reshape(2, 3)]
    found = gl.compile(lambda given: [part for a in given for part in gnp.linalg.lu(a)])(given)
    expected = [part for a in given for part in scipy.linalg.lu(a)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    for a in given:
        places, lower, upper = gnp.linalg.lu(a, p_indices=True)
        np.testing.assert_allclose(np.take_along_axis(lower, places[..., None], -2) @ upper, a, atol=1e-12)
        np.testing.assert_allclose(np.matmul(*gnp.linalg.lu(a, permute_l=True)), a, atol=1e-12)
    assert [part.shape for part in gnp.linalg.lu(np.zeros((0, 2)))] == [(0, 0), (0, 0), (0, 2)]
    with pytest.raises(gl.ShapeError, match="lu takes matrices in the last two axes"):
        gnp.linalg.lu(VECTOR)


def test_derivatives_of_elimination_agree_with_differences() -> None:
    for a in TO_ELIMINATE:
        weights = [RNG.standard_normal(part.shape) for part in gnp.linalg.lu(a)[1:]]

        def weighed(a: Any, weights: Any = weights) -> Any:
            return sum((part * w).sum() for part, w in zip(gnp.linalg.lu(a)[1:], weights, strict=True))

        gl.check_grads(weighed, (a,), order=2, modes=("rev",))
