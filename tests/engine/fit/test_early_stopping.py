"""Early stopping: what it watches is known before the first epoch, and what it ended goes on with more patience."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.callbacks import BestCheckpoint, EarlyStopping

RNG = np.random.default_rng(0)
DATA = {"x": RNG.standard_normal((24, 3), np.float32), "y": RNG.integers(0, 2, 24)}


def new_step() -> Any:
    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"]), {"acc": gl.metrics.accuracy(model, batch).mean()}

    batch = {"x": gl.spec((8, 3)), "y": gl.spec((8,), "int64")}
    return gl.compile_step(nn.Linear(3, 2), loss_fn, gl.optim.SGD(0.5), batch)


@pytest.fixture(scope="module")
def step() -> Any:
    return new_step()


@pytest.mark.parametrize(
    ("monitor", "validate", "message"),
    [
        ("los", None, r"EarlyStopping watches 'los', and epochs have epoch, .*acc.*; similar: loss, at "),
        ("val_loss", None, r"'val_loss', .*; give gl\.fit data to validate on: validate=, at "),
        ("val_los", DATA, r"have .*val_loss.*; similar: val_loss, at "),
        ("val_accuracy", DATA, r"similar: val_acc, at "),
        ("quite_another", DATA, r"epochs have .*val_acc[^;]*$"),
    ],
)
def test_a_figure_that_no_epoch_has_is_told_before_the_first(
    step: Any, monitor: str, validate: Any, message: str
) -> None:
    before = step.steps
    for watching in (EarlyStopping(monitor), BestCheckpoint("never.safetensors", monitor)):
        with pytest.raises(ValueError, match=message.replace("EarlyStopping", type(watching).__name__)):
            gl.fit(step, DATA, validate=validate, callbacks=watching, progress=False)
    assert step.steps == before


def test_figures_that_only_an_epoch_tells_are_looked_for_after_it(step: Any) -> None:
    batches = ({**DATA} for _ in range(1))
    with pytest.raises(ValueError, match=r"watches 'val_los'.*similar: val_loss"):
        gl.fit(step, DATA, validate=batches, callbacks=EarlyStopping("val_los"), progress=False)


def test_a_run_that_was_ended_goes_on_with_more_patience_and_ends_with_the_best_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(step: Any, patience: int, resume: bool) -> gl.callbacks.Callback | Any:
        stopping = EarlyStopping("loss", patience, min_delta=10.0, restore_best=True)
        path = tmp_path / "run.safetensors"
        return gl.fit(step, DATA, epochs=9, callbacks=stopping, checkpoint=path, resume=resume)

    first = new_step()
    assert len(run(first, 2, resume=False)) == 3
    best = first.parameters()
    again = new_step()
    capsys.readouterr()
    assert len(run(again, 2, resume=True)) == 3
    assert "nothing to do: no better loss for 2 epochs" in capsys.readouterr().out.replace("\n", " ")
    history = run(again, 4, resume=True)
    assert len(history) == 5
    assert "for 4 epochs; the best was" in history.stopped
    for name, array in again.parameters().items():
        np.testing.assert_array_equal(array, best[name])
    (tmp_path / "run.best.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"epoch, 1, are not put back: .*no file beside its checkpoint"):
        run(new_step(), 5, resume=True)


def test_parameters_of_another_epoch_beside_the_checkpoint_are_not_taken(tmp_path: Path, step: Any) -> None:
    from gradloom.engine.fit.best_parameters import keep_best, kept_best

    path = str(tmp_path / "run.safetensors")
    assert kept_best(path, 0) is None
    keep_best(step, path, 3)
    assert kept_best(path, 2) is None
    found = kept_best(path, 3)
    assert found is not None
    np.testing.assert_array_equal(found["weight"], step.parameters()["weight"])
    (tmp_path / "run.best.safetensors").write_bytes(b"damaged")
    assert kept_best(path, 3) is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_log_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, step: Any, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / f"log{suffix}"

    class Meddler(gl.callbacks.Callback):
        def on_epoch_begin(self, run: Any) -> None:
            if run.epoch == 1:
                log.unlink()
                log.mkdir()
            if run.epoch == 3:
                log.rmdir()

    gl.fit(step, DATA, epochs=4, callbacks=Meddler(), log=log)
    out = capsys.readouterr().out.replace("\n", " ")
    assert out.count(f"cannot write {log}: ") == 2
    assert "the run goes on, and tries again after the next epoch" in out
    lines = log.read_text().splitlines()
    assert len(lines) == 4 + (suffix == ".csv")
    assert lines[-4].startswith(("1,", '{"epoch": 1,'))


def test_a_loaded_model_is_evaluated_by_metrics(tmp_path: Path, step: Any) -> None:
    path = tmp_path / "model.safetensors"
    step.save(path)
    loaded = gl.load(nn.Linear(3, 2), path)

    def loss(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    found = gl.evaluate(loaded, DATA, [loss, gl.metrics.accuracy])
    expected = gl.evaluate(step, DATA)
    np.testing.assert_allclose([found["loss"], found["accuracy"]], [expected["loss"], expected["acc"]], rtol=1e-6)
    many = {name: np.tile(array, (30, 1)[: array.ndim]) for name, array in DATA.items()}  # more than one batch
    np.testing.assert_allclose(gl.evaluate(loaded, many, loss)["loss"], found["loss"], rtol=1e-5)
    pairs = DATA["x"], DATA["y"]
    for data in (pairs, [pairs, pairs], gl.data.batches(pairs, 7)):
        np.testing.assert_allclose(gl.evaluate(loaded, data, gl.metrics.accuracy)["accuracy"], found["accuracy"])
    with pytest.raises(TypeError, match=r"no loss function; give metrics, as metrics=\[gl\.metrics\.accuracy\]"):
        gl.evaluate(loaded, DATA)
    with pytest.raises(TypeError, match=r"or what gl\.load returns, is evaluated; got Linear"):
        gl.evaluate(nn.Linear(3, 2), DATA, loss)  # pyright: ignore[reportArgumentType]
