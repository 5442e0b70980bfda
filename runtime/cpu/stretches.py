"""Stretches: launches that run one after the other, up to where a flag decides what runs next.

The launches of both branches of a `cond`, and those of the body of a `while_loop`, stand in the table of launches once.
The rows made here lead the driver through them. Known elsewhere as basic blocks and the control-flow graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .control_block import END, NO_FLAG

LaunchRow = tuple[int, int, int, int, int]
"""Tiles, first call, number of calls, iteration, inner iteration."""


@dataclass(frozen=True)
class ForkRow:
    """Where a flag decides: `flag` is the number of the argument that points to it.

    Where it is true, the stages `true` run, `again` and again as long as it is; where it is false, the stages `false`.
    """

    flag: int
    true: list[Stage]
    false: list[Stage]
    again: bool
    iteration: int = 0
    inner: int = 0


Stage = list[LaunchRow] | ForkRow
"""Launches that may run concurrently, or a fork."""


def in_iteration(stages: Sequence[Stage], iteration: int) -> list[Stage]:
    """Stages in an iteration of the loop around them."""
    return [
        [(*row[:3], iteration, row[4]) for row in stage]
        if isinstance(stage, list)
        else replace(
            stage,
            true=in_iteration(stage.true, iteration),
            false=in_iteration(stage.false, iteration),
            iteration=iteration,
        )
        for stage in stages
    ]


def in_inner_iteration(stages: Sequence[Stage], inner: int) -> list[Stage]:
    """Stages in an iteration of the loop around them, which is in another one."""
    return [
        [(*row[:4], inner) for row in stage]
        if isinstance(stage, list)
        else replace(
            stage, true=in_inner_iteration(stage.true, inner), false=in_inner_iteration(stage.false, inner), inner=inner
        )
        for stage in stages
    ]


class Stretches:
    """The rows of launches and stretches (see `Program`) for the stages of a program."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._launches: list[tuple[int, int, int, int, int, int]] = []
        self._rows: list[list[int]] = []
        self._begin()
        self._enter(stages)
        self._rows[-1][1] = len(self._launches)

    @property
    def launches(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """See `Program`."""
        return np.array(self._launches, np.int64).reshape(-1, 6)

    @property
    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """See `Program`."""
        return np.array(self._rows, np.int64).reshape(-1, 7)

    def _begin(self) -> int:
        """Ends the stretch that is being written, and begins another one; returns its number."""
        if self._rows:
            self._rows[-1][1] = len(self._launches)
        self._rows.append([len(self._launches), 0, NO_FLAG, END, END, 0, 0])
        return len(self._rows) - 1

    def _decide(self, fork: ForkRow) -> list[int]:
        """Lets the flag of a fork decide behind the stretch that is being written; returns its row."""
        row = self._rows[-1]
        row[2], row[5:] = fork.flag, (fork.iteration, fork.inner)
        return row

    def _enter(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if isinstance(stage, ForkRow):
                self._fork(stage)
            else:
                # The first launch of a stage waits for all before it: it has the barrier.
                for k, (tiles, first, count, iteration, inner) in enumerate(stage):
                    self._launches.append((tiles, int(k == 0), first, count, iteration, inner))

    def _fork(self, fork: ForkRow) -> None:
        before = self._decide(fork)
        before[3] = self._begin()
        self._enter(fork.true)
        end_of_true = self._decide(fork) if fork.again else self._rows[-1]
        end_of_true[3] = before[3]
        before[4] = self._begin()
        self._enter(fork.false)
        if fork.again:
            end_of_true[4] = before[4]
        else:
            end_of_false = self._rows[-1]
            end_of_true[3] = end_of_false[3] = self._begin()
