"""Models of characters that several ranks train: the bits of one process, and one voice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradloom.tools.cli import main
from mpi_runs import run_program, run_ranks

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 40

PROGRAM = """
import hashlib, os, signal, sys

import gradloom as gl
from gradloom.engine.fit import meetings
from gradloom.engine.fit.interruptions import Interruptions
from gradloom.tools.recipes.characters import train_characters
from gradloom.tools.recipes.gpt import Settings as GPT
from gradloom.tools.recipes.lstm import Settings as LSTM

SMALL = dict(context=16, batch_size=8, warm_up=5)
TEXT = "the cat sat on the mat; the dog sat on the log.\\n" * 40
STEPS, STOPS, ranks = {steps}, {stops}, {ranks}
meetings._SECONDS = 0.0  # after each step


def stop(progress):
    if progress.step == STOPS and ranks.rank == ranks.size - 1:
        os.kill(os.getpid(), signal.SIGTERM)


gpt, lstm = GPT(width=16, heads=2, layers=1, dropout=0.1, **SMALL), LSTM(width=8, hidden=16, dropout=0.1, **SMALL)
for kind, shard in ((gpt, {gpt}), (lstm, {lstm})):
    path = f"{{kind.name}}.safetensors"
    options = dict(threads=1, ranks=ranks, out=path, resume=path if {resume} else None, on_progress=stop)
    try:
        with Interruptions() as came:
            trained = train_characters(TEXT, kind, STEPS, shard=shard, interruptions=came, **options)
    except KeyboardInterrupt:
        continue
    digest = hashlib.sha256()
    for name, array in sorted({{**trained.step.parameters(), **trained.step.state()}}.items()):
        digest.update(array.tobytes())
    judged = trained.held_out()
    text = trained.sample(20) if trained.writes else ""
    if ranks.rank == 0:
        # In one write, so that what others print stands on other lines.
        sys.stdout.write(f"{{kind.name}} {{digest.hexdigest()}} {{judged!r}} {{text!r}}\\n")
"""


def program(
    ranks: str,
    stops: int = 0,
    gpt: str | None = None,
    lstm: str | None = None,
    resume: bool = False,
    steps: int = 12,
) -> str:
    return PROGRAM.format(ranks=ranks, stops=stops, gpt=repr(gpt), lstm=repr(lstm), resume=resume, steps=steps)


def figures(output: str) -> list[str]:
    return re.findall(r"^(?:gpt|lstm) [0-9a-f]{64} .*", output, re.MULTILINE)


@pytest.mark.mpi
def test_any_number_of_ranks_trains_a_model_of_text_to_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    monkeypatch.chdir(alone)
    exec(compile(program("gl.ranks.one()"), "program.py", "exec"), {"__name__": "of_one"})
    expected = figures(capsys.readouterr().out)
    assert len(expected) == 2
    code, output = run_program(4, program("gl.ranks.mpi()", 6, "gradients", "state"), together)
    assert code == 0, output
    assert not figures(output)  # it was interrupted
    code, output = run_program(2, program("gl.ranks.mpi()", 0, "parameters", None, resume=True), together)
    assert code == 0, output
    assert figures(output) == expected


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one process has after 100 steps."""
    code, output = run_program(1, program("gl.ranks.one()", steps=100), tmp_path_factory.mktemp("one"))
    assert code == 0, output
    assert len(figures(output)) == 2
    return figures(output)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("shard", [None, "state", "gradients", "parameters"])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_hundred_steps_with_dropout_have_the_same_bits(
    ranks: int, shard: str | None, of_one_process: list[str], tmp_path: Path
):
    code, output = run_program(ranks, program("gl.ranks.mpi()", gpt=shard, lstm=shard, steps=100), tmp_path)
    assert code == 0, output
    assert figures(output) == of_one_process


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(None, "parameters"), ("parameters", "state"), ("gradients", None)])
def test_a_hundred_steps_that_four_ranks_began_and_two_ended_have_the_same_bits(
    before: str | None, after: str | None, of_one_process: list[str], tmp_path: Path
):
    code, output = run_program(4, program("gl.ranks.mpi()", 37, before, before, steps=100), tmp_path)
    assert code == 0, output
    assert not figures(output)  # it was interrupted
    code, output = run_program(2, program("gl.ranks.mpi()", 0, after, after, resume=True, steps=100), tmp_path)
    assert code == 0, output
    assert figures(output) == of_one_process


@pytest.mark.mpi
def test_the_command_trains_a_model_of_text_by_all_processes_of_mpiexec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["train", "lstm", "--data", "text.txt", "--batch-size", "8", "--threads", "1", "--out", "run.safetensors"]
    code, output = run_ranks(2, "-m", "gradloom", *command, "--steps", "1", cwd=tmp_path)
    assert code == 0, output
    assert output.count("2 ranks by MPI, each of which computes 4 of the 8 parts of a batch\n") == 1
    assert output.count("saved run.safetensors; it writes:\n") == output.count("held-out text: ") == 1
    assert main(["train", "--resume", "run.safetensors", "--data", "text.txt", "--threads", "1", "--steps", "2"]) == 0
    assert "one rank, which computes a batch in 8 parts" in capsys.readouterr().out


@pytest.mark.mpi
def test_ranks_agree_how_many_steps_fit_the_minutes(tmp_path: Path):
    program = """
import gradloom as gl
from gradloom.tools.recipes.characters import train_characters
from gradloom.tools.recipes.lstm import Settings

ranks = gl.ranks.mpi()
small = Settings(width=8, hidden=16, context=16, batch_size=8, warm_up=5)
trained = train_characters("abc\\n" * 200, small, minutes=0.01 * (1 + ranks.rank), ranks=ranks, threads=1)
print(f"{trained.step.steps} steps\\n", end="", flush=True)
"""
    code, output = run_program(2, program, tmp_path)
    assert code == 0, output
    steps = re.findall(r"(\d+) steps", output)
    assert len(steps) == 2
    assert steps[0] == steps[1]


@pytest.mark.mpi
def test_ranks_that_read_other_texts_are_named(tmp_path: Path):
    program = """
import gradloom as gl
from gradloom.tools.recipes.characters import train_characters
from gradloom.tools.recipes.lstm import Settings

ranks = gl.ranks.mpi()
train_characters("abc\\n" * (200 + ranks.rank), Settings, 1, ranks=ranks)
"""
    code, output = run_program(2, program, tmp_path)
    assert code != 0
    assert output.count("RanksError: rank 1 has another text than rank 0") == 1, output


@pytest.mark.mpi
def test_what_is_wrong_with_a_run_of_text_is_said_once(tmp_path: Path):
    (tmp_path / "text.txt").write_text(TEXT)
    wrong = (["--batch-size", "9"], "a batch of 9 rows does not fall into 8 equal parts")
    code, output = run_ranks(2, "-m", "gradloom", "train", "gpt", "--data", "text.txt", *wrong[0], cwd=tmp_path)
    assert code != 0
    (line,) = (line for line in output.splitlines() if line.startswith("gradloom: "))
    assert wrong[1] in line
    assert "Traceback" not in output
