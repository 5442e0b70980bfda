"""Jacobians and Hessians of pytrees: JAX's, compiled and not; and that check_grads finds what is wrong."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

RNG = np.random.default_rng(4)
D, Y = {"x": RNG.normal(size=3), "w": RNG.normal(size=(3, 2))}, RNG.normal(size=2)


def function(xp: Any) -> Any:
    return lambda d, y: {"a": xp.tanh(d["x"] @ d["w"]) * y, "b": (xp.sum(d["x"] ** 2) * y[0],)}


@pytest.mark.peers
@pytest.mark.parametrize("name", ["jacrev", "jacfwd", "jacobian", "hessian"])
def test_they_agree_with_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    for argnums in (0, 1, (0, 1), (1,)):
        ours = getattr(gl, name)(function(gnp), argnums=argnums)
        with jax.enable_x64(True):
            theirs = getattr(jax, "jacrev" if name == "jacobian" else name)(function(jax.numpy), argnums=argnums)(D, Y)
        every = [ours(D, Y)] if argnums != (0, 1) else [ours(D, Y), gl.compile(ours)(D, Y)]
        for given in every:
            assert jax.tree.structure(given) == jax.tree.structure(theirs)
            for x, y in zip(jax.tree.leaves(given), jax.tree.leaves(theirs)):
                np.testing.assert_allclose(x, y, atol=1e-12)


def test_small_ones_by_hand() -> None:
    assert gl.hessian(lambda x: x**3)(2.0) == 12
    matrix, aux = gl.jacobian(lambda x: (np.stack([x[0] * x[1], x[1]]), x), has_aux=True)(np.array([2.0, 3.0]))
    np.testing.assert_array_equal(matrix, [[3, 2], [0, 1]])
    np.testing.assert_array_equal(aux, [2, 3])
    np.testing.assert_array_equal(gl.jacfwd(lambda x: x[:0])(np.ones(3)).shape, (0, 3))
    curvature, aux = gl.hessian(lambda x: (np.sum(x**3), x[0]), has_aux=True)(np.array([1.0, 2.0]))
    np.testing.assert_allclose(curvature, [[6, 0], [0, 12]])
    assert aux == 1


def test_hessian_times_vector() -> None:
    def loss(d: Any) -> Any:
        return gnp.sum(gnp.tanh(d["x"] @ d["w"]) ** 2) * gnp.sum(d["x"])

    v = gl.tree.map(lambda x: RNG.normal(size=x.shape), D)
    flat, unravel = gl.tree.ravel(D)
    whole = gl.hessian(lambda flat: loss(unravel(flat)))(flat)
    expected = whole @ gl.tree.ravel(v)[0]
    for product in (gl.hessian_vector_product(loss, D, v), gl.compile(gl.hessian_vector_product)(loss, D, v)):
        np.testing.assert_allclose(gl.tree.ravel(product)[0], expected, rtol=1e-10)
    np.testing.assert_allclose(whole, whole.T, atol=1e-12)


def test_rows_draw_the_same_numbers() -> None:
    with gl.random.key(0):
        matrix = gl.jacobian(lambda x: x * gl.random.normal(3, "float64"))(np.ones(3))
        again = gl.jacfwd(lambda x: x * gl.random.normal(3, "float64"))(np.ones(3))
    for each in (matrix, again):
        assert np.count_nonzero(each) == 3
        assert np.count_nonzero(np.diag(each)) == 3


def test_what_is_not_supported_is_refused() -> None:
    for name in ("jacrev", "jacfwd", "jacobian", "hessian"):
        with pytest.raises(NotImplementedError, match="holomorphic"):
            getattr(gl, name)(np.sin, holomorphic=True)
    with pytest.raises(TypeError, match="a Jacobian is of float results, the function returned int64"):
        gl.jacobian(np.argmax)(np.ones(3))
    with pytest.raises(TypeError, match="jacobian takes a function"):
        gl.jacobian(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="argnums 2 for a call with 1"):
        gl.jacobian(np.sin, argnums=2)(np.ones(3))


@gl.custom_vjp
def wrong(x: Any) -> Any:
    return np.exp(x)


wrong.defvjp(lambda x: (np.exp(x), x), lambda x, g: (g * np.exp(x) * (1 + 1e-3),))


@gl.custom_vjp
def wrong_twice(x: Any) -> Any:
    return np.exp(x)


wrong_twice.defvjp(lambda x: (np.exp(x), x), lambda x, g: (g * gl.stop_gradient(np.exp(x)),))


def test_check_grads_finds_a_wrong_derivative() -> None:
    gl.check_grads(function(gnp), (D, Y), order=2)
    gl.check_grads(lambda x: np.exp(np.sin(x)), (np.ones(3, "float32"),), order=2)
    gl.check_grads(np.sin, (1.0,), order=1, modes=("rev",), eps=1e-5, atol=1e-8, rtol=1e-8)
    for modes, what in ((("fwd",), "the jvp differs"), (("rev",), "the vjp differs")):
        with pytest.raises(AssertionError, match=what):
            gl.check_grads(wrong, (np.ones(3),), order=1, modes=modes)
    with pytest.raises(AssertionError, match="the vjp of the vjp"):
        gl.check_grads(wrong_twice, (np.ones(3),), order=2, modes=("rev",))
    with pytest.raises(ValueError, match="modes is a sequence"):
        gl.check_grads(np.sin, (1.0,), 1, modes="rev")
    with pytest.raises(TypeError, match="check_grads: arguments are floats, got 1"):
        gl.check_grads(np.sin, (1,), 1)
    with pytest.raises(TypeError, match="args is a tuple"):
        gl.check_grads(np.sin, 1.0, 1)  # type: ignore[arg-type]
