"""Where float64 enters a float32 model is told: the line, the bytes, and what to write instead."""

from __future__ import annotations

import linecache
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

GRID = np.linspace(0, 1, 8)
MASK = np.array([1, 0, 1, 1])


class Net(nn.Module):
    def __init__(self, change: Callable[[Any, Any], Any], dtype: str = "float32") -> None:
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)
        self.table = nn.Buffer((8,), "float64") if "buffer" in change.__name__ else None
        self.change = change
        self.to(dtype)

    def forward(self, x: Any, batch: Any) -> Any:
        h = np.tanh(self.first(x))
        h = self.change(h, batch)
        return self.last(h)


def loss_fn(model: Any, batch: Any) -> Any:
    return np.mean(model(batch["x"], batch) ** 2)


BATCH: dict[str, Any] = {
    "x": gl.spec((4, 6)),
    "y": gl.spec((4, 8), "int64"),
    "short": gl.spec((4, 8), "int32"),
    "bytes": gl.spec((4, 8), "uint8"),
    "mask": gl.spec((4, 8), "bool"),
    "beta": 0.5,
}


def told(model: Any, loss: Any = loss_fn, batch: Any = BATCH) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gl.plan_step(model, loss, gl.optim.SGD(0.1), batch)
    assert all(w.category is gl.TracingWarning for w in seen)
    return [str(w.message) for w in seen]


ENTRIES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "np.sqrt of a number": (lambda h, b: h / np.sqrt(8), "math.sqrt"),
    "np.float64": (lambda h, b: h * np.float64(0.5), "float"),
    "0-d array": (lambda h, b: h + np.array(0.5), "float"),
    "array of one": (lambda h, b: h + np.array([0.5]), "float"),
    "linspace": (lambda h, b: h + GRID, "dtype='float32'"),
    "arange": (lambda h, b: h * np.arange(8.0), "dtype='float32'"),
    "eye": (lambda h, b: h @ np.eye(8), "dtype='float32'"),
    "ones": (lambda h, b: h * np.ones(8) * np.arange(8, dtype="float32"), "float"),
    "np.array": (lambda h, b: np.maximum(h, np.array([0.1] * 4 + [0.2] * 4)), "dtype='float32'"),
    "where": (lambda h, b: np.where(b["mask"], h, GRID), "dtype='float32'"),
    "concatenate": (lambda h, b: np.concatenate([h[:, :4], np.ones((4, 4))], axis=1) * 1.0, "float64"),
    "int64 labels": (lambda h, b: h * b["y"], "integers"),
    "int32 labels": (lambda h, b: h + b["short"], "integers"),
    "uint8 / 255": (lambda h, b: h + b["bytes"] / 255, "integers"),
    "a masked mean": (lambda h, b: (h * b["mask"]) / b["mask"].sum(axis=1, keepdims=True), "integers"),
    "a mean of a mask": (lambda h, b: h * b["mask"].mean(), "integers"),
    "a mean of integers": (lambda h, b: h - b["y"].mean(axis=1, keepdims=True), "integers"),
    "astype": (lambda h, b: h.astype(float), "asked"),
    "mean with a dtype": (lambda h, b: h - h.mean(axis=1, keepdims=True, dtype="float64"), "asked"),
    "choice of numbers": (lambda h, b: h * np.where(b["mask"], 1.0, 0.0), "choice"),
    "function of a float": (lambda h, b: h * np.exp(b["beta"]), "float"),
    "random": (lambda h, b: h + gl.random.normal((4, 8), "float64"), "float64"),
    "in a loop": (lambda h, b: gl.scan(lambda c, x: (c, x * np.float64(2)), np.zeros(2), h)[1], "float"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_line_the_bytes_and_the_cure_are_told_once(name: str):
    change, cure = ENTRIES[name]
    (message,) = told(Net(change))
    line = change.__code__.co_firstlineno
    assert re.search(rf"float64 enters this float32 model at \S*test_float64_entries\.py:{line},", message), message
    (nbytes,) = re.findall(r"takes ([\d,]+) bytes more", message)
    assert int(nbytes.replace(",", "")) >= 8 * 4 * 4
    assert cure in message


FINE: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda h, b: h,
    "math.sqrt": lambda h, b: h / math.sqrt(8),
    "Python numbers": lambda h, b: h * 0.5 + 1 - 2,
    "float32 arrays": lambda h, b: h * np.float32(2) + GRID.astype("float32"),
    "uint8 and bool": lambda h, b: h * b["bytes"] + h * b["mask"],
    "a float of the batch": lambda h, b: h * b["beta"] * (1 - b["beta"]),
    "back in the same line": lambda h, b: (h.astype("float64") * 2).astype("float32"),
    "where with an array": lambda h, b: np.where(b["mask"], h, 0.0),
    "statistics": lambda h, b: h - h.mean() + h.std(axis=0),
}


@pytest.mark.parametrize("name", FINE)
def test_what_stays_float32_is_not_told(name: str):
    assert told(Net(FINE[name])) == []


def test_a_float64_model_means_it():
    change, _ = ENTRIES["linspace"]
    assert told(Net(change, "float64"), batch=BATCH | {"x": gl.spec((4, 6), "float64")}) == []


def test_every_line_is_told_and_none_twice():
    def change(h: Any, b: Any) -> Any:
        for _ in range(3):
            h = h / np.sqrt(8)
        h = h + GRID
        return h * np.float64(2)

    messages = told(Net(change))
    first = change.__code__.co_firstlineno
    assert [int(re.findall(r"\.py:(\d+)", m)[0]) for m in messages] == [first + 2, first + 3, first + 4]


def test_a_metric_is_not_told_unless_it_is_large():
    def with_metrics(model: Any, batch: Any) -> Any:
        out = model(batch["x"], batch)
        hits = (out > 0) == (batch["y"][:, :2] > 0)
        return np.mean(out**2), {"accuracy": hits.mean(), "by class": hits.mean(axis=0)}

    assert told(Net(FINE["nothing"]), with_metrics) == []

    def with_large(model: Any, batch: Any) -> Any:
        out = model(batch["x"], batch)
        return np.mean(out**2), {"all": np.outer(out.reshape(-1), np.ones(64) * np.arange(64.0))}

    assert len(told(Net(FINE["nothing"]), with_large)) == 1


def test_a_masked_mean_for_a_loss_is_told():
    def masked(model: Any, batch: Any) -> Any:
        losses = (model(batch["x"], batch) ** 2).sum(axis=1)
        mask = batch["mask"][:, 0]
        return (losses * mask).sum() / mask.sum()

    (message,) = told(Net(FINE["nothing"]), masked)
    assert f".py:{masked.__code__.co_firstlineno + 3}," in message


def test_the_bytes_are_what_float64_adds():
    def change(h: Any, b: Any) -> Any:
        return h * np.float64(0.5)

    (message,) = told(Net(change))
    plain, wide = (
        sum(
            v.type.nbytes
            for node in gl.plan_step(Net(FINE["nothing"]), loss_fn, gl.optim.SGD(0.1), BATCH).graph.nodes
            for v in node.outputs
        )
        for _ in range(2)
    )
    assert plain == wide
    (nbytes,) = re.findall(r"takes ([\d,]+) bytes more", message)
    assert 3 * 8 * 4 * 4 <= int(nbytes.replace(",", "")) <= plain


def test_a_step_and_its_bound_functions_tell_each_line_once():
    def build() -> Any:
        return gl.compile_step(Net(ENTRIES["linspace"][0]), loss_fn, gl.optim.SGD(0.1), BATCH)

    with pytest.warns(gl.TracingWarning, match="float64 enters"):
        step = build()
    predict = step.bind(lambda model, x: model(x, None))
    assert predict(np.ones((3, 6), "float32")).dtype == np.float64  # told before

    large = step.bind(lambda model, x: model.first(x) * np.linspace(0, 1, 8))
    with pytest.warns(gl.TracingWarning, match=r"test_float64_entries\.py"):
        large(np.ones((64, 6), "float32"))


def test_a_float64_parameter_among_float32_ones_is_told() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 3)
            self.shift = nn.Parameter(np.zeros(3))

        def forward(self, x: Any) -> Any:
            return self.linear(x) + self.shift

    def loss_fn(model: Any, x: Any) -> Any:
        return np.mean(model(x) ** 2)

    x = gl.spec((2, 3), "float32")
    with pytest.warns(gl.TracingWarning, match=r"float32 model at .*test_float64_entries.py.*dtype='float32'"):
        gl.plan_step(Shifted(), loss_fn, gl.optim.SGD(0.1), x)
    gl.plan_step(Shifted().to("float64"), loss_fn, gl.optim.SGD(0.1), gl.spec((2, 3), "float64"))


def test_a_carry_that_begins_as_float64_is_told_at_the_loop() -> None:
    class Decaying(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            states = gl.scan(lambda state, row: (state * 0.5 + row, state * 2), np.zeros(3), x)[1]  # here
            return self.linear(states)

    def loss_fn(model: Any, x: Any) -> Any:
        return np.mean(model(x) ** 2)

    with pytest.warns(gl.TracingWarning, match="enters this float32 model") as told:
        gl.plan_step(Decaying(), loss_fn, gl.optim.SGD(0.1), gl.spec((2, 3), "float32"))
    (message,) = [str(warning.message) for warning in told]
    line = int(re.findall(r"test_float64_entries.py:(\d+)", message)[0])
    assert linecache.getline(__file__, line).endswith("# here\n")
    assert "dtype='float32' where it is made" in message
