"""Training steps on a GPU, over a driver that is none: the bits of the emulator, and nothing waits that need not."""

from __future__ import annotations

import pickle
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from on_fake_gpu import fake_gpu


def make_step(target: str, **options: Any) -> Any:
    """A classifier whose labels are indices, with a metric."""

    def loss_fn(model: Any, batch: Any) -> Any:
        logits = model(batch["x"])
        return nn.cross_entropy(logits, batch["y"]), {"right": (logits.argmax(axis=1) == batch["y"]).sum()}

    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    batch = {"x": gl.spec((4, 6), "float32"), "y": gl.spec((4,), "int64")}
    return gl.compile_step(model, loss_fn, optim.AdamW(optim.Cosine(1e-2, 20)), batch, target=target, **options)


def batches(n: int, rows: int = 4) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((rows, 6)).astype(np.float32), "y": rng.integers(0, 3, rows)} for _ in range(n)]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def test_a_step_has_the_bits_of_the_emulator_and_returns_before_it_has_run():
    emulated = make_step("cuda-emulated")
    expected = [emulated(batch) for batch in batches(6)]
    with fake_gpu() as driver:
        step = make_step("cuda")
        got = [step(batch) for batch in batches(1)]  # captures the graph
        done = driver.launches
        driver.calls.clear()
        got += [step({name: array.copy() for name, array in batch.items()}) for batch in batches(6)[1:]]
        assert driver.launches == done
        assert driver.calls == ["cuGraphLaunch"] * 5
        for (loss, metrics), (wanted, wanted_metrics) in zip(got, expected, strict=True):
            assert float(loss) == wanted
            assert metrics["right"] == wanted_metrics["right"]
        assert_equal(step.parameters(), emulated.parameters())
        assert_equal(step.state(), emulated.state())
        assert step.steps == 6
        assert step.learning_rate == emulated.learning_rate


def test_the_host_waits_only_where_it_is_many_steps_ahead():
    with fake_gpu() as driver:
        step = make_step("cuda")
        losses = [step(batch)[0] for batch in batches(40)]
        assert driver.launches > 0
        emulated = make_step("cuda-emulated")
        assert [float(loss) for loss in losses] == [emulated(batch)[0] for batch in batches(40)]


def test_a_loss_is_a_number_that_waits():
    with fake_gpu():
        step = make_step("cuda")
        loss = step(batches(1)[0])[0]
        value = float(loss)
        assert (loss.shape, loss.dtype, loss.ndim) == ((), np.float32, 0)
        number = np.float32(value)
        for ours, numpys in (
            (f"{loss:.3f}", f"{number:.3f}"),
            (str(loss), str(number)),
            (-loss, -number),
            (2 * loss, 2 * number),
            (loss < value + 1, number < value + 1),
            (np.exp(loss), np.exp(number)),
            (np.mean([loss, loss]), number),
            (np.asarray(loss).dtype, number.dtype),
            (round(loss, 2), round(number, 2)),
            (loss.item(), value),
            (float(max(loss, 0.0)), value),
            (sum([loss]), 0 + number),
            ({loss: 1}[number], 1),
            (pickle.loads(pickle.dumps(loss)), number),
        ):
            assert type(ours) is type(numpys)
            assert ours == numpys


def test_a_bad_index_changes_nothing_and_neither_do_the_steps_behind_it():
    with fake_gpu():
        step = make_step("cuda")
        good, bad, *later = batches(5)
        bad["y"][1] = 3
        step(good)
        before = step.parameters()
        loss, _ = step(bad)
        after = [step(batch)[0] for batch in later]
        with pytest.raises(IndexError, match=r"out of range for 3 entries at .*test_cuda_steps.py") as raised:
            float(loss)
        assert raised.value.__notes__ == ["3 that were given to the GPU behind it were not done either."]
        for each in after:
            with pytest.raises(RuntimeError, match=r"this was not done, because .* out of range"):
                float(each)
        assert_equal(step.parameters(), before)
        assert step.steps == 1
        emulated = make_step("cuda-emulated")
        for batch in (good, *later):
            expected = emulated(batch)[0]
        for batch in later:
            loss = step(batch)[0]
        assert float(loss) == expected


def test_a_bad_index_that_nobody_reads_is_raised_by_what_comes_next():
    with fake_gpu():
        step = make_step("cuda")
        bad = batches(1)[0]
        bad["y"][0] = -7
        step(bad)
        with pytest.raises(IndexError):
            step.parameters()
        assert step.steps == 0
        step(bad)
        with pytest.raises(IndexError):
            list(map(step, batches(12)))
        assert step.steps == 0
