"""Python floats given to compiled functions: arguments of the program, weakly typed as NumPy has them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest

VALUES = (0.3, -1.7, 0.0, -0.0, 1e30, math.inf, math.nan)

FUNCTIONS: dict[str, Callable[[Any, float], Any]] = {
    "array and float": lambda x, t: (x + t, t - x, x * t, t / x, x / t),
    "floor and mod": lambda x, t: (x // t, x % t),
    "floats by themselves": lambda x, t: (x * (1 - t), x * (t * t), x * (2 * t + 1), x * -t, x * +t, x * abs(t)),
    "powers": lambda x, t: (abs(x) ** t, x * (t**2), x * (2.0 ** (t / 1e30))),
    "functions are not weak": lambda x, t: (x * np.exp(-t * t), x + np.maximum(t, 0.0)),
    "functions of both": lambda x, t: (np.maximum(x, t), np.minimum(t, x), np.where(x > t, x, t), np.arctan2(x, t)),
    "comparisons": lambda x, t: (x < t, t <= x, x == t, x != t),
    "an array of it": lambda x, t: (np.full_like(x, t), np.clip(x, t, None), np.clip(x, -1.0, t)),
    "scalars": lambda x, t: (x.sum() * t, x[0] + t, t + np.float32(1), np.float64(1) * t),
    "beside integers": lambda x, t: (np.arange(3) * t, (x > 0) * t, t * True),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_value_and_dtype_are_those_of_numpy(name: str, dtype: str):
    fn = FUNCTIONS[name]
    x = np.array([1.5, -2.0, 3.0]).astype(dtype)
    traces = 0

    def counted(x: Any, t: Any) -> Any:
        nonlocal traces
        traces += 1
        return fn(x, t)

    if dtype == "bool" and name in ("powers", "floor and mod", "an array of it"):
        x = x.astype("float32")
    f = gl.compile(counted)
    for t in VALUES:
        if name == "powers" and not 0 < abs(t) < 1e9:
            continue
        if t == 0 and name in ("array and float", "floor and mod"):
            t = 2.5
        with np.errstate(all="ignore"):
            expected = [np.asarray(part) for part in fn(x, t)]
        for got, wanted in zip(f(x, t), expected, strict=True):
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            np.testing.assert_allclose(got, wanted, rtol=2e-6 if got.dtype == np.float32 else 1e-13)
            zero = wanted == 0
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(wanted[zero]))
    assert traces == 1


def test_one_program_for_all_values_of_floats_anywhere():
    traces = 0

    def update(w: Any, options: dict[str, Any], *rest: float, scale: float = 2.0) -> Any:
        nonlocal traces
        traces += 1
        return (w - options["lr"] * w) * options["more"][0] * options["more"][1][0] * sum(rest) * scale

    f = gl.compile(update)
    w = np.ones(3, "float32")
    for k in range(1, 6):
        options = {"lr": 0.1 / k, "more": [k * 0.5, (float(k),)]}
        got = f(w, options, 0.25 * k, 1.0, scale=k / 3)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, update(w, options, 0.25 * k, 1.0, scale=k / 3), rtol=1e-5)
    assert traces == 1 + 5
    f(w, {"lr": 0.1, "more": [0.5, (1.0,)]}, 0.25, 1.0)  # the default is part of the program
    assert traces == 7
    f(w, {"lr": 1, "more": [0.5, (1.0,)]}, 0.25, 1.0)  # and so is an integer
    assert traces == 8


def test_the_result_may_be_the_float():
    f = gl.compile(lambda t: (t, 2 * t, {"t": t}))
    for t in (0.5, 0.75):
        assert [float(part) for part in (*f(t)[:2], f(t)[2]["t"])] == [t, 2 * t, t]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_keep_floats_weak(dtype: str):
    def loss(rate: Any, x: Any) -> Any:
        y = x * gl.stop_gradient(1.0 * rate) + x * rate**2
        assert y.dtype == x.dtype
        return y.sum()

    x = np.arange(3, dtype=dtype)
    for gradient in (gl.grad(loss), gl.compile(gl.grad(loss))):
        for rate in (0.5, 1.5):
            got = gradient(rate, x)
            assert (got.shape, got.dtype) == ((), "float64")
            np.testing.assert_allclose(got, 2 * rate * 3, rtol=1e-6)
    value, pull = gl.vjp(lambda rate: rate * x, 0.5)
    assert value.dtype == dtype
    np.testing.assert_allclose(pull(np.ones(3, dtype))[0], 3, rtol=1e-6)
    both = gl.compile(gl.value_and_grad(lambda x, rate: (x * rate).sum()))
    assert [part.dtype for part in both(x, 0.5)] == [dtype, dtype]


def test_a_float_takes_the_dtype_of_a_loops_carry():
    def decay(start: Any, rate: Any, xs: Any) -> Any:
        return gl.scan(lambda h, x: (h * rate + x, h), start, xs)

    xs = np.ones((4, 2), "float32")
    last, states = gl.compile(lambda s, r, xs: decay(s * np.ones(2, "float32"), r, xs))(0.5, 0.25, xs)
    assert (last.dtype, states.dtype) == ("float32", "float32")
    np.testing.assert_allclose(states[1], 0.5 * 0.25 + 1)
    total, _ = gl.compile(lambda s, r, x: gl.scan(lambda h, x: (h * r + x, None), s, x))(0.5, 0.25, xs[:, 0])
    assert total.dtype == np.float32


BRANCHES: dict[str, Callable[[Any, float], Any]] = {
    "if": lambda x, rate: x if rate > 0 else -x,
    "if of a computed one": lambda x, rate: x if np.sqrt(2 * rate) < 1 else -x,
    "and": lambda x, rate: rate and x,
    "max": lambda x, rate: x * max(rate, 0.1),
    "in": lambda x, rate: x * (rate in (0.1, 0.2)),
    "int": lambda x, rate: x[: int(rate * 2)],
    "range": lambda x, rate: [x for _ in range(rate)],
    "float": lambda x, rate: x * float(rate),
    "math": lambda x, rate: x * math.sqrt(rate),
    "floor": lambda x, rate: x * math.floor(rate),
    "trunc": lambda x, rate: x * math.trunc(rate),
    "round": lambda x, rate: x * round(rate),
    "text": lambda x, rate: {str(rate): x},
    "f-string": lambda x, rate: {f"{rate:.2f}": x},
    "f-string without a format": lambda x, rate: {f"{rate}": x},
    "key": lambda x, rate: {0.5: x}[rate],
    "numpy": lambda x, rate: x * np.float32(rate),
    "item": lambda x, rate: x * rate.item(),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_what_needs_its_value_says_to_name_it_in_static(name: str):
    fn = BRANCHES[name]

    def named(x: Any, rate: Any) -> Any:
        return fn(x, rate)

    x = np.ones(3, "float32")
    message = r"needs the value of the float rate.*static=\('rate',\).*test_float_arguments\.py:\d+"
    with pytest.raises(gl.TracingError, match=message):
        gl.compile(named)(x, 0.5)
    with pytest.raises(gl.TracingError, match=r"static=\('rate',\)"):
        gl.compile(lambda x, d, rate: named(x, rate))(x, {"a": 1.0}, 0.5)


def test_a_branch_on_a_float_and_an_array_says_what_it_said():
    with pytest.raises(gl.TracingError, match=r"write np\.where"):
        gl.compile(lambda x, rate: x if x.sum() > rate else -x)(np.ones(2), 0.5)


def test_in_a_graph_that_is_shown_floats_are_constants():
    graph = gl.trace(lambda x, rate: x * rate if rate > 0 else x, np.ones(2), 0.5)
    assert len(graph.inputs) == 1


def test_floats_of_other_classes_and_numpys_scalars():
    class Rate(float):
        pass

    f = gl.compile(lambda x, rate: x * rate)
    x = np.ones(2, "float32")
    assert f(x, 0.5).dtype == np.float32
    assert f(x, np.float64(0.5)).dtype == np.float64
    assert f(x, Rate(0.5))[0] == 0.5
    assert f(x, Rate(0.25))[0] == 0.25


def test_a_float_argument_is_a_float_to_who_asks() -> None:
    def scaled(x: Any, t: Any) -> Any:
        return x * t if isinstance(t, float) and isinstance(t, numbers.Real) and not isinstance(t, int) else x - 1

    fast = gl.compile(scaled)
    x = np.ones(2, np.float32)
    for t in (0.5, 3.0):
        np.testing.assert_array_equal(fast(x, t), scaled(x, t))


@pytest.mark.peers
def test_arrays_of_other_libraries_are_refused_as_arguments_and_not_frozen() -> None:
    torch = pytest.importorskip("torch")
    fast = gl.compile(lambda t, x: x * t)
    with pytest.raises(TypeError, match=r"was given a Tensor of torch; write t.detach\(\).numpy\(\), at .*float_arg"):
        fast(torch.ones(2), np.ones(2))
    with pytest.raises(TypeError, match="was given a Tensor of torch"):
        gl.compile(lambda batch: batch["x"] * 2)({"x": torch.ones(2)})
    assert fast(torch.ones(2).numpy(), np.ones(2)).tolist() == [1, 1]
