"""`mpiexec -n 2 gradloom train`: one run, one voice, a checkpoint that one process goes on from to the same bits."""

from __future__ import annotations

import threading
from pathlib import Path

import gradloom as gl
import numpy as np
import pytest
from gradloom.tools.cli import main
from gradloom.tools.command_error import CommandError
from gradloom.tools.ranks import check_parts
from mpi_runs import run_ranks
from thread_ranks import ThreadRanks

SMALL = ["train", "--batch-size", "64", "--threads", "1"]


@pytest.mark.mpi
def test_processes_of_mpiexec_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    options = [*SMALL, "--epochs", "1", "--shard", "parameters", "--out", "run.safetensors"]
    code, output = run_ranks(2, "-m", "gradloom", *options, cwd=tmp_path)
    assert code == 0, output
    assert output.count("2 ranks by MPI, each of which computes 4 of the 8 parts of a batch\n") == 1
    assert output.count("epoch 1/1") == output.count("saved run.safetensors") == 1
    assert main(["train", "--resume", "run.safetensors", "--epochs", "2", "--threads", "1"]) == 0
    assert "one rank, which computes a batch in 8 parts, as any number of ranks does" in capsys.readouterr().out
    assert main([*SMALL, "--epochs", "2", "--ranks", "one", "--out", "one.safetensors"]) == 0
    one, many = gl.load_arrays("one.safetensors"), gl.load_arrays("run.safetensors")
    assert one.keys() == many.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(many[name], array)


@pytest.mark.mpi
def test_what_is_wrong_with_a_command_is_said_once(tmp_path: Path):
    code, output = run_ranks(2, "-m", "gradloom", "train", "--batch-size", "33", "--ranks", "mpi", cwd=tmp_path)
    assert code != 0
    (line,) = (line for line in output.splitlines() if line.startswith("gradloom: "))
    assert "a batch of 33 rows does not fall into 8 equal parts" in line
    assert "Traceback" not in output


def test_shards_are_for_ranks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for option in (("--shard", "state"), ("--parts", "4"), ("--timeout", "60")):
        assert main(["train", *option]) == 2
        assert f"{option[0]} is for several ranks" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["digits", "lstm"])
def test_a_run_has_the_parts_that_it_is_given_and_goes_on_with_these(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat; the dog sat on the log.\n" * 200)
    options = ["--threads", "1", "--out", "run.safetensors"]
    options += ["--data", "text.txt"] if recipe == "lstm" else []
    length = ["--steps", "1"] if recipe == "lstm" else ["--epochs", "1"]
    begins = ["train", recipe, "--batch-size", "32", "--ranks", "one", "--parts", "2", *length, *options]
    assert main(begins) == 0
    assert "computes a batch in 2 parts" in capsys.readouterr().out
    resumed = ["train", recipe, "--resume", "run.safetensors", *options]
    assert main([*resumed, "--ranks", "one", "--parts", "4"]) == 2
    assert "began with 2 parts; it cannot go on with --parts 4" in capsys.readouterr().err
    assert main(resumed) == 0
    assert "computes a batch in 2 parts" in capsys.readouterr().out


def test_a_command_without_a_launcher_says_how_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert main(["train", "--ranks", "mpi"]) == 2
    said = "write mpiexec -n 2 gradloom train ...; this process by itself is --ranks one"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["digits", "lstm"])
def test_parts_that_ranks_cannot_have_are_said_in_the_words_of_the_command(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat; the dog sat on the log.\n" * 200)
    more = ["--data", "text.txt", "--steps", "1"] if recipe == "lstm" else []
    assert main(["train", recipe, *more, "--ranks", "one", "--parts", "6"]) == 2
    assert capsys.readouterr().err == "gradloom: --parts is a power of two, got 6; write --parts 4 or 8\n"


def test_fewer_parts_than_ranks_are_refused_and_others_are_not():
    many = ThreadRanks(0, [None] * 4, threading.Barrier(4))
    with pytest.raises(CommandError, match=r"4 ranks cannot share a batch in 1 part, .*; write --parts 4, or start 1"):
        check_parts(many, 1)
    for ranks, parts in ((many, 4), (many, 16), (many, None), (None, 6), (gl.ranks.one(), 1)):
        check_parts(ranks, parts)


@pytest.mark.mpi
def test_a_number_of_processes_that_is_no_power_of_two_is_refused_in_one_line(tmp_path: Path):
    code, output = run_ranks(3, "-m", "gradloom", "train", "--batch-size", "48", cwd=tmp_path)
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith("gradloom: 3 processes were started, and ranks are a power of two: start 2 or 4")
