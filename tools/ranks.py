"""The ranks of a command: those of the `mpiexec` or `srun` that started it, or this process alone."""

from __future__ import annotations

from ..engine.ranks import Ranks, mpi, one
from ..engine.ranks.launcher import is_launched, launched_size
from ..engine.step.data_parallel import Shard, near_powers, parts_refusal
from .command_error import CommandError, OfAllRanks

KINDS = ("mpi", "one")


def ranks_of_command(kind: str | None, timeout: float | None = None) -> Ranks | None:
    """The ranks of this kind; by default those of MPI where a launcher started several processes, else `None`.

    Raises `CommandError` where they cannot be had.
    """
    if kind == "one":
        return one()
    if kind is None and (launched_size() or 1) == 1:
        return None
    if not is_launched():
        how = "write mpiexec -n 2 gradloom train ...; this process by itself is --ranks one"
        raise CommandError(f"--ranks mpi in a process that neither mpiexec nor srun started: {how}")
    try:
        ranks = mpi(timeout)
    except (ImportError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    if ranks.size & (ranks.size - 1):
        what = f"{ranks.size} processes were started, and ranks are a power of two"
        raise OfAllRanks(ranks, f"{what}: start {near_powers(ranks.size)}, as mpiexec -n 2 does")
    return ranks


def check_parts(ranks: Ranks | None, parts: int | None) -> None:
    """Raise `CommandError` where these ranks cannot share a batch in so many parts."""
    if ranks is None or parts is None:
        return
    refused = parts_refusal(parts, ranks.size, "--parts ")
    if refused is not None:
        raise OfAllRanks(ranks, refused)


def shard_of(name: str | None) -> Shard:
    """What `--shard` names."""
    match name:
        case "state" | "gradients" | "parameters":
            return name
        case _:
            return None


def parts_to_go_on(began: int | None, given: int | None) -> int | None:
    """The parts of a batch in a run that goes on. Raises `CommandError` where it began with others."""
    if began is not None and given not in (None, began):
        raise CommandError(f"the run to resume began with {began} parts; it cannot go on with --parts {given}")
    return given if began is None else began


def ranks_in_words(ranks: Ranks, parts: int) -> str:
    """Who trains, for the output of a command."""
    if ranks.size == 1:
        return f"one rank, which computes a batch in {parts} parts, as any number of ranks does"
    return f"{ranks.size} ranks by MPI, each of which computes {parts // ranks.size} of the {parts} parts of a batch"
