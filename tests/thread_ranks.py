"""Ranks that are threads of one process, for tests of what ranks do together in Python."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import gradloom as gl
from gradloom.engine.ranks.ranks import is_of_all

T = TypeVar("T")
SECONDS = 60


class ThreadRanks(gl.ranks.Ranks):
    """One of several ranks that share a board, on which each writes what it gives."""

    def __init__(self, rank: int, board: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(board)
        self._board, self._barrier = board, barrier

    def barrier(self) -> None:
        self._barrier.wait(SECONDS)

    def gather(self, value: Any) -> list[Any]:
        self._board[self.rank] = value
        self.barrier()
        found = list(self._board)
        self.barrier()
        return found

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return self.gather(value)[root]


def on_ranks(size: int, run: Callable[[ThreadRanks], T]) -> list[T | Exception]:
    """What `run` returns, or raises, on each of so many ranks."""
    board: list[Any] = [None] * size
    barrier = threading.Barrier(size)

    def one(rank: int) -> T | Exception:
        try:
            return run(ThreadRanks(rank, board, barrier))
        except Exception as error:
            if not is_of_all(error):
                barrier.abort()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
