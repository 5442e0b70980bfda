"""`gl.fit` by several ranks: the same bits as one, one voice, and checkpoints that any number of ranks goes on from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from mpi_runs import run_program

pytestmark = pytest.mark.filterwarnings("ignore:ranks. batch norm at")  # which the model here has

PROGRAM = """
import hashlib, os, signal, sys
import gradloom as gl
import numpy as np
from gradloom import nn

EPOCHS, RANKS = {epochs}, {ranks}
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


rng = np.random.default_rng(0)
data = {{"x": rng.standard_normal((70, 6), np.float32), "y": rng.integers(0, 3, 70)}}
batch = {{"x": gl.spec((16, 6), "float32"), "y": gl.spec((16,), "int64")}}
step = gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-2), batch, ranks=RANKS, threads=1)
stops = gl.callbacks.EarlyStopping(patience=9)


def after_epoch(run):
    if run.epoch + 1 == {fault_after}:
        {fault}


history = gl.fit(
    step, data, epochs=EPOCHS, validate=data, metrics=[gl.metrics.accuracy], seed=3,
    checkpoint="run.safetensors", resume=True, log="log.csv", callbacks=[stops, after_epoch],
)
digest = hashlib.sha256()
for name, array in sorted({{**step.parameters(), **step.buffers(), **step.state()}}.items()):
    digest.update(array.tobytes())
# In one write, so that what others print stands on other lines.
sys.stdout.write(f"digest {{digest.hexdigest()}} {{history['loss'][-1]}} {{history['val_loss'][-1]}}\\n")
"""


def program(ranks: str, epochs: int, fault: str = "pass", fault_after: int = 0) -> str:
    return PROGRAM.format(ranks=ranks, epochs=epochs, fault=fault, fault_after=fault_after)


def in_process(epochs: int, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The figures that one process prints."""
    monkeypatch.chdir(folder)
    exec(compile(program("gl.ranks.one()", epochs), "program.py", "exec"), {})
    return digests(capsys.readouterr().out)[0]


def digests(output: str) -> list[str]:
    return re.findall(r"digest (.*)", output)


@pytest.mark.mpi
def test_a_run_goes_on_with_any_number_of_ranks_to_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    expected = in_process(4, alone, capsys, monkeypatch)
    code, output = run_program(4, program("gl.ranks.mpi()", 1), together)
    assert code == 0, output
    assert len(re.findall("^epoch 1/1", output, re.MULTILINE)) == 1
    assert len(list(together.glob("run-*-of-00004-*.safetensors"))) == 4
    code, output = run_program(2, program("gl.ranks.mpi()", 3), together)
    assert code == 0, output
    assert len(re.findall("^epoch", output, re.MULTILINE)) == 2
    assert in_process(4, together, capsys, monkeypatch) == expected
    assert sorted(os.listdir(together)) == ["log.csv", "program.py", "run.safetensors"]
    logs = [np.genfromtxt(folder / "log.csv", delimiter=",", names=True) for folder in (alone, together)]
    for name in ("epoch", "loss", "val_loss", "val_accuracy"):
        np.testing.assert_array_equal(logs[1][name], logs[0][name])


@pytest.mark.mpi
def test_a_signal_that_one_rank_gets_ends_the_run_of_all_and_a_lost_rank_leaves_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    on_one = "if run.ranks.rank == 1: os.kill(os.getpid(), signal.{})"
    code, output = run_program(2, program("gl.ranks.mpi()", 9, on_one.format("SIGTERM"), 1), tmp_path)
    assert code != 0
    assert len(re.findall("^KeyboardInterrupt$", output, re.MULTILINE)) == 1, output
    assert "and saved; fit(..., resume=True) goes on" in output
    lost = program("gl.ranks.mpi()", 9, on_one.format("SIGKILL"), 3)
    code, output = run_program(2, lost, tmp_path, leaves_faults=True)
    assert code != 0
    assert len(re.findall(r"gradloom: rank 1 of 2 .* died", output)) == 1, output
    alone = tmp_path / "alone"
    alone.mkdir()
    expected = in_process(4, alone, capsys, monkeypatch)
    assert in_process(4, tmp_path, capsys, monkeypatch) == expected


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("spoils", "says"),
    [
        ("x[40, 2] = np.nan", r"FloatingPointError: the loss of step \d of epoch 1 is nan: rank [01]: .*batch.x h"),
        ("y[40] = 7", r"gradloom: rank [01] of 2 stopped: IndexError: .*; all ranks stop"),
    ],
)
def test_what_is_wrong_with_the_data_of_a_rank_is_said_once(spoils: str, says: str, tmp_path: Path):
    array, change = spoils[0], spoils[1:]
    text = program("gl.ranks.mpi()", 2).replace("batch = {", f'data["{array}"]{change}\nbatch = {{', 1)
    code, output = run_program(2, text, tmp_path)
    assert code != 0
    assert len(re.findall(says, output)) == 1, output


def test_one_rank_reads_and_evaluates_as_many_do():
    data = {"x": np.ones((19, 2), np.float32), "y": np.arange(19.0, dtype=np.float32)}
    batch = {"x": gl.spec((8, 2)), "y": gl.spec((8,))}

    def loss_fn(model, batch):
        return nn.mse_loss(model(batch["x"])[:, 0], batch["y"])

    step = gl.compile_step(nn.Linear(2, 1), loss_fn, gl.optim.SGD(0.0), batch, ranks=gl.ranks.one(), parts=4)
    assert step.ranks is gl.ranks.one()
    history = gl.fit(step, data, epochs=1, progress=False, validate=data)
    assert history["steps"] == [2]
    np.testing.assert_allclose(gl.evaluate(step, data)["loss"], history["val_loss"][0])
