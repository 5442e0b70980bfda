"""A compiled step: what it trains, what it refuses and leaves unchanged, and what it keeps on disk."""

from __future__ import annotations

import gc
import os
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
import safetensors.numpy
from gradloom import nn, optim
from gradloom.engine.step.batch_type import BatchType
from gradloom.engine.step.leaves import flattened
from gradloom.ir import type_of

ROWS, FEATURES, CLASSES = 10, 6, 3


def make_batch(rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, FEATURES)).astype("float32"), "y": rng.integers(0, CLASSES, rows)}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def make_step(model: nn.Module | None = None, loss: Any = loss_fn, optimizer: Any = None, **options: Any) -> gl.Step:
    batch = options.pop("batch", make_batch())
    return gl.compile_step(model or mlp(), loss, optimizer or optim.AdamW(0.01), batch, **options)


def bits(step: gl.Step) -> dict[str, bytes]:
    """All that training changes."""
    named = step.parameters() | step.buffers() | step.state()
    return {name: array.tobytes() for name, array in named.items()}


@pytest.fixture
def unchanged():
    """Calls a step that must raise, and checks that nothing was trained."""

    def check(step: gl.Step, batch: Any, error: type[Exception], message: str) -> None:
        before = bits(step)
        with pytest.raises(error, match=message):
            step(batch)
        assert bits(step) == before

    return check


# ---- what comes back


def test_the_loss_is_a_scalar_and_falls():
    step = make_step()
    losses = [step(make_batch()) for _ in range(30)]
    assert isinstance(losses[0], np.float32)
    assert losses[-1] < losses[0]
    assert step.steps == 30


def test_metrics_are_returned_as_they_were_made():
    def loss(model: Any, batch: Any) -> Any:
        scores = model(batch["x"])
        correct = (scores.argmax(axis=1) == batch["y"]).sum()
        return nn.cross_entropy(scores, batch["y"]), {"correct": correct, "more": [scores, 2.5, batch["x"]]}

    step = make_step(loss=loss)
    batch = make_batch()
    scores = step.bind(lambda model, x: model(x))(batch["x"])
    value, metrics = step(batch)
    np.testing.assert_allclose(value, make_step()(batch), rtol=1e-6)
    assert isinstance(metrics["correct"], np.int64)
    assert metrics["correct"] == (scores.argmax(axis=1) == batch["y"]).sum()
    first, number, x = metrics["more"]
    np.testing.assert_allclose(first, scores, rtol=1e-5, atol=1e-6)
    assert number == 2.5
    np.testing.assert_array_equal(x, batch["x"])
    kept = first.copy()
    step(batch)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(x, batch["x"])


@pytest.mark.parametrize(
    ("pack", "loss"),
    [
        (lambda b: (b["x"], b["y"]), lambda model, batch: nn.cross_entropy(model(batch[0]), batch[1])),
        (lambda b: {"in": [b["x"]], "y": (b["y"],)}, lambda model, b: nn.cross_entropy(model(b["in"][0]), b["y"][0])),
    ],
)
def test_batches_are_pytrees(pack: Callable[[Any], Any], loss: Any):
    step = make_step(loss=loss, batch=pack(make_batch()))
    assert step(pack(make_batch())) == make_step()(make_batch())


def test_a_batch_may_be_specs_and_one_array():
    model = nn.Linear(4, 4)
    step = make_step(model, lambda model, x: nn.mse_loss(model(x), x), batch=gl.spec((5, 4)))
    assert np.isfinite(step(np.ones((5, 4), "float32")))


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: np.repeat(x, 2, axis=1)[:, ::2]]
)
def test_a_batch_of_any_layout(layout: Callable[[Any], Any]):
    batch = make_batch()
    assert make_step()({**batch, "x": layout(batch["x"])}) == make_step()(batch)


def test_a_batch_is_not_held():
    step = make_step()
    batch = make_batch()
    held = weakref.ref(batch["x"])
    step(batch)
    del batch
    gc.collect()
    assert held() is None


# ---- batches of several shapes


def test_a_smaller_batch_trains_as_a_step_compiled_for_it():
    step, small = make_step(), make_step(batch=make_batch(4))
    assert step(make_batch(4)) == small(make_batch(4))
    assert bits(step) == bits(small)
    step(make_batch())
    assert step.steps == 2


def test_shapes_share_one_arena_and_the_old_one_is_freed():
    step = make_step()
    predict = step.bind(lambda model, x: model(x))
    first = weakref.ref(step._live.arena.base)
    step(make_batch(4))
    predict(make_batch(4)["x"])
    assert first() is step._live.arena.base
    step(make_batch(100))
    gc.collect()
    assert first() is None
    second = step._live.arena
    assert second.nbytes == max(s.report.arena_bytes for s in step._signatures.values())
    big = step.bind(lambda model, x: (np.tanh(x @ x.T) @ x).sum())(make_batch(100)["x"])
    assert np.isfinite(big)
    assert step._live.arena.nbytes > second.nbytes
    # All of them still work, in the arena that is there now.
    fresh = make_step()
    for rows in (4, 100, 10):
        assert np.isfinite(step(make_batch(rows)))
        fresh(make_batch(rows))
    assert all(s.executable.arena is step._live.arena for s in step._signatures.values())
    again = make_step()
    for rows in (4, 100, 4, 100, 10):
        again(make_batch(rows))
    assert bits(step) == bits(again)


# ---- what is refused, and changes nothing


@pytest.mark.parametrize("label", [CLASSES, -1, 2**40])
def test_a_label_out_of_range(unchanged: Any, label: int):
    step = make_step(optimizer=optim.SGD(0.1, momentum=0.9))
    step(make_batch())
    batch = make_batch()
    batch["y"][7] = label
    unchanged(step, batch, IndexError, r"out of range for 3 entries at .*test_step\.py:\d+; indices run from 0 to 2")
    assert step.steps == 1
    assert np.isfinite(step(make_batch()))


def test_a_token_out_of_range(unchanged: Any):
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, CLASSES))
    batch = {"x": np.zeros((ROWS, 2), "int64"), "y": make_batch()["y"]}
    step = make_step(model, batch=batch)
    wrong = {**batch, "x": batch["x"] + 7}
    unchanged(step, wrong, IndexError, r"out of range for 7 entries at .*test_step\.py:\d+ in 0;")


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "float64": (
        lambda b: {**b, "x": b["x"].astype("float64")},
        TypeError,
        r"batch\.x is float64 of shape \(10, 6\), the step was compiled for float32 .*; "
        r"write batch\.x\.astype\('float32'\)",
    ),
    "int32 labels": (lambda b: {**b, "y": b["y"].astype("int32")}, TypeError, r"write batch\.y\.astype\('int64'\)"),
    "float16": (lambda b: {**b, "x": b["x"].astype("float16")}, TypeError, r"batch\.x is float16.*astype"),
    "objects": (lambda b: {**b, "x": b["x"].astype(object)}, TypeError, r"batch\.x is object.*astype"),
    "a spec": (lambda b: {**b, "x": gl.spec((10, 6))}, TypeError, r"batch\.x is a spec"),
    "text": (lambda b: {**b, "x": "text"}, TypeError, r"batch\.x is of type str; use an array"),
    "one missing": (
        lambda b: {"x": b["x"]},
        TypeError,
        r"without batch\.y; the step was compiled for batch\.x, batch\.y",
    ),
    "one more": (lambda b: {**b, "z": b["x"]}, TypeError, r"with batch\.z; the step"),
    "none": (lambda b: {**b, "x": None}, TypeError, r"without batch\.x"),
    "a list": (lambda b: {**b, "x": b["x"].tolist()}, TypeError, r"batch\.x is a container.*np\.asarray"),
    "a tuple": (lambda b: (b["x"], b["y"]), TypeError, r"without batch\.x, batch\.y and with batch\.0, batch\.1"),
    "one axis more": (lambda b: {**b, "x": b["x"][None]}, TypeError, r"batch\.x is .* \(1, 10, 6\)"),
    "wrong width": (lambda b: {**b, "x": b["x"][:, :5]}, gl.ShapeError, r"\(10, 5\) float32.*\(8, 6\), at .*test_step"),
    "fewer labels": (lambda b: {**b, "y": b["y"][:5]}, gl.ShapeError, r"input rows \(10,\), labels are \(5,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_does_not_fit(unchanged: Any, name: str):
    change, error, message = REFUSED[name]
    step = make_step()
    step(make_batch())
    unchanged(step, change(make_batch()), error, message)
    assert np.isfinite(step(make_batch()))


def test_a_batch_in_several_arguments_is_told_how_to_be_one():
    step: Any = make_step()
    x, y = make_batch().values()
    with pytest.raises(TypeError, match=re.escape('got 2; write step({"x": x, "y": y}), at ')):
        step(x, y)
    for batch, written in (
        ((x, y), "write step((x, y))"),
        ([x, y, x], "write step([x0, x1, x2])"),
        (x, "is one array"),
    ):
        names, leaves, tree = flattened(batch, "batch")
        kind = BatchType(batch, tree, [(name, type_of(leaf)) for name, leaf in zip(names, leaves)])
        assert written in kind.as_one(2)
    assert step.steps == 0


def test_lists_and_tuples_are_not_the_same_structure(unchanged: Any):
    step = make_step(nn.Linear(4, 4), lambda model, b: nn.mse_loss(model(b[0]), b[1]), batch=[gl.spec((5, 4))] * 2)
    message = r"the batch is a tuple, the step was compiled for a list; write step\(list\(batch\)\)"
    unchanged(step, (np.ones((5, 4), "float32"),) * 2, TypeError, message)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_data_gives_a_nan_loss(value: float):
    step = make_step()
    batch = make_batch()
    batch["x"][3, 2] = value
    assert np.isnan(step(batch))


def test_a_loss_that_is_no_float_scalar():
    with pytest.raises(gl.ShapeError, match=r"must return a scalar, its loss has shape \(10, 3\).*take \.mean\(\)"):
        make_step(loss=lambda model, batch: model(batch["x"]))
    with pytest.raises(gl.TracingError, match="must return a float scalar, its loss is int64"):
        make_step(loss=lambda model, batch: batch["y"].sum())
    with pytest.raises(gl.TracingError, match="returned NoneType"):
        make_step(loss=lambda model, batch: None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads is a whole number of 1 or more"),
        ({"accumulate": 0}, ValueError, "accumulate is a whole number of 1 or more"),
        ({"accumulate": 1.5}, ValueError, "accumulate is a whole number of 1 or more"),
        ({"clip_norm": "a"}, ValueError, "clip_norm is a number above 0"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm is a number above 0"),
        ({"seed": -1}, ValueError, "a seed is 0 or more"),
        ({"memory": "lots"}, ValueError, "memory is a number of bytes or text such as '200MB'"),
        ({"model": nn.ReLU()}, ValueError, "there is nothing to train"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make_step(**options)


# ---- parameters


class Odd(nn.Module):
    """A parameter that nothing uses, and one that is used twice."""

    def __init__(self) -> None:
        self.twice = nn.Parameter(np.eye(4, dtype="float64") / 2)
        self.unused = nn.Parameter(np.ones(3))
        self.frozen = nn.Parameter(np.ones(4), requires_grad=False)

    def forward(self, x: Any) -> Any:
        return (x @ self.twice) @ self.twice + self.frozen


def test_unused_frozen_and_twice_used_parameters():
    x = np.random.default_rng(0).standard_normal((5, 4))
    step = gl.compile_step(Odd(), lambda model, x: model(x).sum(), optim.SGD(0.1), x)
    step(x)
    w = np.eye(4) / 2
    ones = np.ones((5, 4))
    gradient = (x @ w).T @ ones + x.T @ (ones @ w.T)
    after = step.parameters()
    np.testing.assert_allclose(after["twice"], w - 0.1 * gradient, rtol=1e-12)
    np.testing.assert_array_equal(after["unused"], np.ones(3))
    np.testing.assert_array_equal(after["frozen"], np.ones(4))


def test_parameters_are_copies_and_can_be_set():
    step = make_step()
    initial = step.parameters()
    initial["0.weight"][:] = 0
    assert step.parameters()["0.weight"].any()
    step.set_parameters(initial)
    assert not step.parameters()["0.weight"].any()
    initial["0.weight"][:] = 7
    assert not step.parameters()["0.weight"].any()


def test_setting_parameters_that_do_not_fit_changes_nothing():
    step = make_step()
    before, given = bits(step), {name: array + 1 for name, array in step.parameters().items()}
    given["0.weight"] = given["0.weight"].T
    given["2.weight"] = given["2.weight"].astype("float64")
    given["extra"] = given.pop("2.bias")
    with pytest.raises(gl.CheckpointError) as error:
        step.set_parameters(given)
    for part in ("0.weight has shape (6, 8)", "2.weight is float64", "missing: 2.bias", "not in the model: extra"):
        assert part in str(error.value)
    assert bits(step) == before


def test_initial_parameters_depend_on_the_seed():
    assert bits(make_step(seed=1)) == bits(make_step(seed=1))
    assert bits(make_step(seed=1)) != bits(make_step(seed=2))
    assert np.isfinite(make_step(seed=2**70)(make_batch()))


class Counter(nn.Module):
    """Counts steps and averages its input, as batch norm does."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(FEATURES, "float32"))
        self.seen = nn.Buffer((), "int64")
        self.mean = nn.Buffer(FEATURES)

    def forward(self, x: Any) -> Any:
        if self.training:
            self.seen = self.seen + 1
            self.mean = self.mean * 0.5 + x.mean(axis=0) * 0.5
        return (x - self.mean) * self.scale


def test_buffers_are_updated_in_training_and_read_in_evaluation():
    step = make_step(Counter(), lambda model, batch: (model(batch["x"]) ** 2).mean())
    predict = step.bind(lambda model, x: model(x))
    mean = np.zeros(FEATURES, "float32")
    for i in range(4):
        batch = make_batch(seed=i)
        step(batch)
        mean = mean * np.float32(0.5) + batch["x"].mean(axis=0) * np.float32(0.5)
        x = make_batch()["x"]
        np.testing.assert_allclose(predict(x), (x - mean) * step.parameters()["scale"], rtol=1e-5, atol=1e-6)
    assert step.buffers()["seen"] == 4
    np.testing.assert_allclose(step.buffers()["mean"], mean, rtol=1e-5)


# ---- learning rates


class Counted:
    """A loss function that counts how often it is traced."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, model: Any, batch: Any) -> Any:
        self.traces += 1
        return model.weight.sum()


def test_the_learning_rate_can_be_set_without_compiling():
    loss = Counted()
    step = make_step(nn.Linear(2, 1, bias=False), loss, optim.SGD(0.5))
    step.set_parameters({"weight": np.zeros((1, 2), "float32")})
    step(make_batch())
    step.learning_rate = 0.25
    step(make_batch())
    assert step.learning_rate == 0.25
    assert step.parameters()["weight"].tolist() == [[-0.75, -0.75]]
    assert loss.traces == 1
    for wrong in (-1, float("nan"), float("inf"), "fast"):
        with pytest.raises(ValueError, match=r"learning rate|could not convert"):
            step.learning_rate = wrong
    assert step.learning_rate == 0.25


def test_a_schedule_is_followed_without_compiling():
    loss = Counted()
    step = make_step(nn.Linear(2, 1, bias=False), loss, optim.SGD(lambda i: 1.0 / (i + 1)))
    step.set_parameters({"weight": np.zeros((1, 2), "float32")})
    rates: list[float] = []
    for _ in range(3):
        rates.append(step.learning_rate)
        step(make_batch())
    assert rates == [1, 1 / 2, 1 / 3]
    np.testing.assert_allclose(step.parameters()["weight"], -sum(rates), rtol=1e-6)
    step.learning_rate = 0.0
    step(make_batch())
    np.testing.assert_allclose(step.parameters()["weight"], -sum(rates), rtol=1e-6)
    assert loss.traces == 1


def test_a_schedule_that_fails_changes_nothing(unchanged: Any):
    step = make_step(optimizer=optim.SGD(lambda i: 0.1 if i < 1 else -1.0))
    step(make_batch())
    unchanged(step, make_batch(), ValueError, "the learning rate for step 1 is -1")


# ---- dropout


def dropout_net() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Dropout(0.5), nn.Linear(16, CLASSES))


def test_dropout_follows_the_seed():
    def losses(seed: int) -> list[float]:
        step = make_step(dropout_net(), seed=seed)
        step.set_parameters(initial)
        return [float(step(make_batch())) for _ in range(8)]

    initial = make_step(dropout_net()).parameters()
    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_dropout_keeps_the_mean_and_draws_anew_in_each_step():
    ones = np.ones((100, 200), "float32")
    model = nn.Sequential(nn.Dropout(0.25))
    model.scale = nn.Parameter(np.ones((), "float32"))
    step = make_step(model, lambda model, x: (model.scale * 0, model(x)), optim.SGD(0.0), batch=ones)
    drawn = [step(ones)[1] for _ in range(3)]
    for array in drawn:
        assert set(np.unique(array)) == {np.float32(0), np.float32(1 / 0.75)}
        assert abs(array.mean() - 1) < 0.02
    # What two steps draw is independent: both keep an element in 0.75 squared of all cases.
    assert abs(((drawn[0] > 0) & (drawn[1] > 0)).mean() - 0.75**2) < 0.02


def test_evaluation_is_without_dropout():
    step = make_step(dropout_net())
    predict = step.bind(lambda model, x: model(x))
    x, p = make_batch()["x"], step.parameters()
    first = predict(x)
    np.testing.assert_array_equal(first, predict(x))
    expected = (x @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)


def test_evaluation_sees_the_parameters_as_they_are_now():
    step = make_step()
    predict = step.bind(lambda model, batch, k: {"scaled": model(batch["x"]) * k["k"]})
    before = predict(make_batch(), {"k": 2.0})["scaled"]
    step(make_batch())
    assert (predict(make_batch(), {"k": 2.0})["scaled"] != before).any()
    step.set_parameters({name: array * 0 for name, array in step.parameters().items()})
    assert not predict(make_batch(3), {"k": 2.0})["scaled"].any()
    with pytest.raises(TypeError, match=r"argument\.1\.k is of type str"):
        predict(make_batch(), {"k": "two"})


# ---- every plan gives the same bits


class Deep(nn.Module):
    """Layers with dropout, each checkpointed or not; large enough that the plan uses several threads."""

    def __init__(self, checkpointed: bool) -> None:
        self.first = nn.Linear(FEATURES, 256)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(256)) for _ in range(2)]
        )
        self.last = nn.Linear(256, CLASSES)
        self.checkpointed = checkpointed

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        for block in self.blocks:
            x = (gl.checkpoint(block) if self.checkpointed else block)(x)
        return self.last(x)


def run(checkpointed: bool, threads: int) -> tuple[gl.Step, list[bytes]]:
    batch = make_batch(128)
    step = make_step(Deep(checkpointed), batch=batch, threads=threads, seed=3)
    return step, [step(batch).tobytes() for _ in range(20)]


def test_the_bits_do_not_depend_on_threads_or_checkpoints():
    first, losses = run(False, 1)
    assert np.frombuffer(losses[-1], "float32") < np.frombuffer(losses[0], "float32")
    for checkpointed, threads in ((False, 2), (False, 3), (False, 4), (True, 1), (True, 2)):
        step, others = run(checkpointed, threads)
        assert step.report.threads == threads
        assert (step.report.recompute_flops > 0) == checkpointed
        assert others == losses
        assert bits(step) == bits(first)


def test_accumulation_agrees_with_one_part_up_to_rounding():
    batch = make_batch(12)
    whole, parts = (make_step(batch=batch, optimizer=optim.SGD(0.1), accumulate=k) for k in (1, 4))
    for _ in range(10):
        np.testing.assert_allclose(whole(batch), parts(batch), rtol=1e-5)
    for name, array in whole.parameters().items():
        np.testing.assert_allclose(parts.parameters()[name], array, rtol=1e-4, atol=1e-6)


# ---- memory


@pytest.mark.parametrize(
    ("text", "size"),
    [("3000", 3000), (3000, 3000), ("3kB", 3000), ("3 KiB", 3072), ("0.003MB", 3000), (np.int64(3000), 3000)],
)
def test_budgets(text: Any, size: int):
    step = make_step(optimizer=optim.SGD(0.1), memory=text)
    assert step.report.total_bytes <= size
    assert np.isfinite(step(make_batch()))


@pytest.mark.parametrize("memory", ["lots", "", "3 parsecs", "-3MB", 0, -5, True, 2.5, "MB"])
def test_what_is_no_budget(memory: Any):
    with pytest.raises(ValueError, match=r"memory is a number of bytes or text such as '200MB'"):
        make_step(memory=memory)


def test_a_budget_that_is_too_small_says_what_takes_the_most_and_the_least_that_fits():
    with pytest.raises(gl.MemoryBudgetError) as error:
        make_step(memory="1kB")
    text = str(error.value)
    least = error.value.least_bytes
    assert "the budget is 1,000 (1.00 kB)" in text
    assert "test_step.py:" in text
    assert make_step(memory=least).report.total_bytes == least
    with pytest.raises(gl.MemoryBudgetError):
        make_step(memory=least - 1)


def test_the_budget_holds_for_later_batches_and_for_evaluation(unchanged: Any):
    step = make_step(memory=make_step().report.total_bytes)
    unchanged(step, make_batch(200), gl.MemoryBudgetError, "the step needs")
    with pytest.raises(gl.MemoryBudgetError, match="this function needs"):
        step.bind(lambda model, x: (np.tanh(x @ x.T) @ x).sum())(make_batch(200)["x"])
    assert np.isfinite(step(make_batch(5)))


# ---- checkpoints


def trained(steps: int, **options: Any) -> gl.Step:
    step = make_step(dropout_net(), **options)
    for i in range(steps):
        step(make_batch(seed=i))
    return step


@pytest.mark.parametrize("optimizer", [optim.AdamW(lambda i: 0.1 / (i + 1)), optim.SGD(0.1, momentum=0.9)])
def test_training_goes_on_to_the_same_bits(tmp_path: Path, optimizer: optim.Optimizer):
    path = tmp_path / "step.safetensors"
    step = trained(3, optimizer=optimizer, seed=1)
    step.save(path, {"epoch": "7"})
    resumed = make_step(dropout_net(), optimizer=optimizer, seed=99)
    assert resumed.load(path) == {"epoch": "7"}
    assert bits(resumed) == bits(step)
    for i in range(3, 6):
        assert step(make_batch(seed=i)) == resumed(make_batch(seed=i))
    assert bits(resumed) == bits(step)


def test_a_learning_rate_that_was_set_is_kept_and_another_forgotten(tmp_path: Path):
    step = trained(1, optimizer=optim.SGD(0.5))
    step.save(tmp_path / "own")
    step.learning_rate = 0.125
    step.save(tmp_path / "set")
    other = trained(0, optimizer=optim.SGD(0.25))
    other.load(tmp_path / "set")
    assert other.learning_rate == 0.125
    other.load(tmp_path / "own")
    assert other.learning_rate == 0.25
    other(make_batch())
    step.learning_rate = 0.25
    step(make_batch())
    assert bits(step) == bits(other)


def test_buffers_and_tied_parameters_are_saved(tmp_path: Path):
    step = make_step(Counter(), lambda model, batch: (model(batch["x"]) ** 2).mean())
    step(make_batch())
    step.save(tmp_path / "s")
    other = make_step(Counter(), lambda model, batch: (model(batch["x"]) ** 2).mean())
    other.load(tmp_path / "s")
    assert bits(other) == bits(step)


def test_a_parameter_may_be_called_optimizer(tmp_path: Path):
    model = nn.ModuleDict({"optimizer": nn.Linear(2, 1)})
    step = make_step(model, lambda model, batch: model["optimizer"].weight.sum())
    step(make_batch())
    step.save(tmp_path / "s")
    before = bits(step)
    step(make_batch())
    step.load(tmp_path / "s")
    assert bits(step) == before


def test_files_of_another_model_or_optimizer_change_nothing(tmp_path: Path):
    step = trained(2)
    before = bits(step)
    make_step().save(tmp_path / "model")
    with pytest.raises(gl.CheckpointError) as error:
        step.load(tmp_path / "model")
    for part in ("do not fit the model", "0.weight has shape (8, 6), the model's is (16, 6)"):
        assert part in str(error.value)
    make_step(dropout_net(), optimizer=optim.SGD(0.1)).save(tmp_path / "sgd")
    with pytest.raises(gl.CheckpointError, match="come from SGD, the step's optimizer is AdamW"):
        step.load(tmp_path / "sgd")
    make_step(dropout_net(), optimizer=optim.AdamW(0.1, amsgrad=True)).save(tmp_path / "amsgrad")
    with pytest.raises(gl.CheckpointError, match=r"not in the model: max_exp_avg_sq\.0\.bias"):
        step.load(tmp_path / "amsgrad")
    assert bits(step) == before


def test_a_damaged_file_changes_nothing(tmp_path: Path):
    step = trained(2)
    path = tmp_path / "s"
    step.save(path)
    whole = path.read_bytes()
    before = bits(step)
    for content in (whole[: len(whole) // 2], whole[:7], b"", b"\xff" * 100, whole[:8] + b"\x00" * (len(whole) - 8)):
        path.write_bytes(content)
        with pytest.raises(gl.CheckpointError, match="cannot load"):
            step.load(path)
        assert bits(step) == before
    with pytest.raises(gl.CheckpointError, match="there is no such file"):
        step.load(tmp_path / "nothing")


def test_a_schedule_that_ends_before_the_steps_of_a_file_changes_nothing(tmp_path: Path):
    path = tmp_path / "s"
    trained(3, optimizer=optim.SGD(0.1)).save(path)
    step = trained(1, optimizer=optim.SGD([0.1, 0.2].__getitem__))
    before = bits(step)
    with pytest.raises(IndexError):
        step.load(path)
    assert bits(step) == before
    step(make_batch())


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step = trained(1)
    path = tmp_path / "s"
    step.save(path)
    saved = bits(step)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    step(make_batch())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(gl.CheckpointError, match="No space left on device; the checkpoint that was there before"):
            step.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["s"]
    step.load(path)
    assert bits(step) == saved


@pytest.mark.peers
def test_a_state_dict_of_pytorch_loads(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch")
    from safetensors.torch import save_file

    peer = torch.nn.Sequential(torch.nn.Linear(FEATURES, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, CLASSES))
    save_file(peer.state_dict(), tmp_path / "peer")
    step = trained(3)
    assert step.load(tmp_path / "peer") == {}
    for name, tensor in peer.state_dict().items():
        np.testing.assert_array_equal(step.parameters()[name], tensor.numpy())
    # The optimizer begins anew.
    assert step.steps == 0
    assert not any(array.any() for array in step.state().values())
    x = make_batch()["x"]
    expected = peer.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(step.bind(lambda model, x: model(x))(x), expected, rtol=1e-4, atol=1e-5)


def test_what_pytorch_reads_of_a_checkpoint(tmp_path: Path):
    step = trained(2)
    step.save(tmp_path / "s")
    arrays = safetensors.numpy.load_file(tmp_path / "s")
    model = {name: array for name, array in arrays.items() if not name.startswith(".optimizer.")}
    assert model.keys() == step.parameters().keys()
    assert arrays[".optimizer.step"] == 2
