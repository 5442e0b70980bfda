"""`x.at[index]`: NumPy's assignments without assigning, traced and not, with derivatives that agree with JAX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.ir.ops.dynamic_slice import dynamic_update_slice
from gradloom.passes.pipeline import plan_graph

X = np.arange(24.0).reshape(2, 3, 4)
MASK = X % 3 == 0
INDICES: list[Any] = [
    0,
    -1,
    (slice(None), 1),
    (slice(1, None), slice(0, 2), -2),
    (Ellipsis, slice(None, None, -1)),
    (0, slice(None, None, -2), slice(3, 0, -2)),
    (slice(None), slice(0, 3, 2), slice(1, 4)),
    slice(1, 1),
    (None, 1, Ellipsis, None),
    [1, 0, 1],
    (slice(None), [2, 2]),
    (Ellipsis, [[3, 0], [3, 3]]),
    (0, [1, 1], slice(1, 3)),
    ([0, 1], slice(None), [3, 3]),
    ([0, 1, 1], [2, 2, 2]),
    (slice(None), [[0], [1]], [1, 2]),
    ([[1]], None, slice(0, 2), [0, 3, 3]),
    MASK,
    (1, MASK[1]),
    (slice(None), MASK[0, :, 0]),
    Ellipsis,
    (),
]
IN_PLACE: dict[str, Callable[[np.ndarray, Any, Any], None]] = {
    "set": lambda x, i, v: x.__setitem__(i, v),
    "add": np.add.at,
    "subtract": np.subtract.at,
    "multiply": np.multiply.at,
    "min": np.minimum.at,
    "max": np.maximum.at,
}


def written(name: str, x: np.ndarray, index: Any, values: Any) -> np.ndarray:
    result = x.copy()
    if name == "set":  # NumPy does not say which of several assignments stays
        places = np.arange(x.size).reshape(x.shape)[index]
        for place, value in zip(places.ravel(), np.broadcast_to(values, places.shape).ravel()):
            result.flat[place] = value
    else:
        IN_PLACE[name](result, index, values)
    return result


@pytest.mark.parametrize("name", IN_PLACE)
def test_updates_are_those_of_numpy(name: str) -> None:
    shapes = [np.shape(X[index]) for index in INDICES]
    values = [1.5 + np.arange(float(np.prod(s))).reshape(s) for s in shapes]
    expected = [written(name, X, index, v) for index, v in zip(INDICES, values)]

    def all_of(x: Any, values: Any) -> list[Any]:
        return [getattr(gnp.at(x)[index], name)(v) for index, v in zip(INDICES, values)]

    for given in (all_of(X, values), gl.trace(all_of, X, values)):
        arrays = given if isinstance(given, list) else gl.interpret(given, X, *values)
        for index, one, other in zip(INDICES, arrays, expected, strict=True):
            np.testing.assert_allclose(one, other, err_msg=str(index))


def test_traced_indices_and_values_that_broadcast() -> None:
    def f(x: Any, i: Any, rows: Any, v: Any) -> Any:
        y = x.at[i].set(v)
        y = y.at[:, rows].add(v[0])
        y = y.at[i, rows, 1:3].multiply([2.0, 3.0])
        y = y.at[:, :, i].max(10)
        return y.at[-1, i].divide(4), y.at[rows[1]].get(), x.at[..., 0].min(np.ones((1, 2, 3)))

    i, rows, v = np.array(1), np.array([2, 0, 2], np.int32), np.array([5.0, 6.0, 7.0, 8.0])
    for one, other in zip(gl.compile(f)(X, i, rows, v), in_place(X, i, rows, v), strict=True):
        np.testing.assert_allclose(one, other)


def in_place(x: np.ndarray, i: Any, rows: Any, v: Any) -> tuple[Any, ...]:
    y = x.copy()
    y[i] = v
    np.add.at(y, (slice(None), rows), v[0])
    np.multiply.at(y, (i, rows, slice(1, 3)), [2.0, 3.0])
    np.maximum.at(y, (slice(None), slice(None), i), 10)
    divided, least = y.copy(), x.copy()
    divided[-1, i] /= 4
    np.minimum.at(least, (Ellipsis, 0), 1)
    return divided, y[rows[1]], least


@pytest.mark.parametrize("name", ["set", "add"])
def test_a_loop_writes_entries_into_the_array_that_it_carries(name: str) -> None:
    def filled(x: Any) -> Any:
        def step(carry: Any, t: Any) -> Any:
            return getattr(carry.at[-1 - t, 1:], name)(x[t, 1:]), None

        return gl.scan(step, np.ones((20, 3)), np.arange(20))[0]

    x = np.arange(60.0).reshape(20, 3)
    expected = np.ones((20, 3))
    expected[:, 1:] = x[::-1, 1:] + (name == "add")
    np.testing.assert_array_equal(gl.compile(filled)(x), expected)
    made = plan_graph(gl.trace(filled, x))
    (loop,) = (node for node in made.graph.nodes if node.op.is_scan)
    (body,) = made.bodies[loop]
    written = [n for n in body.graph.nodes if n.op is dynamic_update_slice and n.output.type.shape == x.shape]
    assert [body.in_place[node] for node in written] == [{0: 0}]
    with pytest.raises(IndexError, match="out of range"):
        gl.compile(lambda x, i: x.at[i].set(1))(x, np.array(20))


def test_a_traced_mask_takes_a_number() -> None:
    def f(x: Any) -> Any:
        return x.at[x > 5].set(0), x.at[x[:, 0, 0] > 5].add(1)

    one, other = gl.compile(f)(X)
    np.testing.assert_array_equal(one, np.where(X > 5, 0, X))
    np.testing.assert_array_equal(other, np.where(np.arange(2)[:, None, None] == 1, X + 1, X))
    with pytest.raises(gl.TracingError, match=r"write np.where\(mask, new, x\)"):
        gl.trace(lambda x: x.at[x > 5].set(x), X)


def test_what_is_out_of_range() -> None:
    x, i = np.arange(4.0), np.array([1, 7, -9, -1])

    def f(x: Any, i: Any) -> Any:
        return (
            x.at[i].add(10, mode="drop"),
            x.at[i].set(np.arange(4.0) + 20, mode="clip"),
            x.at[i].get(mode="fill"),
            x.at[i].get(mode="clip"),
            x.at[i].get(mode="fill", fill_value=-1),
        )

    dropped, clipped, filled, nearest, other = gl.compile(f)(x, i)
    np.testing.assert_array_equal(dropped, [0, 11, 2, 13])
    np.testing.assert_array_equal(clipped, [22, 20, 2, 23])
    np.testing.assert_array_equal(filled, [1, np.nan, np.nan, 3])
    np.testing.assert_array_equal(nearest, [1, 3, 0, 3])
    np.testing.assert_array_equal(other, [1, -1, -1, 3])
    with pytest.raises(IndexError, match="an index is out of range for 4 entries"):
        gl.compile(lambda x, i: x.at[i].add(1))(x, i)


def gradients(grad: Any, at: Any, xp: Any) -> list[Any]:
    i = np.array([2, 0, 2])
    v = np.array([[1.0, 9.0], [2.0, -3.0], [1.0, 9.0]])
    x = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 10.0]])

    def summed(way: str) -> Any:
        return lambda x, v: xp.sum(xp.sin(getattr(at(x)[i], way)(v)))

    return [grad(summed(way), argnums=(0, 1))(x, v) for way in ("set", "add", "max", "min")]


@pytest.mark.peers
def test_gradients_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        expected = gradients(jax.grad, lambda x: jax.numpy.asarray(x).at, jax.numpy)
    found = gradients(gl.grad, gnp.at, gnp)
    for one, other in zip(gl.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_gradient_of_products_with_a_factor_of_zero() -> None:
    x, v = np.array([2.0, 3.0, 0.0]), np.array([0.0, 5.0, 7.0, 0.0])
    i = np.array([0, 0, 1, 2])
    of_x, of_v = gl.grad(lambda x, v: gnp.sum(gnp.at(x)[i].multiply(v)), argnums=(0, 1))(x, v)
    np.testing.assert_array_equal(of_x, [0, 7, 0])
    np.testing.assert_array_equal(of_v, [10, 0, 3, 0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.at[5].set(1), IndexError, "index 5 is out of range for axis 0"),
        (lambda x: x.at[:, [7]].set(1), IndexError, "index 7 is out of range for axis 1"),
        (lambda x: x.at[0].set(np.ones(3)), gl.ShapeError, r"\(3,\) float64 do not broadcast to the entries, \(3, 4\)"),
        (lambda x: x.at[[0]].set(np.ones((2, 3, 4))), gl.ShapeError, "do not broadcast to the entries"),
        (lambda x: x.astype("int64").at[0].set(1.5), TypeError, "a float does not go into"),
        (lambda x: x.astype("int64").at[0].set(x[0]), TypeError, r"write .astype\('int64'\)"),
        (lambda x: x.at[0].set(1, mode="wrap"), ValueError, "mode is None, 'clip'"),
        (lambda x: x.at[0].set(1, foo=2), TypeError, "no argument 'foo'"),
        (lambda x: x.at[0].apply(np.sin), AttributeError, r"write x.at\[index\].set\(f\(x\[index\]\)\)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gl.trace(call, X)
