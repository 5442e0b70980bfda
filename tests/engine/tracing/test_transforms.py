"""Derivatives and checkpoints: right against differences, nested, in a trace and outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import optree
import pytest
from gradloom.engine import emit
from gradloom.ir import Graph
from gradloom.ir.ops import creation
from gradloom.passes.graph.dead_code import without_dead_code

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def differences(function: Callable[..., Any], args: tuple[np.ndarray, ...], which: int) -> np.ndarray:
    """The gradient of a scalar function by central differences."""
    x = args[which]
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = x.copy()
            moved[place] += step
            values.append(float(function(*args[:which], moved, *args[which + 1 :])))
        result[place] = (values[0] - values[1]) / 2e-6
    return result


INDEX = np.array([[2, 0], [1, 1]])
MASK = RNG.integers(0, 2, (3, 4)).astype(bool)

WEIGHT = floats(4, 3)
ZEROS = (np.array([[2.0, 0.0, -1.5, 3.0, 0.5], [0.0, 0.0, 1.0, 2.0, 0.0]]), floats(2, 5))

FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]] = [
    ("mlp", lambda x, w, b: np.mean(np.tanh(x @ w + b) ** 2), (floats(3, 4), floats(4, 2), floats(2))),
    (
        "softmax",
        lambda x: np.sum(np.exp(x - gnp.logsumexp(x, axis=1, keepdims=True)) * np.arange(4.0)),
        (floats(3, 4),),
    ),
    ("logsumexp", lambda x: gnp.logsumexp(3 * x), (floats(3, 4),)),
    (
        "layer norm",
        lambda x: np.sum(((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)) ** 3),
        (floats(3, 4),),
    ),
    ("std", lambda x: np.std(x, axis=0, ddof=1).sum(), (floats(3, 4),)),
    ("norm", lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=1, ord=3).sum(), (floats(3, 4),)),
    ("max", lambda x: x.max(axis=0).sum() * x.min() + np.ptp(x), (floats(3, 4),)),
    ("prod", lambda x: np.prod(x, axis=1).sum(), (floats(3, 4),)),
    (
        "powers",
        lambda x: np.sum(np.abs(x) ** 1.5 + x**2 + x**3 + x**4 + 1 / np.abs(x) ** 0.5 + np.abs(x) ** -0.5 + 2**x),
        (floats(3, 4),),
    ),
    ("power", lambda x, y: np.sum(np.abs(x) ** y), (floats(3, 4), floats(4))),
    (
        "elementwise",
        lambda x: np.sum(np.sin(x) * np.cos(x) + np.log1p(x * x) + np.expm1(x) + np.arctan(x) + np.exp2(x)),
        (floats(3, 4),),
    ),
    (
        "two arguments",
        lambda x, y: np.sum(np.logaddexp(x, y) + np.hypot(x, y) + np.arctan2(x, y) + np.maximum(x, y)),
        (floats(3, 4), floats(4)),
    ),
    ("remainder", lambda x, y: np.sum(np.remainder(x, y) + np.fmod(x, y)), (floats(3), floats(3))),
    ("where and clip", lambda x: np.sum(np.where(x > 0, x * x, -x) + np.clip(x, -0.5, 0.5)), (floats(3, 4),)),
    ("mask", lambda x: np.sum(np.where(MASK, x, 0) ** 2) + np.sum(x[MASK] ** 3), (floats(3, 4),)),
    ("slices", lambda x: np.sum(x[::-2, 1:] ** 2) + x[0, -1] * x[1, 0], (floats(3, 4),)),
    (
        "index arrays",
        lambda x: np.sum(x[INDEX] ** 2) + np.sum(x[INDEX, INDEX] ** 3) + np.sum(x[:, INDEX] * x[0, 0]),
        (floats(3, 4),),
    ),
    (
        "take",
        lambda x: np.sum(np.take(x, [0, 0, 1], axis=1) ** 2) + np.sum(np.take_along_axis(x, INDEX, 1) ** 2),
        (floats(2, 3),),
    ),
    ("shape", lambda x: np.sum(np.concatenate([x.T.reshape(3, 4), x * 2], 1)[:, 2:7] ** 2), (floats(3, 4),)),
    (
        "pad tile repeat roll",
        lambda x: (
            np.sum(np.pad(x, ((1, 0), (2, 1)), "reflect") ** 2)
            + np.sum(np.tile(x, (2, 2)) ** 3)
            + np.sum(np.repeat(x, 2, 0) ** 2 * np.roll(np.repeat(x, 2, 0), 1))
        ),
        (floats(3, 4),),
    ),
    (
        "diagonals",
        lambda x: np.trace(x @ x) + np.sum(np.tril(x, 1) ** 2) + np.sum(np.diag(np.diagonal(x, 1)) ** 3),
        (floats(4, 4),),
    ),
    ("cumsum and diff", lambda x: np.sum(np.cumsum(x, 0) ** 2) + np.sum(np.diff(x, axis=1) ** 2), (floats(3, 4),)),
    (
        "einsum",
        lambda x, y: np.sum(np.einsum("ij,jk,lk->il", x, y, y) ** 2) + np.einsum("ii,ij->", y, y),
        (floats(2, 3), floats(3, 3)),
    ),
    ("matmul broadcast", lambda x, y: np.sum((x @ y) ** 2), (floats(2, 1, 3, 4), floats(5, 4, 2))),
    ("broadcast", lambda x, y: np.sum(np.broadcast_to(x, (2, 3, 4)) ** 2 * y), (floats(3, 1), floats(2, 1, 1))),
    ("split stack", lambda x: np.sum(np.stack(np.split(x, 2, 1)[::-1]) ** 2 * np.arange(2.0)), (floats(3, 4),)),
    ("cumprod", lambda x: np.sum(np.cumprod(x, 0) ** 2 * np.cumprod(x, 1)), (floats(5, 4),)),
    ("cumprod of zeros", lambda x, w: np.sum(np.cumprod(x, 1) ** 2 * w) + np.sum(np.cumprod(x, 1) * w), ZEROS),
    ("sort", lambda x, w: np.sum(np.sort(x, 0) ** 2 * w) + np.sum(np.sort(x.T) * w.T) ** 2, (floats(4, 3), WEIGHT)),
    ("median", lambda x: np.sum(np.median(x, axis=1) ** 2) + np.median(x) ** 2, (floats(3, 4),)),
    ("flip and average", lambda x: np.sum(np.flip(x, 1) * x) + np.average(x, weights=x * x), (floats(3, 4),)),
]


@pytest.mark.parametrize(("function", "args"), [case[1:] for case in FUNCTIONS], ids=[case[0] for case in FUNCTIONS])
def test_gradient_is_that_of_differences(function: Callable[..., Any], args: tuple[np.ndarray, ...]) -> None:
    every = tuple(range(len(args)))
    value, gradients = gl.value_and_grad(function, argnums=every)(*args)
    np.testing.assert_allclose(value, function(*args), rtol=1e-10)
    for i in every:
        np.testing.assert_allclose(gradients[i], differences(function, args, i), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("function", "args"), [case[1:] for case in FUNCTIONS], ids=[case[0] for case in FUNCTIONS])
def test_hessian_vector_product_is_that_of_differences(
    function: Callable[..., Any], args: tuple[np.ndarray, ...]
) -> None:
    vector = floats(*args[0].shape)

    def slope(*args: Any) -> Any:
        return np.sum(gl.grad(function)(*args) * vector)

    np.testing.assert_allclose(gl.grad(slope)(*args), differences(slope, args, 0), rtol=2e-4, atol=2e-4)


def loss(params: dict[str, Any], x: Any) -> Any:
    return np.mean(np.tanh(x @ params["w"] + params["b"]) ** 2)


PARAMS = {"w": floats(4, 2), "b": floats(2)}
X = floats(3, 4)


def test_gradients_are_pytrees_like_the_arguments() -> None:
    gradient = gl.grad(loss)(PARAMS, X)
    assert optree.tree_structure(gradient) == optree.tree_structure(PARAMS)  # pyright: ignore
    assert gradient["w"].shape == (4, 2)
    first, second = gl.grad(loss, argnums=(0, 1))(PARAMS, X)
    np.testing.assert_array_equal(first["w"], gradient["w"])
    assert second.shape == X.shape
    (alone,) = gl.grad(loss, argnums=[-1])(PARAMS, X)
    np.testing.assert_array_equal(alone, second)


def test_a_graph_of_a_gradient_gives_what_the_call_gives() -> None:
    graph = gl.trace(gl.value_and_grad(loss), PARAMS, X)
    graph.verify()
    assert str(gl.parse(str(graph))) == str(graph)
    assert [v.name for v in graph.inputs] == ["params.b", "params.w", "x"]
    value, gradient = gl.value_and_grad(loss)(PARAMS, X)
    results = gl.interpret(graph, PARAMS["b"], PARAMS["w"], X)
    for result, wanted in zip(results, (value, gradient["b"], gradient["w"])):
        np.testing.assert_array_equal(result, wanted)


def test_backward_nodes_keep_the_line_and_scope_of_their_forward_nodes() -> None:
    graph = gl.trace(gl.grad(lambda x: np.sum(np.tanh(x))), X)
    forward = next(node for node in graph.nodes if node.op.name == "tanh")
    backward = [node for node in graph.nodes if node.origin.role == "backward"]
    assert forward.origin.role == "forward"
    assert backward
    assert {node.origin.source for node in backward} == {forward.origin.source}


def test_python_floats_can_be_differentiated() -> None:
    assert gl.grad(lambda x: x**3)(2.0) == 12
    assert gl.grad(gl.grad(gl.grad(lambda x: x**3)))(2.0) == 6


def test_gradient_of_what_does_not_depend_on_the_argument_is_zero() -> None:
    np.testing.assert_array_equal(gl.grad(lambda x, y: np.sum(y))(X, X), np.zeros_like(X))
    np.testing.assert_array_equal(gl.grad(lambda x: 3.0)(X), np.zeros_like(X))
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(x.astype("int64")).astype("float64"))(X), np.zeros_like(X))


def test_no_gradient_flows_through_what_the_function_closes_over() -> None:
    def function(x: Any) -> Any:
        return gl.grad(lambda y: np.sum(x * y))(x)

    graph = gl.trace(function, X)
    np.testing.assert_array_equal(gl.interpret(graph, X)[0], X)
    # And the outer derivative does flow through it: d/dx sum(x * x) = 2x.
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(gl.grad(lambda y: np.sum(x * y))(x) * x))(X), 2 * X)


def test_the_same_array_given_twice_is_two_arguments() -> None:
    def function(x: Any) -> Any:
        return gl.grad(lambda a, b: np.sum(a * a * b), argnums=(0, 1))(x, x)

    first, second = gl.interpret(gl.trace(function, X), X)
    np.testing.assert_allclose(first, 2 * X * X)
    np.testing.assert_allclose(second, X * X)


def test_auxiliary_results_come_along() -> None:
    def function(x: Any) -> Any:
        return np.sum(x * x), {"mean": x.mean(), "n": 3}

    (value, aux), gradient = gl.value_and_grad(function, has_aux=True)(X)
    np.testing.assert_allclose(value, np.sum(X * X))
    np.testing.assert_allclose(aux["mean"], X.mean())
    assert aux["n"] == 3
    np.testing.assert_array_equal(gradient, 2 * X)
    again, aux = gl.grad(function, has_aux=True)(X)
    np.testing.assert_array_equal(again, gradient)


def test_keyword_arguments_and_options_are_passed_on() -> None:
    def function(x: Any, mode: str, *, scale: Any) -> Any:
        return np.sum(x * scale) if mode == "sum" else np.mean(x)

    np.testing.assert_array_equal(gl.grad(function)(X, "sum", scale=X), X)


def test_vjp_pulls_cotangents_back() -> None:
    def function(params: Any, x: Any) -> Any:
        h = np.tanh(x @ params["w"])
        return {"h": h, "norm": np.sum(h * h), "count": np.argmax(h)}

    out, pullback = gl.vjp(function, PARAMS, X)
    assert set(out) == {"h", "norm", "count"}
    seed = {"h": floats(3, 2), "norm": np.asarray(2.0), "count": np.asarray(0)}
    params, x = pullback(seed)

    def scalar(w: Any, x: Any) -> Any:
        h = np.tanh(x @ w)
        return np.sum(h * seed["h"]) + 2 * np.sum(h * h)

    np.testing.assert_allclose(params["w"], differences(scalar, (PARAMS["w"], X), 0), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(params["b"], np.zeros(2))
    np.testing.assert_allclose(x, differences(scalar, (PARAMS["w"], X), 1), rtol=1e-5, atol=1e-7)


def test_vjp_with_auxiliary_results() -> None:
    out, pullback, aux = gl.vjp(lambda x: (x * x, x.sum()), X, has_aux=True)
    np.testing.assert_array_equal(out, X * X)
    np.testing.assert_allclose(aux, X.sum())
    np.testing.assert_array_equal(pullback(np.ones_like(X))[0], 2 * X)


def test_a_jacobian_row_by_row() -> None:
    matrix = floats(3, 4)
    x = floats(4)
    _, pullback = gl.vjp(lambda x: np.sin(matrix @ x), x)
    rows = [pullback(row)[0] for row in np.eye(3)]
    np.testing.assert_allclose(np.stack(rows), np.cos(matrix @ x)[:, None] * matrix)


def test_a_jacobian_inside_a_trace() -> None:
    matrix = floats(3, 4)

    def jacobian(x: Any) -> Any:
        _, pullback = gl.vjp(lambda x: np.sin(matrix @ x), x)
        return np.stack([pullback(row)[0] for row in np.eye(3)])

    x = floats(4)
    (result,) = gl.interpret(gl.trace(jacobian, x), x)
    np.testing.assert_allclose(result, np.cos(matrix @ x)[:, None] * matrix)


def test_vjp_inside_vjp() -> None:
    def inner(x: Any) -> Any:
        _, pullback = gl.vjp(lambda y: np.sum(y**3), x)
        return pullback(gnp.asarray(1.0))[0]

    out, pullback = gl.vjp(inner, X)
    np.testing.assert_allclose(out, 3 * X**2)
    np.testing.assert_allclose(pullback(np.ones_like(X))[0], 6 * X)


def test_a_pullback_made_outside_can_be_used_in_a_trace() -> None:
    _, pullback = gl.vjp(np.sin, X)
    graph = gl.trace(lambda seed: pullback(seed)[0], X)
    np.testing.assert_allclose(gl.interpret(graph, np.ones_like(X))[0], np.cos(X))


def test_stop_gradient() -> None:
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(x * gl.stop_gradient(x)))(X), X)
    tree = gl.stop_gradient({"a": X, "b": 3})
    assert tree["b"] == 3
    np.testing.assert_array_equal(tree["a"], X)


def test_ties_share_the_gradient() -> None:
    np.testing.assert_array_equal(gl.grad(lambda x: np.max(x))(np.array([2.0, 2.0, 1.0])), [0.5, 0.5, 0])
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(np.maximum(x, 0)))(np.array([-1.0, 0.0, 1.0])), [0, 0.5, 1])


# Checkpoints.


def block(x: Any, w: Any) -> Any:
    return np.tanh(np.exp(-x * x) @ w)


def roles(graph: Graph, role: str) -> list[str]:
    return [node.op.name for node in graph.nodes if node.origin.role == role]


W = floats(4, 4)


@pytest.mark.parametrize("wrap", [gl.checkpoint, lambda f: gl.checkpoint(lambda *a: gl.checkpoint(f)(*a) * 1.5 / 1.5)])
def test_checkpoint_changes_no_gradient_and_computes_again(wrap: Any) -> None:
    def model(function: Any) -> Any:
        def run(x: Any, w: Any) -> Any:
            for _ in range(3):
                x = function(x, w)
            return np.sum(x * x)

        return run

    plain, marked = (gl.grad(model(f), argnums=(0, 1)) for f in (block, wrap(block)))
    for wanted, result in zip(plain(X, W), marked(X, W)):
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)
    graph = gl.trace(marked, X, W)
    graph.verify()
    assert roles(gl.trace(plain, X, W), "recompute") == []
    assert roles(graph, "recompute").count("tanh") >= 3
    assert roles(graph, "recompute").count("exp") >= 3
    # Of what was computed first in a region, backward nodes read its result alone.
    read = {v.node for node in graph.nodes if node.origin.role == "backward" for v in node.inputs if v.node}
    kept = {node for node in read if node.origin.checkpoint}
    assert len(kept) <= 3
    assert len({node.op.name for node in kept}) == 1


def test_every_call_of_a_checkpointed_function_is_a_region_of_its_own() -> None:
    outer = gl.checkpoint(lambda x: gl.checkpoint(np.sin)(x) + gl.checkpoint(np.cos)(x))
    graph = gl.trace(lambda x: (outer(x), outer(x)), X)
    assert [node.origin.checkpoint for node in graph.nodes] == ["1/2", "1/3", "1", "4/5", "4/6", "4"]


def test_what_is_saved_in_a_checkpoint_is_not_computed_again() -> None:
    def saving(x: Any, w: Any) -> Any:
        return np.tanh(gl.save({"product": np.exp(-x * x) @ w})["product"])

    def squares(function: Any) -> Any:
        return gl.grad(lambda x, w: np.sum(function(function(x, w), w) ** 2), argnums=(0, 1))

    marked = squares(gl.checkpoint(saving))
    for wanted, result in zip(squares(block)(X, W), marked(X, W)):
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)
    again = roles(without_dead_code(gl.trace(marked, X, W)), "recompute")
    assert "tanh" in again
    assert "exp" in again  # the gradient of w needs it, and it is made of the region's inputs
    assert not {"dot", "save"} & set(again)


def test_saving_outside_a_trace_is_the_identity() -> None:
    assert gl.save([X, 1])[0] is X


def test_checkpoint_outside_a_trace_is_the_function_itself() -> None:
    np.testing.assert_array_equal(gl.checkpoint(block)(X, W), block(X, W))


def test_random_bits_are_the_same_when_computed_again() -> None:
    def dropout(x: Any, key: Any) -> Any:
        bits = emit(creation.random_bits, key, shape=x.shape, dtype=np.dtype("int32"), stream=3)
        return np.where(bits > 0, x * np.exp(x), 0)

    def run(function: Any) -> Any:
        return lambda x, key: np.sum(function(x, key) ** 2)

    key = np.asarray(42)
    wanted = gl.grad(run(dropout))(X, key)
    graph = gl.trace(gl.grad(run(gl.checkpoint(dropout))), X, key)
    assert "random_bits" in roles(graph, "recompute")
    np.testing.assert_array_equal(gl.interpret(graph, X, key)[0], wanted)
    assert 0 < np.count_nonzero(wanted == 0) < X.size


def test_a_derivative_inside_a_checkpoint_is_computed_again_with_it() -> None:
    def force(x: Any) -> Any:
        return gl.grad(lambda y: np.sum(np.sin(y) ** 2))(x)

    def energy(function: Any) -> Any:
        return lambda x: np.sum(function(x) ** 3)

    wanted = gl.grad(energy(force))(X)
    marked = gl.grad(energy(gl.checkpoint(force)))
    np.testing.assert_allclose(marked(X), wanted, rtol=1e-12, atol=1e-12)
    graph = gl.trace(gl.checkpoint(force), X)
    assert {node.origin.checkpoint for node in graph.nodes} == {"1"}
    np.testing.assert_allclose(gl.grad(gl.checkpoint(lambda x: np.sum(force(x) ** 3)))(X), wanted, rtol=1e-12)


# Errors.


def test_integer_arguments_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"argument 0 is int64\[3\]; write x.astype\('float64'\), at .*test_transforms.py"
    ):
        gl.grad(lambda x: np.sum(x))(np.arange(3))
    with pytest.raises(TypeError, match=r"argument 1 at n is int64"):
        gl.grad(lambda y, x: np.sum(x["a"]), argnums=1)(1.0, {"a": X, "n": 3})
    with pytest.raises(TypeError, match=r"argument 0 is int64"):
        gl.vjp(np.sin, np.arange(3))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x * 2, gl.ShapeError, r"returned shape \(3, 4\); take its mean or sum"),
        (lambda x: np.argmax(x), gl.TracingError, "float scalar, the function returned int64"),
        (lambda x: {"loss": np.sum(x)}, gl.TracingError, "scalar array, got dict"),
        (lambda x: None, gl.TracingError, "got NoneType"),
    ],
)
def test_results_that_are_no_float_scalars_are_refused(function: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gl.grad(function)(X)


def test_wrong_use_is_refused() -> None:
    for transform in (gl.grad, gl.value_and_grad, gl.checkpoint):
        with pytest.raises(TypeError, match=f"^{transform.__name__} takes a function, got float64; write"):
            transform(np.sum(X))
    with pytest.raises(TypeError, match="argnums 2 for a call with 1"):
        gl.grad(np.sum, argnums=2)(X)
    with pytest.raises(gl.TracingError, match=r"returns \(loss, aux\)"):
        gl.grad(np.sum, has_aux=True)(X)
    _, pullback = gl.vjp(np.sin, X)
    with pytest.raises(gl.ShapeError, match=r"the cotangent is \(2,\) float64, the result \(3, 4\) float64"):
        pullback(np.ones(2))
    with pytest.raises(gl.TracingError, match="structure"):
        pullback((X, X))


class _Scaled:
    """Methods that are transformed where they are defined."""

    def __init__(self, k: float) -> None:
        self.k = k
        self.shift = np.zeros(2)

    @gl.compile
    def compiled(self, x: Any) -> Any:
        return x * self.k + self.shift

    @gl.grad
    def slope(self, x: Any) -> Any:
        return (x * x * self.k).sum()

    @gl.value_and_grad
    def both(self, x: Any, y: Any) -> Any:
        return (x * y * self.k).sum()

    @gl.compile
    @gl.grad
    def fast_slope(self, x: Any) -> Any:
        return (x * x * self.k).sum()

    @gl.checkpoint
    def again(self, x: Any) -> Any:
        return np.tanh(x * self.k)

    @staticmethod
    @gl.compile
    def plain(x: Any) -> Any:
        return x + 1


def test_decorated_methods_bind_self() -> None:
    x = np.array([1.0, 2.0])
    scaled = _Scaled(3.0)
    np.testing.assert_array_equal(scaled.compiled(x), 3 * x)
    np.testing.assert_array_equal(scaled.slope(x), 6 * x)
    np.testing.assert_array_equal(scaled.fast_slope(x), 6 * x)
    value, gradient = scaled.both(x, 2 * x)
    assert value == 30
    np.testing.assert_array_equal(gradient, 6 * x)
    np.testing.assert_array_equal(scaled.again(x), np.tanh(3 * x))
    np.testing.assert_array_equal(_Scaled.plain(x), x + 1)
    np.testing.assert_array_equal(gl.grad(lambda x: scaled.compiled(x).sum())(x), [3, 3])
    np.testing.assert_array_equal(_Scaled(5.0).compiled(x), 5 * x)
    assert gl.compile(scaled.slope)(x).tolist() == [6, 12]


def test_a_compiled_method_follows_the_attributes_of_self() -> None:
    x = np.ones(2)
    scaled = _Scaled(3.0)
    assert scaled.compiled(x).tolist() == [3, 3]
    scaled.k = 4.0
    assert scaled.compiled(x).tolist() == [4, 4]
    scaled.shift = np.ones(2)
    assert scaled.compiled(x).tolist() == [5, 5]
    scaled.k = 3.0
    assert scaled.compiled(x).tolist() == [4, 4]


def test_what_grad_is_given_that_is_no_array_is_named() -> None:
    with pytest.raises(TypeError, match=r"argument 0 is of type _Scaled; choose others with argnums=.*test_transforms"):
        gl.grad(lambda scaled, x: x.sum())(_Scaled(1.0), np.ones(2))
    with pytest.raises(TypeError, match="argument 1 is of type str"):
        gl.compile(lambda x: gl.grad(lambda x, y: x.sum(), argnums=(0, 1))(x, "a"))(np.ones(2))
    with pytest.raises(TypeError, match="argnums must be an integer"):
        gl.grad(lambda x: x.sum(), argnums="x")(np.ones(2))  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(gl.grad(lambda x: x.sum(), argnums=np.int64(0))(np.ones(2)), [1, 1])  # pyright: ignore
