"""Ranks over MPI, by mpi4py, which is imported when they are asked for."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..tracing.numbers import as_real
from ..tracing.tracer import located
from .launcher import is_launched, launched_size, packaged_file
from .ranks import Ranks

_INSTALL = "pip install 'gradloom[mpi]'"
_ranks: _MpiRanks | None = None


def mpi(timeout: float | None = None) -> Ranks:
    """The ranks that `mpiexec` (or `srun`) started, this process being one of them.

    With a `timeout`, in seconds, a rank that does not come to where the others wait for so long is said to hang, and
    all stop; it must be longer than a step takes, and than compiling it. mpi4py is imported by this call, which
    initializes MPI. Each call gives the same ranks.

    Raises `ImportError` where mpi4py or a library of MPI is missing, and `RuntimeError` where the process was started
    by no launcher, or by that of another MPI.
    """
    global _ranks
    seconds = None if timeout is None else as_real(timeout)
    if timeout is not None and (seconds is None or not seconds > 0):
        raise ValueError(located(f"timeout is a number of seconds above 0, or None; got {timeout!r}"))
    if _ranks is None:
        _ranks = _MpiRanks(_imported().COMM_WORLD.Dup())
    _ranks.timeout = seconds
    return _ranks


def _imported() -> Any:
    """`mpi4py.MPI`, once it is seen that a launcher of the same MPI started this process."""
    if not is_launched():
        script = os.path.basename(sys.argv[0]) or "script.py"
        how = f"write mpiexec -n 2 python {script}; one process by itself is gl.ranks.one()"
        raise RuntimeError(located(f"gl.ranks.mpi() in a process that neither mpiexec nor srun started: {how}"))
    try:
        MPI = _module()
    except ImportError as error:
        raise ImportError(located(f"gl.ranks.mpi() needs mpi4py and a library of MPI ({error}): {_INSTALL}")) from error
    began, found = launched_size(), MPI.COMM_WORLD.size
    if found == 1 and began is not None and began > 1:
        library = MPI.Get_library_version().partition("\n")[0].strip()
        which = f"{began} processes were started, and each of them is the only one that its library of MPI sees"
        how = f"that is {library}, and the launcher is of another: start by its own mpiexec, or by srun --mpi=pmi2"
        raise RuntimeError(located(f"{which}; {how}"))
    return MPI


def _module() -> Any:
    """`mpi4py.MPI`, with the library that it finds, or else that of a package of pip's. Raises `ImportError`."""
    try:
        from mpi4py import MPI  # pyright: ignore[reportMissingImports]
    except RuntimeError as error:
        library = packaged_file(r"libmpi(\.so\.\d+|\.\d+\.dylib)")
        if library is None or "MPI4PY_LIBMPI" in os.environ:
            raise ImportError(str(error).partition("\n")[0]) from error
        os.environ["MPI4PY_LIBMPI"] = library
        from mpi4py import MPI  # pyright: ignore[reportMissingImports]
    return MPI


class _MpiRanks(Ranks):
    """The processes of MPI's world, with a communicator of their own: messages of others do not meet theirs."""

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator
        self.rank = int(communicator.rank)
        self.size = int(communicator.size)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        with self.waiting("a barrier"):
            self.communicator.Barrier()

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """The `value` that rank `root` gives."""
        with self.waiting("a broadcast"):
            return self.communicator.bcast(value if self.rank == root else None, root)

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, by rank."""
        with self.waiting("what the others give"):
            return self.communicator.allgather(value)
