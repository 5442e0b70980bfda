"""Steps that run their batch in parts: the loss, the gradient and the metrics of the whole batch."""

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

ROWS, FEATURES, CLASSES = 24, 6, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, FEATURES)).astype("float32")
Y = RNG.integers(0, CLASSES, ROWS)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def loss_fn(model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    weight = np.array([0.5, 2, 1], "float32")
    seen = (batch["y"] >= 0).sum()
    return nn.cross_entropy(logits, batch["y"], weight=weight), {"seen": seen, "logits": logits}


def make_step(k: int, batch: Any, loss: Any = loss_fn, optimizer: Any = None, **options: Any) -> gl.Step:
    return gl.compile_step(mlp(), loss, optimizer or optim.SGD(0.5), batch, accumulate=k, **options)


def labels(ignored: Any) -> np.ndarray:
    result = Y.copy()
    result[ignored] = -100
    return result


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_ignored_labels_count_for_the_whole_batch(clip_norm: float | None):
    batches = [{"x": X, "y": labels(ignored)} for ignored in ([0, 1, 2, 5, 13], slice(6), [0], slice(23))]
    optimizer = optim.AdamW(0.05)
    whole, *others = (make_step(k, batches[0], optimizer=optimizer, clip_norm=clip_norm) for k in (1, 2, 4, ROWS))
    for batch in batches:
        loss, metrics = whole(batch)
        for step in others:
            got, measured = step(batch)
            np.testing.assert_allclose(got, loss, rtol=1e-5)
            assert measured["seen"] == metrics["seen"]
            np.testing.assert_allclose(measured["logits"], metrics["logits"], rtol=1e-3, atol=1e-5)
    for step in others:
        step.report.check()
        for name, array in whole.parameters().items():
            np.testing.assert_allclose(step.parameters()[name], array, rtol=1e-3, atol=1e-5)


def test_uneven_parts_weights_in_the_batch_groups_and_averages_are_those_of_the_whole_batch():
    """Batches that the number of parts does not divide, whose labels are in part ignored, with dropout."""

    def loss(model: Any, batch: Any) -> Any:
        logits = nn.functional.dropout(model(batch["x"]), 0.25)
        return nn.cross_entropy(logits, batch["y"], weight=batch["weight"])

    groups = optim.groups({"*.bias": {"weight_decay": 0, "lr": 0.1}}, default=optim.AdamW(0.05))
    weight = np.array([0.5, 2, 1], "float32")
    batches = [{"x": X[:n], "y": labels([0, 1, 2, 5])[:n], "weight": weight} for n in (24, 10, 7)]
    whole, *others = (make_step(k, batches[0], loss, optim.EMA(groups, 0.5)) for k in (1, 5, 30))
    for batch in batches:
        expected = whole(batch)
        for step in others:
            np.testing.assert_allclose(step(batch), expected, rtol=1e-5)
    for step in others:
        for name, array in (whole.parameters() | whole.state()).items():
            got = (step.parameters() | step.state())[name]
            np.testing.assert_allclose(got, array, rtol=1e-3, atol=1e-5, err_msg=name)
    assert others[1].report.arena_bytes < whole.report.arena_bytes


def test_dropout_draws_what_it_draws_for_the_whole_batch():
    def loss(model: Any, batch: Any) -> Any:
        return (nn.functional.dropout(model(batch["x"]), 0.5) ** 2).sum()

    batch = {"x": X}
    losses = [[float(step(batch)) for _ in range(2)] for step in (make_step(k, batch, loss) for k in (1, 3))]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_the_bits_do_not_depend_on_the_threads_or_the_budget():
    batch = {"x": RNG.standard_normal((512, 64)).astype("float32"), "y": RNG.integers(0, 10, 512)}

    def make(**options: Any) -> gl.Step:
        model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 10))
        loss = lambda model, batch: np.sqrt(nn.cross_entropy(model(batch["x"]), batch["y"]))  # noqa: E731
        return gl.compile_step(model, loss, optim.AdamW(0.01), batch, accumulate=4, **options)

    free = make(threads=2)
    results = []
    for step in (free, make(threads=3), make(threads=1), make(threads=2, memory=free.report.total_bytes - 1000)):
        step.report.check()
        losses = [step(batch).tobytes() for _ in range(3)]
        results.append((losses, {name: array.tobytes() for name, array in step.parameters().items()}))
    assert all(result == results[0] for result in results)


def test_activations_are_held_for_one_part():
    def arena_bytes(k: int) -> int:
        model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
        loss = lambda model, x: np.sqrt((model(x) ** 2).mean())  # noqa: E731
        return gl.plan_step(model, loss, optim.SGD(0.1), gl.spec((1024, 8)), accumulate=k).report.arena_bytes

    one, four, sixteen = map(arena_bytes, (1, 4, 16))
    assert four < 0.5 * one
    assert sixteen < 0.5 * four


def test_a_budget_may_make_the_parts_smaller():
    batch = {"x": gl.spec((512, 32)), "y": gl.spec((512,), "int64")}
    loss = lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"])  # noqa: E731
    arguments = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), loss, optim.SGD(0.1), batch
    parts = gl.plan_step(*arguments, accumulate=16)
    least = parts.report.total_bytes - parts.report.arena_bytes // 4
    smaller = gl.plan_step(*arguments, memory=least, accumulate=16)
    smaller.report.check()
    assert smaller.report.total_bytes <= least
    assert "runs in tiles of" in smaller.report.other_bits
    assert parts.largest_batch(parts.report.total_bytes) % 16 == 0
