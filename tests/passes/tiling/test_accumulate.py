"""A step in parts of the batch: whatever crosses the batch, values and gradients are those of the whole batch."""

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import verify
from gradloom.passes.pipeline import in_bodies, preparation
from gradloom.passes.tiling.accumulate import Accumulate
from gradloom.random import key_of_seed

ROWS, FEATURES, HIDDEN, CLASSES = 12, 5, 16, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, FEATURES))
TARGET = RNG.standard_normal((ROWS, CLASSES))
LABELS = np.array([0, 1, -100, 2, -100, -100, 3, 1, -100, -100, -100, -100])
"""The last of three parts has none."""
WEIGHTS = np.array([0.1, 2.0, 0.5, 1.0])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)).to("float64")


def cross_entropy(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["labels"], weight=WEIGHTS, label_smoothing=0.1)


def with_metrics(model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    metrics = {
        "logits": logits,
        "correct": (logits.argmax(axis=1) == batch["labels"]).sum(),
        "deviation": logits.std(axis=0),
        "largest": logits.max(),
        "any": (logits > 1).any(),
    }
    return nn.cross_entropy(logits, batch["labels"]), metrics


def of_errors(of: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda model, batch: of(model(batch["x"]) - batch["target"])


def dice(model: Any, batch: Any) -> Any:
    p = nn.softmax(model(batch["x"]), axis=1)
    return 1 - 2 * (p * batch["target"] ** 2).sum() / (p.sum() + (p * p).sum())


def contrastive(model: Any, batch: Any) -> Any:
    z = model(batch["x"])
    return nn.cross_entropy(z @ z.T, np.arange(ROWS))


class BatchNormByHand(nn.Module):
    def __init__(self) -> None:
        self.a, self.b = (nn.Linear(n, m).to("float64") for n, m in ((FEATURES, HIDDEN), (HIDDEN, CLASSES)))

    def forward(self, x: Any) -> Any:
        h = self.a(x)
        h = (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5)
        return self.b(np.tanh(h))


class Tied(nn.Module):
    """A table that is looked up and multiplied by, used twice."""

    def __init__(self) -> None:
        self.table = nn.Embedding(CLASSES, HIDDEN).to("float64")

    def forward(self, x: Any) -> Any:
        labels = np.maximum(x[:, 0] > 0, x[:, 1] > 0).astype("int64")
        return np.tanh(self.table(labels) + self.table(1 - labels)) @ self.table.weight.T


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.lstm, self.out = nn.LSTM(1, 6, batch_first=True).to("float64"), nn.Linear(6, CLASSES).to("float64")

    def forward(self, x: Any) -> Any:
        return self.out(self.lstm(x[:, :, None])[0][:, -1])


class Images(nn.Module):
    def __init__(self) -> None:
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, (1, 2)), nn.Flatten())
        ).to("float64")
        self.out = nn.Linear(4 * 2, CLASSES).to("float64")

    def forward(self, x: Any) -> Any:
        return self.out(self.layers(np.concatenate([x, x], axis=1)[:, None, :8].reshape(-1, 1, 2, 4)))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Any], Any], int]] = {
    "labels that are ignored, and weights of classes": (mlp, cross_entropy, 1),
    "metrics of every kind": (mlp, with_metrics, 2),
    "a mean": (mlp, of_errors(lambda e: (e * e).mean()), 1),
    "a sum": (mlp, of_errors(lambda e: (e * e).sum()), 1),
    "a root of a mean": (mlp, of_errors(lambda e: np.sqrt((e * e).mean())), 2),
    "a ratio of sums": (mlp, of_errors(lambda e: e.sum() / np.exp(e).sum()), 2),
    "a ratio of sums of sums": (mlp, dice, 2),
    "a logarithm of a sum": (mlp, of_errors(lambda e: np.log(np.exp(e).sum())), 2),
    "the largest": (mlp, of_errors(lambda e: np.max(e * e)), 3),
    "a product": (mlp, of_errors(lambda e: np.prod(1 + e * e / 10)), 2),
    "running sums": (mlp, of_errors(lambda e: np.cumsum(e * e, axis=0)[3:].mean()), 2),
    "neighbours": (mlp, of_errors(lambda e: ((e - e[::-1]) ** 2).mean() + (e[1:] * e[:-1]).mean()), 3),
    "all pairs": (mlp, contrastive, 2),
    "a batch norm by hand": (BatchNormByHand, cross_entropy, 5),
    "a table that is used three times": (Tied, cross_entropy, 1),
    "a loop over time": (Recurrent, cross_entropy, 1),
    "convolutions": (Images, cross_entropy, 1),
    "dropout": (lambda: nn.Sequential(mlp(), nn.Dropout(0.3)), cross_entropy, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_give_what_the_whole_batch_gives(name: str):
    make, loss_fn, most_loops = CASES[name]
    model, batch = make(), {"labels": LABELS, "target": TARGET, "x": X}
    traced = trace_step(model, loss_fn, optim.SGD(0.1, 0.9), batch, clip_norm=0.5)
    carried = [*nn.init_parameters(model).values(), *traced.initial_state(), 0.1, key_of_seed(0), *batch.values()]
    inputs = [np.asarray(a) for a in carried]
    before = traced.graph
    for step in preparation():
        if isinstance(step, Accumulate):
            break
        before = in_bodies(step(before), step)
    expected = gl.interpret(before, *inputs)
    for parts in (2, 3, ROWS):
        after = Accumulate(parts)(before)
        verify(after)
        loops = [node for node in after.nodes if node.op.name == "scan" and node.attrs["length"] == parts]
        assert 1 <= len(loops) <= most_loops
        for got, want in zip(gl.interpret(after, *inputs), expected, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_inputs_of_different_lengths_are_each_cut_into_the_parts():
    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.mse_loss(model(batch["few"]), model(batch["many"])[::2]) * batch["scale"]

    batch = {"few": gl.spec((6, FEATURES), "float64"), "many": gl.spec((12, FEATURES), "float64"), "scale": gl.spec(())}
    graph = trace_step(mlp(), loss_fn, optim.SGD(0.1), batch).graph
    rng = np.random.default_rng(0)
    inputs = [np.asarray(rng.standard_normal(v.type.shape)).astype(v.type.dtype) for v in graph.inputs]
    after = Accumulate(3)(graph)
    for got, want in zip(gl.interpret(after, *inputs), gl.interpret(graph, *inputs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9)


def test_a_step_in_tiles_that_are_no_larger_stays_as_it_is():
    graph = trace_step(
        nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 10)),
        lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["labels"]),
        optim.SGD(0.1),
        {"x": gl.spec((4096, 16)), "labels": gl.spec((4096,), "int64")},
    ).graph
    assert Accumulate(2)(graph) is graph
    assert Accumulate(1)(graph) is graph
    assert Accumulate(4096)(graph) is not graph


def test_a_loop_over_time_whose_sequence_has_time_first_runs_whole():
    """The input is cut along time, the labels along the batch: the loop of the backward has parts of one beside all of
    the other.
    """

    class Last(nn.Module):
        def __init__(self) -> None:
            self.lstm = nn.LSTM(5, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][-1])

    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": gl.spec((8, 4, 5)), "y": gl.spec(4, "int64")}
    graph = trace_step(Last(), loss_fn, optim.SGD(0.1), batch).graph
    steps = preparation()
    for step in steps[: next(i for i, step in enumerate(steps) if isinstance(step, Accumulate))]:
        graph = in_bodies(step(graph), step)
    rng = np.random.default_rng(0)
    drawn = (
        0.3 * rng.standard_normal(v.type.shape) if v.type.dtype.kind == "f" else rng.integers(0, 3, v.type.shape)
        for v in graph.inputs
    )
    inputs = [np.asarray(array).astype(v.type.dtype) for array, v in zip(drawn, graph.inputs)]
    expected = gl.interpret(graph, *inputs)
    for parts in (2, 4):
        after = Accumulate(parts)(graph)
        verify(after)
        for got, want in zip(gl.interpret(after, *inputs), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
