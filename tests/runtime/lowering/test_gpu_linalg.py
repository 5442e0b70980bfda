"""Factors of matrices and linear systems on a GPU, in the emulator, each access checked."""

import gradloom as gl
import numpy as np
import pytest
from gpu_emulated import run_emulated
from gradloom import numpy as gnp


def factors(symmetric, general, right):
    values, vectors = gnp.linalg.eigh(symmetric)
    sign, log = gnp.linalg.slogdet(general)
    lower = gnp.linalg.cholesky(symmetric)
    return values, vectors, sign, log, lower, gnp.linalg.solve(general, right)


@pytest.mark.parametrize(("n", "dtype"), [(1, "float64"), (2, "float32"), (33, "float64")])
def test_factors_are_those_of_numpy(n, dtype):
    rng = np.random.default_rng(n)
    general, right = rng.standard_normal((2, n, n)).astype(dtype), rng.standard_normal((2, n, 3)).astype(dtype)
    symmetric = (general @ general.transpose(0, 2, 1) + np.eye(n)).astype(dtype)
    graph = gl.trace(factors, symmetric, general, right)
    values, vectors, sign, log, lower, solved = run_emulated(graph, symmetric, general, right)
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(values, np.linalg.eigvalsh(symmetric), **close)
    np.testing.assert_allclose(vectors * values[:, None, :] @ vectors.transpose(0, 2, 1), symmetric, **close)
    np.testing.assert_allclose(vectors.transpose(0, 2, 1) @ vectors, np.broadcast_to(np.eye(n), (2, n, n)), **close)
    np.testing.assert_allclose(sign, np.linalg.slogdet(general)[0])
    np.testing.assert_allclose(log, np.linalg.slogdet(general)[1], **close)
    np.testing.assert_allclose(lower, np.linalg.cholesky(symmetric), **close)
    np.testing.assert_allclose(general @ solved, right, **close)


def test_the_orthogonal_factor_of_a_matrix_of_any_sides_is_that_of_numpy():
    rng = np.random.default_rng(0)
    tall, wide = rng.standard_normal((2, 35, 20)), rng.standard_normal((3, 5)).astype("float32")
    graph = gl.trace(lambda x, y: (*gnp.linalg.qr(x), *gnp.linalg.qr(x, "complete"), *gnp.linalg.qr(y)), tall, wide)
    expected = *np.linalg.qr(tall), *np.linalg.qr(tall, "complete"), *np.linalg.qr(wide)
    for one, other in zip(run_emulated(graph, tall, wide), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9 if one.dtype == np.float64 else 1e-5, atol=1e-6)


def test_singular_values_are_those_of_numpy_and_vectors_are_orthogonal_whatever_the_rank():
    rng = np.random.default_rng(0)
    low = rng.standard_normal((7, 2)) @ rng.standard_normal((2, 5))
    for a in (
        rng.standard_normal((2, 9, 6)),
        rng.standard_normal((3, 8)).astype("float32"),
        low,
        low.T,
        np.zeros((3, 2)),
    ):
        u, s, v = run_emulated(gl.trace(lambda x: gnp.linalg.svd(x, full_matrices=False), a), a)
        tolerance = 1e-9 if a.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(s, np.linalg.svdvals(a), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(u * s[..., None, :] @ v, a, atol=tolerance)
        for rows in (np.matrix_transpose(u), v):
            unit = np.broadcast_to(np.eye(rows.shape[-2]), (*rows.shape[:-1], rows.shape[-2]))
            np.testing.assert_allclose(rows @ np.matrix_transpose(rows), unit, atol=tolerance)


def test_matrices_that_have_no_factors_stop_the_run():
    for function, matrix in (
        (gnp.linalg.cholesky, -np.eye(3)),
        (lambda x: gnp.linalg.solve(x, x), np.zeros((3, 3))),
        (lambda x: gnp.linalg.eigh(x)[0], np.full((3, 3), np.nan)),
        (gnp.linalg.svdvals, np.full((3, 2), np.nan)),
    ):
        with pytest.raises(np.linalg.LinAlgError):
            run_emulated(gl.trace(function, matrix), matrix)


def test_a_singular_matrix_has_a_determinant_of_0_and_equal_eigenvalues_have_vectors():
    matrix = np.array([[[0.0, 0, 0], [0, 2, 0], [0, 0, 2]], [[2.0, 0, 0], [0, 2, 0], [0, 0, 2]]])
    graph = gl.trace(lambda x: (*gnp.linalg.slogdet(x), *gnp.linalg.eigh(x)), matrix)
    sign, log, values, vectors = run_emulated(graph, matrix)
    np.testing.assert_array_equal(sign, [0, 1])
    np.testing.assert_allclose(log, [-np.inf, np.log(8)])
    np.testing.assert_array_equal(values, [[0, 2, 2], [2, 2, 2]])
    np.testing.assert_array_equal(np.abs(vectors).sum(axis=(1, 2)), [3, 3])
