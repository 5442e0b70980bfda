"""When a run saves its checkpoint, and what becomes of a save that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from ...ir import is_float
from ..ranks import RanksError
from ..ranks.ranks import is_of_all
from ..saving.checkpoint_file import CheckpointError, check_savable
from ..step.step import Step

SECONDS = 180.0
"""A checkpoint is written after so long at the latest."""

_RETRY_SECONDS = 30.0
_LAST_TRIES = 3
_LAST_PAUSE_SECONDS = 1.0
_HEADER_BYTES = 2**12


class Saves:
    """The checkpoint of a run at `path`, with the metadata that `metadata` returns at the time.

    If it cannot be written, `say` reports that, and it is tried again soon. Raises `CheckpointError` where it is known
    already that none can be written.
    """

    def __init__(
        self, step: Step, path: str, metadata: Callable[[], Mapping[str, str]], say: Callable[[str], None]
    ) -> None:
        held = step.report.parameter_bytes + step.report.state_bytes
        check_savable(path, held // step.ranks.size + _HEADER_BYTES)
        self._step = step
        self._path = path
        self._metadata = metadata
        self._say = say
        self._begun = step.steps
        self._saved: tuple[int, Mapping[str, str]] | None = None
        self._due = time.monotonic() + SECONDS

    @property
    def nothing_to_save(self) -> bool:
        """Whether no step was done in this process."""
        return self._step.steps == self._begun

    @property
    def is_due(self) -> bool:
        """Whether the last time is long ago."""
        return time.monotonic() >= self._due

    def save(self) -> bool:
        """Save, unless that is done. Whether it succeeded; if not, the reason is reported."""
        try:
            self._save()
        except CheckpointError as error:
            self._due = time.monotonic() + _RETRY_SECONDS
            self._say(f"{error}; the run goes on, and tries again")
            return False
        return True

    def save_at_last(self) -> None:
        """Save, with a few tries. Raises `CheckpointError` if none succeeds."""
        for _ in range(_LAST_TRIES - 1):
            try:
                self._save()
                break
            except CheckpointError as error:
                self._say(f"{error}; trying again")
                time.sleep(_LAST_PAUSE_SECONDS)
        self._save()

    def save_before(self, error: BaseException) -> None:
        """Save before `error` ends the run, and note with it what came of that. Nothing is saved where no step
        was done, nor where a rank may be alone with the error: all save together; nor what is not finite, over what
        was.
        """
        together = self._step.ranks.size == 1 or (is_of_all(error) and not isinstance(error, RanksError))
        if self.nothing_to_save or not together or isinstance(error, CheckpointError):
            return
        if isinstance(error, FloatingPointError) and not self._is_finite():
            error.add_note(f"what was trained is not finite any more: {self._path} is as it was before")
            return
        try:
            self.save_at_last()
        except CheckpointError as failure:
            error.add_note(str(failure))
        else:
            error.add_note(f"what was trained was saved in {self._path}")

    def _is_finite(self) -> bool:
        """Whether all that the step holds is, on all ranks."""
        held = map(np.asarray, self._step._carried())
        mine = all(np.isfinite(array).all() for array in held if is_float(array.dtype))
        return all(self._step.ranks.gather(bool(mine)))

    def _save(self) -> None:
        # Rank 0 writes what it says; what the others say may differ in seconds.
        state = self._step.steps, self._step.ranks.broadcast(self._metadata())
        if state != self._saved:
            self._step.save(self._path, state[1])
            self._saved = state
        self._due = time.monotonic() + SECONDS
