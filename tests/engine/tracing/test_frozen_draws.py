"""Random numbers that are drawn while a program is traced are told, with the line and what to write."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from numpy.random import randn

RNG = np.random.default_rng(3)
LEGACY = np.random.RandomState(1)
PYTHON = random.Random(2)
HELD = {"rngs": [np.random.default_rng(5)]}


def helper(x: Any) -> Any:
    return x * RNG.standard_normal()


def closing_over(rng: Any) -> Callable[[Any], Any]:
    return lambda x: x + rng.random()


class Noisy(nn.Module):
    def __init__(self) -> None:
        self.linear = nn.Linear(3, 1)
        self.rng = np.random.default_rng(1)
        np.random.rand(3)

    def forward(self, x: Any) -> Any:
        return self.linear(x) + self.rng.normal()


DRAWS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "randn": (lambda x: x + np.random.randn(), r"np\.random\.randn.*gl\.random\.normal"),
    "normal": (lambda x: x + np.random.normal(size=3), r"np\.random\.normal.*gl\.random\.normal"),
    "rand": (lambda x: x + np.random.rand(3), r"np\.random\.rand.*gl\.random\.uniform"),
    "uniform": (lambda x: x + np.random.uniform(-1, 1), r"np\.random\.uniform.*gl\.random\.uniform"),
    "randint": (lambda x: x + np.random.randint(3), r"np\.random\.randint.*gl\.random\.randint\(shape, low, high\)"),
    "permutation": (lambda x: x[np.random.permutation(3)], r"np\.random\.permutation.*gl\.random\.permutation\(x\)"),
    "binomial": (lambda x: x * np.random.binomial(1, 0.5), r"np\.random\.binomial.*gl\.random\.bernoulli"),
    "imported": (lambda x: x + randn(), r"randn.*gl\.random\.normal"),
    "a generator": (lambda x: x + RNG.normal(), r"normal.*gl\.random\.normal"),
    "a legacy generator": (lambda x: x + LEGACY.rand(), r"rand.*gl\.random\.uniform"),
    "one in a container": (lambda x: x + HELD["rngs"][0].random(), r"random.*gl\.random"),
    "one of a closure": (closing_over(np.random.default_rng(4)), r"random.*gl\.random"),
    "an unseeded one": (lambda x: x + np.random.default_rng().normal(), r"default_rng.*gl\.random"),
    "Python's": (lambda x: x + random.random(), r"random\.random.*gl\.random\.uniform"),
    "Python's own one": (lambda x: x + PYTHON.gauss(0, 1), r"gauss.*gl\.random\.normal"),
}


def messages(calls: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        calls()
    assert all(w.category is gl.TracingWarning for w in seen)
    return [str(w.message) for w in seen]


X = np.ones(3, "float32")


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_told_with_its_line(name: str):
    fn, said = DRAWS[name]
    line = fn.__code__.co_firstlineno
    for traced in (lambda: gl.trace(fn, X), lambda: gl.trace(lambda x: [fn(x), fn(x)], X)):
        (message,) = messages(traced)
        assert re.search(rf"test_frozen_draws\.py:{line} ", message), message
        assert re.search(said, message), message


def test_a_compiled_function_tells_a_line_once():
    f = gl.compile(helper)
    (message,) = messages(lambda: f(X))
    assert f":{helper.__code__.co_firstlineno + 1} " in message
    assert messages(lambda: f(X)) == []
    assert messages(lambda: f(np.ones(4, "float32"))) == []


def test_steps_plans_and_bound_functions_tell():
    def loss_fn(model: Any, batch: Any) -> Any:
        noise = np.random.randn()
        return np.mean(model(batch) ** 2) + np.float32(noise)

    def told() -> list[int]:
        return [int(re.findall(r"\.py:(\d+) ", m)[0]) for m in seen]

    batch = gl.spec((4, 3))
    forward = Noisy.forward.__code__.co_firstlineno + 1
    loss = loss_fn.__code__.co_firstlineno + 1
    seen = messages(lambda: gl.plan_step(Noisy(), loss_fn, gl.optim.SGD(0.1), batch).largest_batch("1MB"))
    assert sorted(told()) == sorted([forward, loss])
    steps: list[Any] = []
    seen = messages(lambda: steps.append(gl.compile_step(nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), batch)))
    assert told() == [loss]
    assert messages(lambda: steps[0](np.ones((2, 3), "float32"))) == []
    predict = steps[0].bind(lambda model, x: model(x) * np.random.rand())
    seen = messages(lambda: predict(np.ones((2, 3), "float32")))
    assert len(seen) == 1


def constructed(x: Any) -> Any:
    Noisy()
    return x


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + 1,
        lambda x: x + np.random.default_rng(0).normal(size=3),  # the same in every run of the Python too
        lambda x: (np.random.seed(0), x + np.random.rand())[1],
        constructed,
        lambda x: x + gl.random.key.__name__.count("k"),
    ],
    ids=["none", "seeded generator", "seeded", "constructor", "gl.random"],
)
def test_what_is_not_frozen_is_not_told(fn: Callable[[Any], Any]):
    assert messages(lambda: gl.trace(fn, X)) == []


def test_derivatives_outside_programs_draw_anew_and_tell_nothing():
    assert messages(lambda: gl.grad(lambda x: (x * np.random.rand()).sum())(X)) == []


def test_numpy_is_left_as_it_was():
    before = np.random.randn, np.random.default_rng, random.random
    with pytest.raises(ZeroDivisionError):
        gl.trace(lambda x: 1 / 0, X)
    assert (np.random.randn, np.random.default_rng, random.random) == before


@pytest.mark.peers
def test_draws_of_torch_are_told() -> None:
    torch = pytest.importorskip("torch")
    for draw in (lambda: torch.rand(3), lambda: torch.randn(3), lambda: torch.rand_like(torch.ones(3))):

        def frozen(x: Any, draw: Callable[[], Any] = draw) -> Any:
            return x + draw().numpy()

        with pytest.warns(gl.TracingWarning, match=r"torch\.rand\w* was called at .*test_frozen_draws.py.*gl\.random"):
            gl.trace(frozen, gl.spec((3,), "float32"))

    def seeded(x: Any) -> Any:
        torch.manual_seed(0)
        return x + torch.rand(3).numpy()

    gl.trace(seeded, gl.spec((3,), "float32"))  # warnings are errors
    before = torch.rand
    gl.trace(lambda x: x, gl.spec((3,), "float32"))
    assert torch.rand is before
