"""When the ranks of a run agree whether it goes on: a signal, or the word of a callback, may have come to one alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..ranks import Ranks

_SECONDS = 0.25
"""About as much time lies between two meetings."""
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Agreed:
    """What the ranks agree on: at least one of them wants it."""

    interrupted: bool
    """A signal came."""
    saves: bool
    """It is time for a checkpoint."""
    stopped: str
    """Why the run is to stop, if it is."""


class Meetings:
    """The meetings of `ranks`, after each step, or, unless `each_step`, after so many that they take no time."""

    def __init__(self, ranks: Ranks, each_step: bool) -> None:
        self._ranks = ranks
        self._each_step = each_step or ranks.size == 1
        self._steps = 0
        self._until = 1
        self._began = time.perf_counter()

    def is_due(self) -> bool:
        """Count a step; whether all ranks meet after it."""
        self._steps += 1
        return self._steps >= self._until

    def hold(self, interrupted: bool, saves: bool = False, stopped: str = "") -> Agreed:
        """What all agree on, each of whom says what it wants. All ranks call this."""
        if self._ranks.size == 1:
            return Agreed(interrupted, saves, stopped)
        now = time.perf_counter()
        fitting = round(_SECONDS * max(self._steps, 1) / max(now - self._began, 1e-9))
        wanted = self._ranks.gather((interrupted, saves, stopped, fitting))
        self._until = 1 if self._each_step else min(max(wanted[0][3], 1), _MOST_STEPS)
        self._steps, self._began = 0, now
        signals, saving, reasons, _ = zip(*wanted)
        return Agreed(any(signals), any(saving), next(filter(None, reasons), ""))
