"""Ranks in lockstep: what the references of collectives exchange, and the interpreter over a list of ranks.

A rank is one of several processes that run the same graph, each on its own share of the batch. Here each is a thread.
Known elsewhere as SPMD (single program, multiple data).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .types import Array
from .users_line import located

if TYPE_CHECKING:
    from .graph import Graph


class _Meeting:
    """Where the ranks of one run meet: each brings an array, and sees those of all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.brought: list[Array] = [np.zeros(())] * size
        self.barrier = threading.Barrier(size)

    def exchange(self, rank: int, array: Array) -> list[Array]:
        self.brought[rank] = array
        self.barrier.wait()
        found = list(self.brought)
        self.barrier.wait()  # nobody brings the next one before all have seen this
        return found


class _Here(threading.local):
    meeting: _Meeting | None = None
    rank: int = 0


_here = _Here()


def rank_here() -> int:
    """The rank of the interpreter that calls."""
    return _here.rank


def of_all_ranks(array: Array, ranks: int) -> list[Array]:
    """The array that each of the ranks brings, in their order. Raises `ValueError` where not so many run."""
    meeting = _here.meeting
    if meeting is None and ranks == 1:
        return [array]
    if meeting is None or meeting.size != ranks:
        there = 1 if meeting is None else meeting.size
        raise ValueError(
            located(f"a collective of {ranks} ranks, of which {there} run; write interpret_ranks(graph, inputs)")
        )
    return meeting.exchange(_here.rank, array)


def tree_sum(terms: Sequence[Array]) -> Array:
    """The sum of a power of two of arrays in the order of one binary tree: neighbours first."""
    sums = list(terms)
    while len(sums) > 1:
        sums = [np.asarray(a + b, dtype=a.dtype) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return np.array(sums[0])


def interpret_ranks(graph: Graph, inputs: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
    """The outputs of `graph` on each of several ranks, as `interpret` gives them; `inputs` are those of each rank.

    Raises what `interpret` does.
    """
    from .interpret import interpret

    meeting = _Meeting(len(inputs))
    results: list[tuple[Array, ...] | None] = [None] * len(inputs)
    errors: list[BaseException] = []

    def run(rank: int) -> Callable[[], None]:
        def of_rank() -> None:
            _here.meeting, _here.rank = meeting, rank
            try:
                results[rank] = interpret(graph, *inputs[rank])
            except threading.BrokenBarrierError:
                pass  # another one failed
            except BaseException as error:
                errors.append(error)
                meeting.barrier.abort()

        return of_rank

    threads = [threading.Thread(target=run(rank)) for rank in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [result for result in results if result is not None]
