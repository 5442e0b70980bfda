"""What machine code needs to send messages to other ranks: addresses and handles of MPI, in a block of words.

The library is the one that mpi4py has loaded. Its functions are found by their names, the handles are those that
mpi4py's objects hold: ints of MPICH, pointers of Open MPI.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from typing import Any

import numpy as np

from ...passes.graph.rewrite import all_nodes
from ...passes.memory.plan import Plan
from ..lowering import rank_messages as at

_LATER_SECONDS = 10
"""A program waits so much longer than the ranks' `timeout`, after which others can say which rank hangs, and where."""
_MOST_TAGS = 1 << 14
"""MPI has tags up to 32,767 at least; programs take them in turn."""
_next_tag: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def ranks_block(plan: Plan, ranks: Any) -> RanksBlock | None:
    """The block of a plan with collectives; None for any other. `ranks` has `rank`, `size`, mpi4py's `communicator` and
    a `timeout`; None where a plan is not to run with others.
    """
    tags = [node.attrs.get("tag", 0) for node in all_nodes(plan.graph) if node.op.on_ranks is not None]
    if not tags:
        return None
    assert ranks is not None, "a plan with collectives, and no ranks"
    return RanksBlock(ranks, 1 + max(tags))


class RanksBlock:
    """The block of a program that has so many tags."""

    def __init__(self, ranks: Any, tags: int) -> None:
        self._ranks = ranks
        self._words = np.zeros(at.RANKS_WORDS + 8, np.int64)
        self._words = self._words[-self._words.ctypes.data % 64 // 8 :][: at.RANKS_WORDS]
        self.address = self._words.ctypes.data
        self._words[at.RANK], self._words[at.SIZE] = ranks.rank, ranks.size
        if ranks.size > 1:
            self._fill(ranks.communicator, tags)
            first = _next_tag.get(ranks, 0)
            first = 0 if first + tags > _MOST_TAGS else first
            _next_tag[ranks] = first + tags
            self._words[at.FIRST_TAG] = first
            self._words[at.CLOCK_ID] = time.CLOCK_MONOTONIC
            self._words[at.TIMEOUT_SECONDS] = 0 if ranks.timeout is None else round(ranks.timeout) + _LATER_SECONDS

    def _fill(self, communicator: Any, tags: int) -> None:
        from mpi4py import MPI  # pyright: ignore[reportMissingImports]

        words = self._words
        library = ctypes.CDLL(MPI.__file__)  # a name is looked up in all that it was linked against
        for place, name in ((at.SEND, "MPI_Isend"), (at.RECEIVE, "MPI_Irecv"), (at.TEST, "MPI_Testall")):
            words[place] = ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
        words[at.COMMUNICATOR] = _signed(MPI._handleof(communicator))
        for size, datatype in ((1, MPI.INT8_T), (2, MPI.INT16_T), (4, MPI.INT32_T), (8, MPI.INT64_T)):
            words[at.DATATYPES + size] = _signed(MPI._handleof(datatype))
        words[at.NO_STATUSES] = _statuses_ignore(MPI)
        nbytes, count = MPI._sizeof(MPI.Request), 2 * (communicator.size - 1)
        words[at.REQUEST_BYTES], words[at.TAG_REQUESTS] = nbytes, count
        null = MPI._handleof(MPI.REQUEST_NULL).to_bytes(nbytes, "little")
        self._requests = ctypes.create_string_buffer(null * (tags * count), nbytes * tags * count)
        words[at.REQUESTS] = ctypes.addressof(self._requests)

    @property
    def bytes_sent(self) -> int:
        """Bytes sent to other ranks so far."""
        return int(self._words[at.BYTES_SENT])

    @property
    def messages_sent(self) -> int:
        """Messages sent to other ranks so far."""
        return int(self._words[at.MESSAGES_SENT])


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _statuses_ignore(MPI: Any) -> int:
    """The value of `MPI_STATUSES_IGNORE`: 1 where handles are ints, as in MPICH, 0 where they are pointers."""
    return 1 if MPI._sizeof(MPI.Comm) == 4 else 0
