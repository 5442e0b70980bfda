"""Runs of several processes by `mpiexec`, for tests of the marker `mpi`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gradloom.engine.ranks.launcher import packaged_file

SECONDS = 240
"""A run that takes longer has hung."""


def mpiexec() -> str:
    """The launcher; the test is skipped where there is none, or no mpi4py."""
    pytest.importorskip("mpi4py", reason="needs the extra mpi")
    found = packaged_file("mpiexec") or shutil.which("mpiexec")
    if found is None:
        pytest.skip("needs an mpiexec, as the extra mpi has one")
    return found


def launcher(count: int, *, leaves_faults: bool = False) -> list[str]:
    """The beginning of a command that starts `count` processes on the cores that there are. A launcher that
    `leaves_faults` to the ranks does not end the others when one dies.
    """
    found = mpiexec()
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if "Open MPI" in version:
        shared = ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
        return [found, *shared, *(["--enable-recovery"] if leaves_faults else []), "-n", str(count)]
    return [found, *(["-disable-auto-cleanup"] if leaves_faults else []), "-n", str(count)]


def run_ranks(count: int, *command: str, leaves_faults: bool = False, cwd: Path | None = None) -> tuple[int, str]:
    """The exit code and the output of `python *command` in `count` processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}  # Open MPI gives a terminal to ranks
    whole = [*launcher(count, leaves_faults=leaves_faults), sys.executable, *command]
    run = subprocess.run(
        whole, cwd=cwd, env=environment, timeout=SECONDS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return run.returncode, run.stdout


def run_program(count: int, program: str, folder: Path, *, leaves_faults: bool = False) -> tuple[int, str]:
    """The exit code and the output of a program, given as text, that `count` processes run in `folder`."""
    (folder / "program.py").write_text(program)
    return run_ranks(count, "program.py", leaves_faults=leaves_faults, cwd=folder)
