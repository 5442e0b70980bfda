"""Updates of a few rows of a table: the bits of the dense ones, without a gradient of the size of the table."""

from __future__ import annotations

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret, verify
from gradloom.passes.simplify.row_sparse_updates import RowSparseUpdates
from gradloom.passes.simplify.simplify import Simplify

ROWS, WIDTH = 60, 3


class Tables(nn.Module):
    """Two look-ups of one table, one of another in bags, and a dense layer."""

    def __init__(self):
        self.words = nn.Embedding(ROWS, WIDTH, padding_idx=2)
        self.bags = nn.EmbeddingBag(2 * ROWS, WIDTH, mode="mean")
        self.top = nn.Linear(WIDTH, 1)

    def forward(self, batch):
        both = self.words(batch["a"]) * nn.functional.relu(self.words(batch["b"]))
        return self.top(both + self.bags(batch["bags"]))[:, 0]


def loss(model, batch):
    return nn.functional.mse_loss(model(batch), batch["y"])


def batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "a": rng.integers(0, ROWS, 5),
        "b": rng.integers(0, 4, 5).astype("int32"),
        "bags": rng.integers(0, 9, (5, 3)),
        "y": rng.normal(size=5).astype("float32"),
    }


def traced(optimizer: optim.Optimizer, model: nn.Module | None = None, loss_fn=loss, given=None, **options) -> Graph:
    given = batch(np.random.default_rng(0)) if given is None else given
    return Simplify()(trace_step(model or Tables(), loss_fn, optimizer, given, **options).graph)


def inputs_of(graph: Graph, rng: np.random.Generator, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    def drawn(value):
        if value.name.startswith("batch."):
            return given[value.name.removeprefix("batch.")]
        if value.name == "lr":
            return np.array(0.1)
        if not value.type.shape:
            return np.array(1, value.type.dtype)
        kind = np.abs if "sq" in value.name or "sum" in value.name else np.asarray
        return kind(rng.normal(size=value.type.shape)).astype(value.type.dtype)

    return [drawn(value) for value in graph.inputs]


def made(graph: Graph) -> set[tuple[int, ...]]:
    """The shapes of what is computed, results of the step left out."""
    return {v.type.shape for node in graph.nodes for v in node.outputs if v not in graph.outputs}


SPARSE = {
    "sgd": optim.SGD(lr=0.1),
    "ascent": optim.SGD(lr=0.1, maximize=True),
    "adagrad": optim.Adagrad(lr=0.1, lr_decay=0.1),
    "adagrad without eps": optim.Adagrad(lr=0.1, eps=0.0),
    "sparse adam": optim.SparseAdam(lr=0.1),
    "groups": optim.groups({"bags.*": optim.Adagrad(lr=0.2)}, default=optim.SGD(lr=0.1)),
}


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.01}, {"clip_value": 0.01}], ids=["", "norm", "value"])
@pytest.mark.parametrize("name", SPARSE)
def test_the_numbers_are_those_of_the_dense_update(name: str, options: dict[str, float]):
    rng = np.random.default_rng(1)
    graph = traced(SPARSE[name], **options)
    sparse = RowSparseUpdates()(graph)
    verify(sparse)
    assert {(ROWS, WIDTH), (2 * ROWS, WIDTH)}.isdisjoint(made(sparse))
    for _ in range(3):
        inputs = inputs_of(graph, rng, batch(rng))
        for value, dense, few in zip(graph.outputs, interpret(graph, *inputs), interpret(sparse, *inputs)):
            if "clip_norm" in options and value.type.shape:  # the norm is summed in another order
                np.testing.assert_allclose(few, dense, rtol=1e-6, atol=1e-7)
            else:
                np.testing.assert_array_equal(few, dense)


def test_a_compiled_step_trains_as_the_interpreted_one_and_holds_no_table():
    rng = np.random.default_rng(2)
    given = [batch(rng) for _ in range(4)]
    step = gl.compile_step(Tables(), loss, optim.SparseAdam(lr=0.05), given[0], clip_norm=1.0)
    parts = gl.compile_step(Tables(), loss, optim.SparseAdam(lr=0.05), given[0], clip_norm=1.0, threads=1)
    graph = traced(optim.SparseAdam(lr=0.05), clip_norm=1.0)
    values = [np.array(v) for v in step.parameters().values()]
    names = [v.name for v in graph.inputs]
    held = {name: np.zeros(v.type.shape, v.type.dtype) for name, v in zip(names, graph.inputs)}
    held |= dict(zip(step.parameters(), values)) | {"lr": np.array(0.05)}
    for one in given:
        held |= {f"batch.{name}": array for name, array in one.items()}
        results = interpret(graph, *(held[name] for name in names))
        held |= {names[j]: results[i] for i, j in graph.aliases.items()}
        assert step(one) == parts(one)
    for name, array in step.parameters().items():
        np.testing.assert_allclose(array, held[name], rtol=2e-5, atol=1e-6)
        np.testing.assert_array_equal(array, parts.parameters()[name])


def test_indices_that_count_from_the_end_name_the_same_rows():
    class Table(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((ROWS, WIDTH), initializer=nn.init.normal())

    graph = traced(
        optim.SGD(lr=0.1),
        Table(),
        lambda model, batch: gl.numpy.sum(model.weight[batch["i"]] ** 2),
        {"i": np.zeros((2, 4), int)},
    )
    sparse = RowSparseUpdates()(graph)
    assert (ROWS, WIDTH) not in made(sparse)
    rng = np.random.default_rng(3)
    inputs = inputs_of(graph, rng, {"i": np.array([[0, -1, ROWS - 1, 5], [5, -ROWS, 7, -1]])})
    for dense, few in zip(interpret(graph, *inputs), interpret(sparse, *inputs)):
        np.testing.assert_array_equal(few, dense)


@pytest.mark.parametrize(
    "optimizer",
    [optim.SGD(momentum=0.9), optim.SGD(weight_decay=0.1), optim.Adam(), optim.Adagrad(weight_decay=0.1)],
    ids=lambda optimizer: f"{optimizer.title}",
)
def test_rules_that_move_every_row_stay_dense(optimizer: optim.Optimizer):
    graph = traced(optimizer)
    assert str(RowSparseUpdates()(graph)) == str(graph)


def test_a_table_that_is_read_whole_or_nearly_so_stays_dense():
    graph = traced(SPARSE["sgd"])
    assert str(RowSparseUpdates(least=20)(graph)) == str(graph)

    def tied(model, batch):
        hidden = model.words(batch["a"])
        return gl.numpy.mean((hidden @ model.words.weight.T) ** 2)

    graph = traced(SPARSE["sgd"], loss_fn=tied)
    assert (ROWS, WIDTH) in made(RowSparseUpdates()(graph))


def test_a_learning_rate_that_is_not_finite_leaves_rows_alone_that_were_not_read():
    graph = traced(SPARSE["sgd"])
    sparse = RowSparseUpdates()(graph)
    inputs = inputs_of(graph, np.random.default_rng(4), batch(np.random.default_rng(4)))
    inputs[[v.name for v in graph.inputs].index("lr")] = np.array(np.inf)
    new = dict(zip(graph.output_names, interpret(sparse, *inputs)))["words.weight"]
    assert np.isfinite(new).all(axis=1).sum() >= ROWS - 10
