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


def run_ranks(count: int, *command: str, options: tuple[str, ...] = (), cwd: Path | None = None) -> tuple[int, str]:
    """The exit code and the output of `python *command` in `count` processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [mpiexec(), *options, "-n", str(count), sys.executable, *command]
    run = subprocess.run(
        whole, cwd=cwd, env=environment, timeout=SECONDS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return run.returncode, run.stdout


def run_program(count: int, program: str, folder: Path, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """The exit code and the output of a program, given as text, that `count` processes run in `folder`."""
    (folder / "program.py").write_text(program)
    return run_ranks(count, "program.py", options=options, cwd=folder)
