"""A run as its callbacks see it."""

from __future__ import annotations

from typing import Any

from ..step.step import Step
from .history import History


class Run:
    """A run of `gl.fit` as it goes on: what is trained, how far it is, and what it gave."""

    def __init__(self, step: Step, epochs: int, history: History) -> None:
        self.step = step
        """What is trained."""
        self.ranks = step.ranks
        """Who trains it. A callback runs on every rank, and sees the same figures there; what should be done once, such
        as to print, is for `run.ranks.rank == 0`.
        """
        self.epochs = epochs
        """Epochs of the whole run."""
        self.history = history
        """The figures of the epochs that are done."""
        self.epoch = 0
        """The epoch that runs, from 0."""
        self.batch = 0
        """Steps of it that are done."""
        self.loss: Any = None
        """Of the last step."""
        self.metrics: Any = None
        """Of the last step, as the loss function returns them."""
        self.names: list[str] | None = None
        """Of the figures that each epoch will have, where they are known before the first."""
        self.figures: dict[str, Any] = {}
        """Of the last epoch that is done: means of loss and metrics, and, behind `val_`, those of the evaluation."""
        self.checkpoint: str | None = None
        """The file that the run goes on from where it is interrupted, if there is one."""
        self.stopped = ""
        """Why it ends before its last epoch, if it does."""

    def stop(self, reason: str = "stopped by a callback") -> None:
        """End the run when the step, or the epoch, is done that runs now."""
        self.stopped = reason
