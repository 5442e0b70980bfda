"""Ranks over MPI, by mpi4py, which is imported when they are asked for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from ..tracing.numbers import as_real
from ..tracing.tracer import located
from .launcher import is_launched, launched_size, packaged_file
from .ranks import Ranks, is_of_all
from .watched import Watched

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
    _ranks.set_timeout(seconds)
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


def stop_all_ranks(error: BaseException, text: str, code: int) -> None:
    """Where several ranks run: end this process and the others, with one message. Else nothing happens."""
    if _ranks is not None and _ranks.watched is not None:
        _ranks.watched.stop_all(text, is_of_all(error), code)


def _usable() -> Iterable[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


_PACKAGES = ("gradloom", "numpy", "scipy", "numba", "llvmlite")
"""What the bits of a step may depend on."""


def versions() -> str:
    """The versions that all ranks must have in common."""
    named = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return ", ".join([*named, f"Python {platform.python_version()}"])


class _MpiRanks(Ranks):
    """The processes of MPI's world, with a communicator of their own: messages of others do not meet theirs."""

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator
        self.rank = int(communicator.rank)
        self.size = int(communicator.size)
        self.watched: Watched | None = None
        if self.size > 1:
            self.watched = Watched(self)
            self.agree(versions(), "version of a package")
            self.cores = self._cores()

    def _cores(self) -> int:
        """Cores for each rank: those that it may use, divided by the ranks of its machine that may use them too."""
        mine = frozenset(_usable())
        host = socket.gethostname()
        there = [cores for where, cores in self.gather((host, mine)) if where == host]
        sharing = sum(not mine.isdisjoint(cores) for cores in there)
        return min(self.gather(max(1, len(mine) // sharing)))

    def set_timeout(self, seconds: float | None) -> None:
        """Let ranks that do not come for so long be said to hang."""
        self.timeout = seconds
        if self.watched is not None:
            self.watched.set_timeout(seconds)

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """A block in which this rank waits for the others."""
        return super().waiting(what) if self.watched is None else self.watched.waiting(what)

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
