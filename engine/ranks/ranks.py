"""The processes of a run: which of them this one is, and what they say to each other in Python."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from ...ir.printable import brief
from ..tracing.errors import located

_LONGEST = 200


class RanksError(RuntimeError):
    """The ranks of a run cannot go on together: the message names the rank, and the reason."""

    of_all_ranks = True


_E = TypeVar("_E", bound=BaseException)


def of_all(error: _E) -> _E:
    """An error that all ranks raise together, so that one of them speaks of it."""
    error.of_all_ranks = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


def is_of_all(error: BaseException) -> bool:
    """Whether all ranks raise an error together."""
    return bool(getattr(error, "of_all_ranks", False))


class Ranks:
    """The processes that train one model together, of which this is number `rank` of `size`.

    They come from `gl.ranks.mpi()`, or are this process alone: `gl.ranks.one()`. All methods but `waiting` are
    collective: every rank calls them, in the same order.
    """

    rank: int = 0
    """The number of this process, from 0."""
    size: int = 1
    """How many there are."""
    communicator: Any = None
    """That of mpi4py, which belongs to these ranks alone; `None` of one process that did not ask for MPI."""
    timeout: float | None = None
    """Seconds after which a rank that does not come is said to hang; `None` waits for ever."""

    cores: int | None = None
    """Cores for each rank, as many on all, where several ranks share those of a machine; `None` of one by itself. A
    step takes so many threads unless it is told otherwise.
    """

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """The `value` that rank `root` gives, any object that can be pickled; those of the others are not looked at."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, by rank, on all of them: objects that can be pickled."""
        return [value]

    def agree(self, value: Hashable, what: str) -> None:
        """Raise `RanksError` on all ranks where they do not give the same `value`, such as a hash of `what`: it names
        the ranks that differ.
        """
        check_agreement(self.gather(value), what)

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """A block in which this rank waits for the others, with what it does in words."""
        return contextlib.nullcontext()

    def __repr__(self) -> str:
        return f"<rank {self.rank} of {self.size}>"


class _One(Ranks):
    """This process alone."""


_ONE = _One()


def one() -> Ranks:
    """This process as the only rank: the same bits as of many, and no MPI."""
    return _ONE


def check_agreement(values: Sequence[Hashable], what: str) -> None:
    """Raise `RanksError` that names the ranks which do not have the value that most have."""
    ((common, count), *others) = Counter(values).most_common()
    if not others:
        return
    if count == others[0][1]:
        common = values[0]
    those = [rank for rank, value in enumerate(values) if value != common]
    first = those[0]
    message = f"{in_words(those)} another {what} than {in_words(_rest(values, those), with_verb=False)}"
    raise RanksError(located(f"{message}: {brief(str(values[first]), _LONGEST)}, not {brief(str(common), _LONGEST)}"))


def _rest(values: Sequence[Hashable], those: Sequence[int]) -> list[int]:
    return [rank for rank in range(len(values)) if rank not in those]


def in_words(ranks: Sequence[int], with_verb: bool = True) -> str:
    """Ranks by number, as "rank 1 has", or "ranks 0, 2 and 3 have"; without the verb if it is not wanted."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}" + " has" * with_verb
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}" + " have" * with_verb
