"""Directional derivatives: of every op against differences, of pytrees against JAX, in a trace and outside."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.engine import Tracer, current_trace, emit
from gradloom.ir import Graph, interpret, is_float
from gradloom.passes.graph.dead_code import without_dead_code
from hypothesis import given, settings
from op_cases import CASES, sample
from random_graphs import graphs, random_inputs

RNG = np.random.default_rng(5)


def _is_double(case: Any) -> bool:
    return all(v.type.dtype != np.float32 for v in (*case.graph().inputs, *case.graph().outputs))


@pytest.mark.parametrize("case", [c for c in CASES if c.order and _is_double(c)], ids=str)
def test_the_tangent_of_every_op_is_that_of_differences(case: Any) -> None:
    arrays = sample(case)
    floats = [i for i, x in enumerate(arrays) if is_float(x.dtype)]
    primals = tuple(arrays[i] for i in floats)
    tangents = tuple(RNG.normal(size=x.shape) for x in primals)

    def fun(*given: Any) -> Any:
        operands: list[Any] = list(arrays)
        for i, x in zip(floats, given):
            operands[i] = x
        return emit(case.op, *operands, **case.attrs)

    eps = 1e-6
    ahead, behind = (fun(*(x + sign * v for x, v in zip(primals, tangents))) for sign in (eps, -eps))
    value, tangent = gl.jvp(fun, primals, tangents)
    np.testing.assert_array_equal(value, fun(*primals))
    scale = max(1.0, float(np.max(np.abs(tangent), initial=0)))
    np.testing.assert_allclose(tangent / scale, (ahead - behind) / (2 * eps) / scale, atol=1e-6)


@settings(max_examples=30)
@given(graphs(dtypes=("float64", "int64", "bool"), smooth=True, scans=True))
def test_the_tangents_of_random_graphs_with_loops_and_branches_are_those_of_differences(graph: Graph) -> None:
    arrays = random_inputs(graph)
    floats = [i for i, v in enumerate(graph.inputs) if is_float(v.type.dtype)]
    primals = tuple(arrays[i] for i in floats)
    tangents = tuple(np.random.default_rng(0).normal(size=x.shape) for x in primals)

    def replaced(given: Any) -> list[Any]:
        every: list[Any] = list(arrays)
        for i, x in zip(floats, given):
            every[i] = x
        return every

    def fun(*given: Any) -> Any:
        trace = current_trace()
        assert trace is not None
        return [Tracer(trace, v) for v in trace.builder.inline(graph, [trace.lift(x) for x in replaced(given)])]

    _, found = gl.jvp(fun, primals, tangents)
    eps = 1e-6
    ahead, behind = (
        interpret(graph, *replaced([x + sign * v for x, v in zip(primals, tangents)])) for sign in (eps, -eps)
    )
    for tangent, a, b in zip(found, ahead, behind, strict=True):
        if is_float(a.dtype):
            scale = max(1.0, float(np.max(np.abs(tangent), initial=0)))
            np.testing.assert_allclose(tangent / scale, (a - b) / (2 * eps) / scale, atol=2e-5)


def tree_function(xp: Any) -> Any:
    def fun(d: Any, y: Any) -> Any:
        return {"a": d["x"] * xp.sin(y), "b": (xp.sum(d["x"] @ d["w"]) + y, d["x"])}

    return fun


@pytest.mark.peers
def test_pytrees_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    one, other = (({"x": RNG.normal(size=(3, 4)), "w": RNG.normal(size=(4, 2))}, RNG.normal(size=4)) for _ in range(2))
    with jax.enable_x64(True):
        expected = jax.jvp(tree_function(jax.numpy), one, other)
    fun = tree_function(np)
    for found in (gl.jvp(fun, one, other), gl.compile(lambda p, t: gl.jvp(fun, p, t))(one, other)):
        for x, y in zip(gl.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)


def test_what_is_a_number_an_integer_or_the_argument_itself() -> None:
    assert gl.jvp(lambda x, y: x + y, (1.0, 2.0), (1.0, 3.0)) == (3, 4)
    assert gl.jvp(lambda x: x, (2.0,), (5,)) == (2, 5)
    (value, place), (tangent, nothing), aux = gl.jvp(
        lambda x: ((x * x, np.argmax(x)), x), (np.arange(3.0),), (np.ones(3),), has_aux=True
    )
    np.testing.assert_array_equal(tangent, 2 * np.arange(3))
    assert (place, nothing, nothing.dtype) == (2, 0, np.int64)
    np.testing.assert_array_equal(aux, np.arange(3.0))
    np.testing.assert_array_equal(value, [0, 1, 4])


def test_nested_derivatives() -> None:
    x, v = np.array([0.3, -1.2, 2.0]), np.array([1.0, 0.5, -2.0])
    _, product = gl.jvp(gl.grad(lambda x: gnp.sum(x**3)), (x,), (v,))
    np.testing.assert_allclose(product, 6 * x * v)
    second = gl.grad(lambda x: gnp.sum(gl.jvp(np.sin, (x,), (v,))[1]))(x)
    np.testing.assert_allclose(second, -np.sin(x) * v)
    _, third = gl.jvp(lambda x: gl.jvp(lambda x: gl.jvp(np.sin, (x,), (v,))[1], (x,), (v,))[1], (x,), (v,))
    np.testing.assert_allclose(third, -np.cos(x) * v**3)


def test_loops_and_what_is_recomputed() -> None:
    def states(w: Any) -> Any:
        @gl.checkpoint
        def step(c: Any, x: Any) -> Any:
            c = np.tanh(c * w + x)
            return c, c

        return gl.scan(step, np.zeros(2), np.linspace(0, 1, 10).reshape(5, 2))[1]

    w, v = np.array([0.3, -0.4]), np.array([1.0, 2.0])
    _, tangent = gl.jvp(states, (w,), (v,))
    expected = (states(w + 1e-6 * v) - states(w - 1e-6 * v)) / 2e-6
    np.testing.assert_allclose(tangent, expected, atol=1e-9)
    np.testing.assert_allclose(gl.compile(lambda w, v: gl.jvp(states, (w,), (v,))[1])(w, v), tangent, rtol=1e-12)


def test_a_loop_whose_end_is_known_only_as_it_runs() -> None:
    def root(x: Any, y: Any) -> Any:
        """√x by Newton's method; the carry that counts has no tangent, and y comes from around."""

        def step(s: Any) -> Any:
            return s[0] + 1, 0.5 * (s[1] + x / s[1]) * y

        return gl.while_loop(lambda s: np.abs(s[1] * s[1] - x) > 1e-12, step, (0, x))

    (count, value), (nothing, tangent) = gl.jvp(root, (2.0, 1.0), (1.0, 0.0))
    np.testing.assert_allclose((value, tangent), (np.sqrt(2), 0.5 / np.sqrt(2)))
    assert count > 2
    assert nothing == 0
    compiled = gl.compile(lambda x, y: gl.jvp(root, (x, y), (1.0, 0.0))[1][1])
    np.testing.assert_allclose(compiled(2.0, 1.0), tangent)
    np.testing.assert_allclose(gl.jacfwd(lambda x: root(x, 1.0)[1])(9.0), 1 / 6)


def test_a_loop_carries_tangents_and_stacks_nothing_for_them() -> None:
    def last(w: Any) -> Any:
        return gl.scan(lambda c, x: (np.tanh(c * w + x), None), np.zeros(2), np.ones((50, 2)))[0]

    graph = without_dead_code(gl.trace(lambda w, v: gl.jvp(last, (w,), (v,))[1], np.ones(2), np.ones(2)))
    loops = [node for node in graph.nodes if node.op.is_scan]
    assert [[v.type.shape for v in node.outputs] for node in loops] == [[(2,), (2,)]]


def test_the_cotangent_that_stands_in_is_dead_code() -> None:
    graph = gl.trace(lambda x, v: gl.jvp(lambda x: np.exp(np.sin(x)), (x,), (v,))[1], np.ones(3), np.ones(3))
    from gradloom.passes.simplify.simplify import Simplify

    assert [node.op.name for node in Simplify()(graph).nodes] == ["sin", "exp", "cos", "mul", "mul"]


@pytest.mark.parametrize(
    ("primals", "tangents", "error", "message"),
    [
        ((np.ones(2),), (np.ones(3),), gl.ShapeError, "tangent at 0 has shape"),
        ((np.ones(2, "float32"),), (np.ones(2),), TypeError, r"write v.astype\('float32'\)"),
        ((np.ones(2),), (), TypeError, "the structure"),
        ((np.arange(2),), (np.ones(2),), TypeError, "needs float inputs"),
        (np.ones(2), (np.ones(2),), TypeError, "primals is a tuple"),
        ((np.ones(2),), np.ones(2), TypeError, "tangents is a tuple"),
    ],
)
def test_what_does_not_fit_is_refused(primals: Any, tangents: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        gl.jvp(np.sin, primals, tangents)


def test_a_value_in_place_of_a_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write jvp\(f, \(x,\), \(v,\)\)"):
        gl.jvp(np.ones(2), (np.ones(2),), (np.ones(2),))  # type: ignore[arg-type]
