"""Eigenvalues of general matrices, roots and polynomials: NumPy's numbers, derivatives of two orders, refusals."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

RNG = np.random.default_rng(1)
MATRICES = [RNG.standard_normal(shape) for shape in ((3, 3), (1, 1), (2, 4, 4), (0, 0), (2, 0, 0))]
MATRICES += [MATRICES[2][:, ::-1], np.diag([3.0, 1, 2]), np.array([[0, 1], [-1, 0]]), np.eye(4)]


def weighed(a: Any) -> Any:
    """A function of eigenvalues and vectors that does not depend on phases."""
    values, vectors = np.linalg.eig(a)
    c = np.arange(1.0, 1 + values.shape[-1])
    return (values.real * c).sum() + (values.imag**2 * c).sum() + (np.abs(vectors) ** 2 * c * c[:, None]).sum()


def test_eigenvalues_and_vectors_are_those_of_numpy() -> None:
    def factors(matrices: list[Any]) -> list[Any]:
        return [part for a in matrices for part in (*np.linalg.eig(a), np.linalg.eigvals(a))]

    for one, other in zip(gl.compile(factors)(MATRICES), factors(MATRICES), strict=True):
        assert (one.dtype, one.shape) == (np.complex128, other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    single = MATRICES[2].astype(np.float32)
    values, vectors = gl.compile(np.linalg.eig)(single)
    assert values.dtype == vectors.dtype == np.complex64
    np.testing.assert_allclose(single @ vectors, vectors * values[:, None, :], atol=1e-5)


def test_derivatives_of_two_orders_agree_with_differences() -> None:
    for a in (MATRICES[0], MATRICES[2]):
        gl.check_grads(weighed, (a,), order=2, modes=("rev",))
    compiled = gl.compile(gl.grad(weighed))(MATRICES[0])
    np.testing.assert_allclose(compiled, gl.grad(weighed)(MATRICES[0]), rtol=1e-10)
    np.testing.assert_allclose(gl.grad(lambda a: np.linalg.eigvals(a).real.sum())(np.eye(3)), np.eye(3), atol=1e-14)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    x = RNG.standard_normal((5, 60, 60))
    one, two = (gl.compile(np.linalg.eig, threads=threads)(x) for threads in (1, 2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))


def test_roots_and_polynomials() -> None:
    p, zeros, square = np.array([1.0, -3, 2.5, 4]), np.array([1.0, 2, 2]), MATRICES[0]
    found = gl.compile(lambda p, z, a: (np.roots(p), np.poly(z), np.poly(a), np.poly(z + 1j), np.roots(p[:1])))(
        p, zeros, square
    )
    expected = np.roots(p), np.poly(zeros), np.poly(square), np.poly(zeros + 1j), np.roots(p[:1])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(gnp.roots(np.array([0, 1, -2])), [2])
    gl.check_grads(lambda p: (np.abs(np.roots(p)) ** 2).sum() + (np.poly(p) ** 2).sum(), (p,), order=2, modes=("rev",))


def test_what_has_no_eigenvalues_is_said() -> None:
    for call, kind, message in (
        (lambda x: np.linalg.eig(x), gl.ShapeError, r"np\.linalg\.eig takes square matrices"),
        (lambda x: np.linalg.eig(x[:2] + 1j), NotImplementedError, "of complex matrices is not traced"),
        (lambda x: np.roots(x), gl.ShapeError, r"np\.roots: p has one axis"),
        (lambda x: np.poly(x), gl.ShapeError, "takes roots or a square matrix"),
    ):
        with pytest.raises(kind, match=message + r".*test_general_eigenvalues\.py"):
            gl.trace(call, gl.spec((3, 2)))
    with pytest.raises(np.linalg.LinAlgError, match=r"did not converge at .*test_general_eigenvalues\.py"):
        gl.compile(np.linalg.eigvals)(np.full((2, 2), np.nan))
    with pytest.raises(gl.TargetError, match=r"eig at .*values\.py.* has no kernel for .*; write target='cpu'"):
        gl.compile(np.linalg.eigvals, target="cuda-emulated")(MATRICES[0])


@pytest.mark.peers
def test_derivatives_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for a in (MATRICES[0], MATRICES[2]):
        x = torch.tensor(a, requires_grad=True)
        values, vectors = torch.linalg.eig(x)
        c = torch.arange(1.0, 1 + values.shape[-1], dtype=torch.float64)
        loss = (values.real * c).sum() + (values.imag**2 * c).sum() + (vectors.abs() ** 2 * c * c[:, None]).sum()
        loss.backward()
        np.testing.assert_allclose(gl.grad(weighed)(a), x.grad.numpy(), rtol=1e-9, atol=1e-11)
