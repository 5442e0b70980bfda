"""Why the loss of a step was not finite: the epoch is run again up to it, and that step op by op."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import optree

from ...ir import Array
from ..data.loader import Loader
from ..step.step import Step

_MOST_BYTES = 256 << 20
"""Parameters and state are copied at the beginning of an epoch where they are no more than this."""

_ADVICE = "compile the step with check_finite=True and run it again, which names the operation that made it"


class FirstBadStep:
    """Copies of what a step holds, as it was when a part of an epoch began."""

    def __init__(self, step: Step, loader: Loader) -> None:
        self._step = step
        self._loader = loader
        held = sum(array.nbytes for array in step._carried())
        self._kept = loader.repeatable and held <= _MOST_BYTES
        self._copies: list[Array] = []
        self._begin = (0, 0)

    def begin(self, epoch: int, batch: int) -> None:
        """Copy what the step holds before this batch."""
        if self._kept:
            self._copies = [array.copy() for array in self._step._carried()]
            self._begin = (epoch, batch)

    def _put_back(self) -> None:
        def change() -> None:
            for array, before in zip(step._carried(), self._copies):
                array[...] = before
            step._rates.take_up(step._rates.given, {})  # which count the updates themselves

        step = self._step
        step._current().change(change)

    def explain(self, batch: int, last: Any) -> str:
        """What made the loss of this batch of the epoch, `last`, no finite number.

        Where the epoch can be run again, the step is then as it was before that.
        """
        if not self._copies:
            return self._not_finite_in(last) or _ADVICE
        self._put_back()
        epoch, start = self._begin
        for i, given in enumerate(self._loader.epoch(epoch, start), start):
            if i == batch:
                why = self._step.first_nonfinite(given)
                return f"{why}; the step is as it was before that" if why else _ADVICE
            self._step(given)
        return _ADVICE


    def _not_finite_in(self, batch: Any) -> str:
        """Which array of a batch holds a NaN or an infinity, and on which rank."""
        said = self._step.ranks.gather(_not_finite_in(batch))
        alone = len(said) == 1
        return next((why if alone else f"rank {rank}: {why}" for rank, why in enumerate(said) if why), "")


def _not_finite_in(batch: Any) -> str:
    """Which array of a batch holds a NaN or an infinity; "" where none does."""
    for path, leaf in zip(*optree.tree_flatten_with_path(cast(Any, batch))[:2]):
        array = np.asarray(leaf)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0]
            return f"{'.'.join(map(str, ('batch', *path)))} holds {array[tuple(where)]} at {where.tolist()}"
    return ""
