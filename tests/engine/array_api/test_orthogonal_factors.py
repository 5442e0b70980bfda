"""Factors of matrices of any sides: NumPy's numbers and signs, derivatives of two orders, what is refused."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

RNG = np.random.default_rng(0)
MATRICES = [
    RNG.standard_normal(shape) for shape in ((5, 3), (3, 3), (2, 4, 4), (3, 5), (1, 3), (3, 1), (2, 0, 2), (3, 0))
]


def assert_all_close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_q_and_r_are_those_of_numpy_in_every_mode() -> None:
    def factors(matrices: list[Any]) -> list[Any]:
        modes = [part for a in matrices for mode in ("reduced", "complete") for part in np.linalg.qr(a, mode)]
        return modes + [np.linalg.qr(a, "r") for a in matrices]

    strided = [*MATRICES, MATRICES[0][::-2, ::-1], MATRICES[2].T, np.arange(6).reshape(3, 2)]
    assert_all_close(gl.compile(factors)(strided), factors(strided))
    single = [a.astype(np.float32) for a in MATRICES]
    assert_all_close(gl.compile(factors)(single), factors(single), 1e-5)
    assert gl.trace(lambda a: gnp.linalg.qr(a).Q, gl.spec((3, 2))).outputs[0].type == gl.spec((3, 2))


def test_derivatives_of_q_and_r_agree_with_differences() -> None:
    for a in MATRICES[:6]:
        for mode in ("reduced", "complete") if a.shape[-2] <= a.shape[-1] else ("reduced",):
            weights = [RNG.standard_normal(part.shape) for part in np.linalg.qr(a, mode)]

            def weighed(a: Any, mode: Any = mode, weights: Any = weights) -> Any:
                return sum((part * w).sum() for part, w in zip(np.linalg.qr(a, mode), weights, strict=True))

            gl.check_grads(weighed, (a,), order=2, modes=("rev",))


def test_products_of_reflections_are_those_that_lapack_factors_into() -> None:
    for a in (MATRICES[0], MATRICES[1], RNG.standard_normal((2, 4, 3))):
        packed, scales = np.linalg.qr(a, "raw")
        q = gl.compile(gnp.linalg.householder_product)(packed.swapaxes(-1, -2), scales)
        np.testing.assert_allclose(q, np.linalg.qr(a)[0], rtol=1e-12, atol=1e-12)
    scales = np.array([0.3, 0.0])  # one of them is the identity
    gl.check_grads(lambda a, t: (gnp.linalg.householder_product(a, t) ** 2 * a).sum(), (MATRICES[0], scales), order=2)


def test_what_has_no_factors_or_no_derivative_is_refused() -> None:
    for call, kind, message in (
        (lambda x: np.linalg.qr(x[0]), gl.ShapeError, r"np\.linalg\.qr takes matrices in the last two axes"),
        (lambda x: np.linalg.qr(x, "full"), ValueError, "mode is 'reduced', 'complete' or 'r', got 'full'"),
        (lambda x: np.linalg.qr(x, "raw"), NotImplementedError, "mode='raw' is not traced; write mode='reduced'"),
        (lambda x: gl.grad(lambda x: np.linalg.qr(x, "complete")[0].sum())(x), NotImplementedError, "have no deriv"),
        (lambda x: gnp.linalg.householder_product(x.T, x[0]), gl.ShapeError, r"a is \(\.\.\., m, n\) and taus"),
    ):
        with pytest.raises(kind, match=message + r".*test_orthogonal_factors\.py"):
            gl.trace(call, gl.spec((4, 2)))


@pytest.mark.peers
def test_derivatives_of_q_and_r_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for a in MATRICES[:6]:
        x = torch.tensor(a, requires_grad=True)
        parts = torch.linalg.qr(x)
        weights = [RNG.standard_normal(part.shape) for part in parts]
        sum((part * torch.tensor(w)).sum() for part, w in zip(parts, weights, strict=True)).backward()

        def weighed(a: Any, weights: Any = weights) -> Any:
            return sum((part * w).sum() for part, w in zip(np.linalg.qr(a), weights, strict=True))

        np.testing.assert_allclose(gl.grad(weighed)(a), x.grad.numpy(), rtol=1e-10, atol=1e-10)
    a, scales = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((2, 2))
    expected = torch.linalg.householder_product(torch.tensor(a), torch.tensor(scales)).numpy()
    np.testing.assert_allclose(gnp.linalg.householder_product(a, scales), expected, rtol=1e-10, atol=1e-12)
