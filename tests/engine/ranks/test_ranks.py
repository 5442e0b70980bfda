"""Ranks: one process by itself, and several over MPI."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gradloom as gl
import pytest
from gradloom.engine.ranks.launcher import is_launched, launched_size
from gradloom.engine.ranks.ranks import check_agreement
from mpi_runs import run_program


def test_one_rank_is_this_process_and_needs_no_mpi():
    ranks = gl.ranks.one()
    assert (ranks.rank, ranks.size, ranks.communicator, ranks.timeout) == (0, 1, None, None)
    ranks.barrier()
    assert ranks.broadcast({"a": 1}) == {"a": 1}
    assert ranks.gather("x") == ["x"]
    ranks.agree("hash", "graph")
    with ranks.waiting("nobody"):
        pass
    assert repr(ranks) == "<rank 0 of 1>"


def test_nothing_of_mpi_is_imported_without_being_asked_for():
    code = "import gradloom, sys; gradloom.ranks.one(); assert not any('mpi4py' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, 2),
        ({"SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "16"}, None),
        ({"PMI_SIZE": "many"}, None),
        ({}, None),
    ],
)
def test_launchers_say_how_many_processes_they_started(environment: dict[str, str], size: int | None):
    assert launched_size(environment) == size
    assert is_launched(environment) == (size is not None)


def test_a_process_that_no_launcher_started_is_told_how_to_start(monkeypatch: pytest.MonkeyPatch):
    for name in ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    said = r"neither mpiexec nor srun started: write mpiexec -n 2 .*gl\.ranks\.one\(\)"
    with pytest.raises(RuntimeError, match=said):
        gl.ranks.mpi()


def test_without_mpi4py_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"pip install 'gradloom\[mpi\]'"):
        gl.ranks.mpi()


@pytest.mark.parametrize("timeout", [0, -1.0, "60", True, float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: object):
    with pytest.raises(ValueError, match="timeout is a number of seconds above 0, or None"):
        gl.ranks.mpi(timeout)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "rank 1 has another graph than rank 0: b, not a"),
        (["a", "b", "b", "b"], "rank 0 has another graph than ranks 1, 2 and 3: a, not b"),
        (["a", "a", "b", "c"], "ranks 2 and 3 have another graph than ranks 0 and 1: b, not a"),
        (["a", "b", "a", "b"], "ranks 1 and 3 have another graph than ranks 0 and 2: b, not a"),
    ],
)
def test_ranks_that_differ_are_named(values: list[str], message: str):
    with pytest.raises(gl.ranks.RanksError) as raised:
        check_agreement(values, "graph")
    assert str(raised.value).startswith(f"{message}, at ")


PROGRAM = """
import gradloom as gl

ranks = gl.ranks.mpi(timeout=60)
assert ranks is gl.ranks.mpi(timeout=100) and ranks.timeout == 100
assert ranks.broadcast({"from": ranks.rank}, root=ranks.size - 1) == {"from": ranks.size - 1}
assert ranks.gather(ranks.rank**2) == [rank**2 for rank in range(ranks.size)]
ranks.barrier()
ranks.agree(7, "number")
try:
    ranks.agree("b" if ranks.rank == ranks.size - 1 else "a", "graph")
except gl.ranks.RanksError as error:
    assert str(error).startswith(f"rank {ranks.size - 1} has another graph than rank")
else:
    assert ranks.size == 1
print(f"rank {ranks.rank} of {ranks.size} is done", flush=True)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("count", [1, 4])
def test_processes_of_mpiexec_are_ranks_that_talk(count: int, tmp_path: Path):
    code, output = run_program(count, PROGRAM, tmp_path)
    assert code == 0, output
    found = re.findall(r"rank \d of \d is done", output)
    assert sorted(found) == [f"rank {rank} of {count} is done" for rank in range(count)]
