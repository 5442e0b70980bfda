"""`static` names the arguments that programs are made for; integers, booleans and strings always are."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest

X = np.arange(4.0)


def scaled(x: Any, rate: float = 2.0, power: Any = 1, *rest: Any, mode: Any = 0.0, **more: Any) -> Any:
    result = x * rate if rate > 0 else x - rate
    result = result**power if power < 3 else result
    result = result + (1 if mode > 1 else -1)
    for value in (*rest, *more.values()):
        result = result + (value if value > 0 else 0)
    return result


CALLS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "by name": (("rate", "power", "mode"), lambda f, v: f(X, v, v, mode=v)),
    "by name, given by keyword": (("rate", "power", "mode"), lambda f, v: f(X, power=v, rate=v, mode=v)),
    "by position": ((1, 2, "mode"), lambda f, v: f(X, v, v, mode=v)),
    "by position, given by keyword": ((1, 2, "mode"), lambda f, v: f(X, power=v, rate=v, mode=v)),
    "one name": ("rate", lambda f, v: f(X, v)),
    "one position": (1, lambda f, v: f(X, v)),
    "a list": (["rate", 2], lambda f, v: f(X, v, power=v)),
    "all of *args": (("rate", "rest"), lambda f, v: f(X, v, 1, v, 0.5 * v)),
    "one of *args": ((1, 3), lambda f, v: f(X, v, 1, v)),
    "all of **kwargs": (("rate", "more"), lambda f, v: f(X, v, a=v, b=1 - v)),
    "one of **kwargs": (("rate", "b"), lambda f, v: f(X, v, b=v)),
    "not given": (("rate", "mode"), lambda f, v: f(X)),
}


@pytest.mark.parametrize("name", CALLS)
def test_static_arguments_are_as_in_python(name: str):
    static, call = CALLS[name]
    f = gl.compile(scaled, static=static)
    for value in (0.5, 2.5, -1.5, 0.5):
        np.testing.assert_allclose(call(f, value), call(scaled, value), rtol=1e-12)


def test_static_floats_make_a_program_each():
    traces = []

    def fn(x: Any, rate: Any, other: Any) -> Any:
        traces.append(rate)
        return x * rate * other

    f = gl.compile(fn, static="rate")
    for rate in (0.5, 1.0, 1, True, 0.5, 0.0, -0.0):
        for other in (0.1, 0.2):
            f(X, rate, other)
    assert [str(rate) for rate in traces] == ["0.5", "1.0", "1", "True", "0.0", "-0.0"]


def test_static_arguments_may_be_containers_and_numpy_scalars():
    f = gl.compile(lambda x, sizes: x.reshape(sizes["shape"]) * sizes["by"], static="sizes")
    assert f(X, {"shape": [2, 2], "by": 1.0}).shape == (2, 2)
    assert f(X, {"shape": [4, 1], "by": 1.0}).shape == (4, 1)
    assert f(X, {"shape": [np.int64(4), 1], "by": np.float32(1)}).shape == (4, 1)
    g = gl.compile(lambda x, n: x[:n], static=1)
    assert [len(g(X, n)) for n in (1, np.int64(2), np.uint8(3))] == [1, 2, 3]


def test_methods_partials_and_builtins():
    class Model:
        def run(self, x: Any, flag: float) -> Any:
            return x if flag > 0 else -x

    assert gl.compile(Model().run, static="flag")(X, -1.0)[1] == -1
    assert gl.compile(functools.partial(scaled, mode=3.0), static=("rate",))(X, -1.0)[0] == 2
    assert gl.compile(np.sum, static="axis")(np.ones((2, 3)), axis=0).shape == (3,)


@pytest.mark.parametrize(
    ("static", "error", "message"),
    [
        ("speed", ValueError, r"static: few has no argument speed; it has x, rate"),
        (2, ValueError, r"static: few has no argument 2; it has x, rate"),
        (-1, ValueError, "has no argument -1"),
        ((1.5,), TypeError, r"static names arguments by name or position, such as static=\('axis', 2\)"),
        ((True,), TypeError, "by name or position"),
    ],
)
def test_what_cannot_be_static(static: Any, error: type[Exception], message: str):
    def few(x: Any, rate: float) -> Any:
        return x * rate

    with pytest.raises(error, match=message):
        gl.compile(few, static=static)


def test_an_array_is_never_static():
    f = gl.compile(lambda x, w: x * w[0], static="w")
    with pytest.raises(TypeError, match=r"static: argument 1 holds an array; .* leave it out"):
        f(X, [X])


# ---- the tenth program


def messages(calls: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        calls()
    assert all(w.filename == __file__ for w in seen)
    return [str(w.message) for w in seen]


SMALL = np.ones(2)


@pytest.mark.parametrize("kind", [int, str, bool])
def test_the_tenth_program_that_differs_by_a_value_is_told_once(kind: type):
    def fn(x: Any, n: Any, rate: Any) -> Any:
        return x + len(str(n)) * rate

    f = gl.compile(fn)
    if kind is bool:  # there are but two: the others differ in another argument
        f = gl.compile(lambda x, n, rate, k=0: x + n * rate + k)
        values: list[Any] = [(n, 0.5, k) for k in range(8) for n in (True, False)]
    else:
        values = [(kind(k), 0.1 * k) for k in range(15)]
    assert messages(lambda: [f(SMALL, *v) for v in values[:9]]) == []
    (told,) = messages(lambda: [f(SMALL, *v) for v in values[9:]])
    assert "now has 10 programs" in told
    assert f"n ({kind.__name__})" in told
    assert "np.asarray(value)" in told
    assert messages(lambda: [f(SMALL, *v) for v in values]) == []


def test_shapes_and_floats_are_not_told_as_values():
    f = gl.compile(lambda x, rate: x * rate)
    assert messages(lambda: [f(np.ones(n), 0.1 * n) for n in range(1, 13)]) == []


def test_a_static_argument_is_told_by_name():
    f = gl.compile(lambda x, rate: x * rate, static="rate")
    (told,) = messages(lambda: [f(SMALL, 0.1 * k) for k in range(11)])
    assert "rate (static)" in told
