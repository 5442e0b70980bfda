"""torch's `inplace=True`, and functions whose names end in an underscore: what was given holds the result, and its
views do too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import TracingError, nn

F = nn.functional
X = np.linspace(-3, 3, 12).reshape(3, 4)
FUNCTIONS: list[tuple[str, str, tuple[float, ...]]] = [
    ("relu", "ReLU", ()),
    ("relu6", "ReLU6", ()),
    ("hardtanh", "Hardtanh", (-0.5, 0.5)),
    ("leaky_relu", "LeakyReLU", (0.2,)),
    ("threshold", "Threshold", (0.1, 2.0)),
    ("elu", "ELU", (0.7,)),
    ("celu", "CELU", (0.7,)),
    ("selu", "SELU", ()),
    ("silu", "SiLU", ()),
    ("mish", "Mish", ()),
    ("hardsigmoid", "Hardsigmoid", ()),
    ("hardswish", "Hardswish", ()),
]


def ways(name: str, layer: str, options: tuple[float, ...]) -> list[Callable[[Any], Any]]:
    """Every way to say that a function writes in place."""
    found: list[Callable[[Any], Any]] = [functools.partial(getattr(F, name), inplace=True)]
    if hasattr(F, f"{name}_"):
        found.append(getattr(F, f"{name}_"))
    return [*(lambda row, f=f: f(row, *options) for f in found), getattr(nn, layer)(*options, inplace=True)]


def results(x: Any) -> list[Any]:
    """For every function, and every way to say it: an array of which a row was written to, the row, what came back."""
    found: list[Any] = []
    for row in FUNCTIONS:
        for way in ways(*row):
            y = x * 2
            view = y[1]
            given = way(view)
            found += [y, view, given]
    return found


def test_what_was_given_holds_the_result_and_so_do_its_views() -> None:
    expected: list[Any] = []
    for name, layer, options in FUNCTIONS:
        for _ in ways(name, layer, options):
            y = X * 2
            y[1] = getattr(F, name)(y[1], *options)
            expected += [y, y[1], y[1]]
    traced = gl.compile(results)(X)
    for value, eager, wanted in zip(traced, results(X), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
        np.testing.assert_array_equal(eager, wanted)


def test_gradients_are_those_of_the_function_that_returns() -> None:
    def written(x: Any) -> Any:
        y = x * 2
        F.celu_(y)
        nn.Hardtanh(-2.0, 1.5, True)(y)
        return (y * y).sum()

    def returned(x: Any) -> Any:
        y = F.hardtanh(F.celu(x * 2), -2.0, 1.5)
        return (y * y).sum()

    np.testing.assert_array_equal(gl.grad(written)(X), gl.grad(returned)(X))


def test_an_argument_of_a_program_is_not_read_again() -> None:
    np.testing.assert_array_equal(gl.compile(lambda x: F.relu_(x) + 1)(X), np.maximum(X, 0) + 1)
    with pytest.raises(TracingError, match=r"nn\.relu has changed this array in place, but .*test_in_place\.py"):
        gl.compile(lambda x: F.relu_(x) + x)(X)


def test_dropout_that_draws_nothing_writes_nothing() -> None:
    layer = nn.Dropout(0.5, inplace=True).eval()
    np.testing.assert_array_equal(gl.compile(lambda x: layer(x) + x)(X), 2 * X)


def test_dropout_in_place_is_dropout() -> None:
    def f(x: Any, layer: nn.Module) -> Any:
        with gl.random.key(3):
            y = x + 1
            z = layer(y)
            return z, y

    written = gl.compile(lambda x: f(x, nn.Dropout(0.5, inplace=True)))(X)
    plain = gl.compile(lambda x: f(x, nn.Dropout(0.5)))(X)
    np.testing.assert_array_equal(written[0], plain[0])
    np.testing.assert_array_equal(written[1], plain[0])


def test_what_holds_no_array_cannot_be_written_to() -> None:
    with pytest.raises(TracingError, match=r"nn\.relu cannot write into list; leave inplace away"):
        F.relu([1.0, -1.0], inplace=True)


def test_a_layer_prints_that_it_writes_in_place() -> None:
    assert repr(nn.LeakyReLU(0.2, inplace=True)) == "LeakyReLU(negative_slope=0.2, inplace=True)"
    assert repr(nn.ReLU(True)) == "ReLU(inplace=True)"
