"""A program for other shapes is told; programs are kept within a limit, and give their memory back."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.compile import programs
from gradloom.engine.compile.programs import Programs


def test_the_least_recently_used_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "MOST_KEPT", 3)
    dropped: list[str] = []
    held: Programs[str] = Programs(dropped=dropped.append)
    for key in "abc":
        held.add(key, key)
    held.get("a")
    held.add("d", "d")
    assert dropped == ["b"]
    assert held.keys() == ["c", "a", "d"]
    first: Programs[str] = Programs(keep_first=True)
    for key in "abcdef":
        first.add(key, key)
    assert first.keys() == ["a", "d", "e", "f"]
    assert first.made == 6


def test_a_new_shape_is_told_and_a_new_value_is_not(caplog: pytest.LogCaptureFixture):
    f = gl.compile(lambda x, n: x * n)
    with caplog.at_level(logging.INFO, "gradloom"):
        f(np.ones((2, 3)), 2)
        f(np.ones((2, 3)), 3)
        f(np.ones((2, 3), "float32"), 2)
        assert caplog.messages == []
        f(np.ones((5, 3)), 2)
        f(np.ones((5, 3)), 2)
    (message,) = caplog.messages
    assert "<lambda> was compiled for other shapes" in message
    assert "x is (5, 3), before (2, 3)" in message


def test_the_tenth_shape_brings_advice_and_then_less_is_said(caplog: pytest.LogCaptureFixture):
    f = gl.compile(lambda x: x + 1)
    with caplog.at_level(logging.INFO, "gradloom"):
        for n in range(1, 13):
            f(np.ones(n))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 9 + ["INFO"] * 2
    assert [("padded" in m) for m in caplog.messages] == [False] * 8 + [True] + [False] * 2


def test_too_few_programs_are_told_once(caplog: pytest.LogCaptureFixture):
    def loss_fn(model: nn.Module, batch: Any) -> Any:
        return model(batch["x"]).sum()

    step = gl.compile_step(nn.Linear(3, 1), loss_fn, gl.optim.SGD(0.1), {"x": gl.spec((2, 3))}, max_programs=1)
    with caplog.at_level(logging.WARNING, "gradloom"):
        for rows in (4, 5, 4, 5, 4):
            step({"x": np.ones((rows, 3), np.float32)})
    (advice,) = [message for message in caplog.messages if "too few" in message]
    assert "which was dropped: 1 are kept, too few for the shapes that come" in advice
    assert advice.endswith("max_programs= of gl.compile_step keeps more")


def test_old_programs_of_a_function_go_and_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "MOST_KEPT", 2)
    traces: list[int] = []

    def fn(x: Any) -> Any:
        traces.append(len(x))
        return x * 2

    f = gl.compile(fn)
    f(np.ones(1))
    gone = weakref.ref(f._signatures.values()[0]._executable)
    for n in (2, 3, 2, 1):
        np.testing.assert_array_equal(f(np.ones(n)), np.full(n, 2.0))
    gc.collect()
    assert gone() is None
    assert traces == [1, 2, 3, 1]
    assert len(f._signatures) == 2


def make_step() -> Any:
    return gl.compile_step(
        nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1)),
        lambda m, b: np.mean(m(b) ** 2),
        gl.optim.SGD(0.1),
        gl.spec((4, 8)),
        threads=1,
    )


def test_a_step_keeps_its_first_batch_and_gives_the_arena_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(programs, "MOST_KEPT", 2)
    step, other = make_step(), make_step()
    small = step._live.arena.nbytes
    predict = step.bind(lambda model, x: model(x))
    with caplog.at_level(logging.INFO, "gradloom"):
        step(np.ones((300, 8), "float32"))
        assert "the step was compiled for other shapes" in caplog.messages[0]
        assert "batch is (300, 8), before (4, 8)" in caplog.messages[0]
        grown = step._live.arena.nbytes
        assert grown > small
        for n in (5, 6):
            step(np.ones((n, 8), "float32"))
        assert step._live.arena.nbytes < grown
        predict(np.ones((2, 8), "float32"))
        predict(np.ones((900, 8), "float32"))
        assert "argument.0 is (900, 8), before (2, 8)" in caplog.messages[-1]
    for n in (300, 5, 6):
        other(np.ones((n, 8), "float32"))
    for name, array in step.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name])
    assert step(np.ones((4, 8), "float32")) == other(np.ones((4, 8), "float32"))
    assert step.report.arena_bytes <= step._live.arena.nbytes


def test_python_floats_of_a_step_and_of_bound_functions_are_weak():
    def loss_fn(model: Any, batch: Any) -> Any:
        out = model(batch["x"]) * batch["beta"]
        assert out.dtype == np.float32
        return np.mean(out**2)

    x = np.ones((4, 3), "float32")
    step = gl.compile_step(nn.Linear(3, 2), loss_fn, gl.optim.SGD(0.0), {"x": x, "beta": 0.5})
    losses = [float(step({"x": x, "beta": beta})) for beta in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(losses[1:], [4 * losses[0], 16 * losses[0]], rtol=1e-5)
    step({"x": x[:2], "beta": 0.5})
    traces: list[Any] = []

    def scaled(model: Any, x: Any, t: Any) -> Any:
        traces.append(t)
        return model(x) * t

    predict = step.bind(scaled)
    assert predict(x, 0.5).dtype == np.float32
    np.testing.assert_allclose(predict(x, 1.0), 2 * predict(x, 0.5))
    assert len(traces) == 1
    assert predict(x, np.float64(0.5)).dtype == np.float64
    with pytest.raises(gl.TracingError, match="close over a number"):
        step.bind(lambda model, x, t: model(x) if t > 0 else x)(x, 0.5)
    ordered = step.bind(lambda model, d: next(iter(d.values())) * 2)
    assert ordered({"a": x, "b": 3 * x})[0, 0] == 2
    assert ordered({"b": 3 * x, "a": x})[0, 0] == 6
