"""Derivatives that the user wrote: of every order against JAX, in loops, checkpoints and steps, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom import nn

X = np.array([0.3, -1.2, 2.0])


def scaled_exp(module: Any, xp: Any) -> Callable[[Any], Any]:
    """exp, whose derivative is said to be three times as large."""

    @module.custom_vjp
    def f(x: Any) -> Any:
        return xp.exp(x)

    def forward(x: Any) -> Any:
        y = f(x)
        return y, y

    def backward(y: Any, g: Any) -> Any:
        return (3 * g * y,)

    f.defvjp(forward, backward)
    return f


def of_trees(module: Any, xp: Any) -> Callable[..., Any]:
    """A function of an exponent that has no derivative, and of a pytree; one cotangent is zero and one is wrong."""

    def fun(n: int, d: Any, y: Any) -> Any:
        return {"a": d["x"] ** n, "b": (y * xp.sum(d["w"]), d["x"])}

    f = module.custom_vjp(fun, nondiff_argnums=(0,))

    def forward(n: int, d: Any, y: Any) -> Any:
        return fun(n, d, y), (d, y)

    def backward(n: int, kept: Any, g: Any) -> Any:
        d, y = kept
        return {"x": n * d["x"] * g["a"] + 7 * g["b"][1], "w": 0 * d["w"]}, y * g["b"][0]

    f.defvjp(forward, backward)
    return f


def derivatives(module: Any, xp: Any) -> list[Any]:
    f = scaled_exp(module, xp)

    def first(x: Any) -> Any:
        return module.grad(lambda x: xp.sum(f(x) ** 2))(x)

    def second(x: Any) -> Any:
        return module.grad(lambda x: xp.sum(first(x) * x))(x)

    tree = of_trees(module, xp)
    d, y = {"x": X, "w": X[:2]}, np.array(0.7)

    def whole(d: Any, y: Any) -> Any:
        out = tree(3, d, y)
        return xp.sum(out["a"]) + out["b"][0] ** 2 + xp.sum(out["b"][1])

    return [first(X), second(X), module.grad(whole, argnums=(0, 1))(d, y)]


@pytest.mark.peers
def test_derivatives_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        expected = derivatives(jax, jax.numpy)
    for one, other in zip(gl.tree.leaves(derivatives(gl, np)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_derivative_is_the_users_in_both_directions_and_twice() -> None:
    f = scaled_exp(gl, np)
    np.testing.assert_array_equal(f(X), np.exp(X))
    np.testing.assert_allclose(gl.grad(lambda x: gnp.sum(f(x)))(X), 3 * np.exp(X))
    np.testing.assert_allclose(gl.jvp(f, (X,), (X,))[1], 3 * np.exp(X) * X)
    first = gl.grad(lambda x: gnp.sum(f(x)))
    np.testing.assert_allclose(gl.compile(gl.grad(lambda x: gnp.sum(first(x))))(X), 9 * np.exp(X))


def test_what_stands_for_it_in_a_program_is_dropped_by_the_first_simplification() -> None:
    from gradloom.passes.simplify.simplify import Simplify

    f = scaled_exp(gl, np)
    graph = gl.trace(f, X)
    graph.verify()
    assert str(gl.parse(str(graph))) == str(graph)
    assert [node.op.name for node in Simplify()(graph).nodes] == ["exp"]
    (value,) = gl.interpret(graph, X)
    np.testing.assert_array_equal(value, np.exp(X))


def test_inside_loops_and_checkpoints() -> None:
    f = scaled_exp(gl, np)

    def looped(x: Any) -> Any:
        step = gl.checkpoint(lambda c, _: (f(-c), f(c)))
        return gnp.sum(gl.scan(step, x, length=3)[1])

    def unrolled(x: Any) -> Any:
        total = 0.0
        for _ in range(3):
            total, x = total + gnp.sum(f(x)), f(-x)
        return total

    expected = gl.grad(unrolled)(X)
    np.testing.assert_allclose(gl.grad(looped)(X), expected)
    np.testing.assert_allclose(gl.compile(gl.grad(looped))(X), expected)


class Clipping(nn.Module):
    def __init__(self) -> None:
        self.weight = nn.Parameter(np.full(3, 2.0, "float32"))

    @gl.custom_vjp
    def clipped(self, x: Any) -> Any:
        return x * 1

    def forward(self, x: Any) -> Any:
        return self.clipped(x * self.weight)


Clipping.clipped.defvjp(lambda model, x: (x * 1, model), lambda model, g: (None, np.clip(g, -0.5, 0.5)))


def test_a_method_inside_a_compiled_step() -> None:
    batch = {"x": np.ones(3, "float32"), "scale": np.array([0.1, 1, -9], "float32")}
    step = gl.compile_step(Clipping(), lambda m, b: np.sum(m(b["x"]) * b["scale"]), gl.optim.SGD(1.0), batch)
    step.report.check()
    step(batch)
    np.testing.assert_allclose(step.parameters()["weight"], [1.9, 1.5, 2.5], rtol=1e-6)


def test_several_results_integers_and_keywords() -> None:
    @gl.custom_vjp
    def f(x: Any, axis: int = 0) -> Any:
        return np.max(x, axis=axis), np.argmax(x, axis=axis)

    f.defvjp(
        lambda x, axis: (f(x, axis), (np.asarray(x.shape[0]), axis)),
        lambda kept, g: (np.ones((2, 2)) * kept[0] * np.sum(g[0]), None),
    )
    x = np.array([[1.0, 5.0], [2.0, 0.0]])
    value, places = f(x, axis=1)
    assert (value.tolist(), places.tolist()) == ([5, 2], [1, 0])
    np.testing.assert_array_equal(gl.grad(lambda x: gnp.sum(f(x, axis=1)[0]))(x), np.full((2, 2), 4.0))


def broken(backward: Callable[..., Any], forward: Callable[..., Any] | None = None) -> Callable[[], Any]:
    @gl.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y["a"]

    f.defvjp(forward or (lambda x, y: (x * y["a"], None)), backward)
    return lambda: gl.grad(lambda x: gnp.sum(f(x, {"a": x})))(X)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (broken(lambda _, g: g), TypeError, "a tuple with a cotangent for each of 2 arguments"),
        (broken(lambda _, g: (g,)), TypeError, "got 1 of them"),
        (broken(lambda _, g: (g, g)), TypeError, "the cotangent of argument 1 has the structure"),
        (
            broken(lambda _, g: (g[:2], None)),
            gl.ShapeError,
            r"argument 0 is \(2,\) float64, the argument \(3,\) float64",
        ),
        (
            broken(lambda _, g: (None, {"a": g.astype("float32")})),
            TypeError,
            r"cotangent of argument 1.a is \(3,\) float32",
        ),
        (broken(lambda _, g: (g, None), lambda x, y: x), TypeError, r"forward returns a pair \(result, kept\)"),
        (lambda: gl.custom_vjp(np.exp)(X), AttributeError, "exp has no derivative; write exp.defvjp"),
        (lambda: gl.custom_vjp(3), TypeError, "takes a function, got int"),
        (lambda: gl.custom_vjp(np.exp).defvjp(np.exp, np.exp, symbolic_zeros=True), NotImplementedError, "symbolic_z"),
        (lambda: gl.custom_vjp(np.exp).defvjp(np.exp, None), TypeError, "defvjp takes two functions"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
