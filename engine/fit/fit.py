"""`fit`: epochs of training, evaluated, logged and saved as they go."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from ...ir.printable import printable_lines
from ..data.loader import Loader
from ..data.prefetch import prefetched_if_slow
from ..ranks.ranks import of_all
from ..saving.checkpoint_file import CheckpointError, open_checkpoint
from ..saving.sharded_file import checkpoint_exists
from ..step.step import Step
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from .batches_of import batches_of, batches_to_train
from .callbacks import Callback, Callbacks, EarlyStopping, as_callbacks
from .evaluate import Evaluator, Metrics, evaluator_of
from .first_bad_step import FirstBadStep
from .history import History, Log, kept
from .interruptions import Interruptions
from .means import Means, name_of_metric
from .meetings import Meetings
from .progress import TrainingProgress
from .run import Run
from .saves import Saves

METADATA = "fit"
"""Under which a checkpoint says how far its run was."""


@tells_keywords
def fit(
    step: Step,
    data: Any,
    *,
    epochs: int = 1,
    validate: Any = None,
    metrics: Metrics = None,
    callbacks: Callbacks = (),
    log: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    shuffle: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a step for `epochs` epochs of `data`, and return what came of each.

    `data` is a pytree of arrays, or a dataset, which is cut into batches of the step's size in an order that follows
    from `seed` and the epoch (examples that fill no batch are left out of that epoch); or a loader of `gl.data`, or any
    iterable of batches, such as a `DataLoader` of PyTorch. `validate`, data too, is evaluated after each epoch, as
    `gl.evaluate(step, validate, metrics)` does; its figures have names that begin with `val_`.

    Epochs count from 1 in each call: a second one goes on with the step as it is, and by the same `seed` has the same
    orders. `callbacks` are of `gl.callbacks`, such as `EarlyStopping(patience=5)` and `BestCheckpoint(path)`, or
    functions that are called with the run after each epoch; one, or several. `log` is a `.csv` or `.jsonl` file that
    gets a line for each epoch. `checkpoint` is a file that is written after each epoch, every few minutes, and when
    Ctrl-C or SIGTERM ends the run, which raises `KeyboardInterrupt` after the step that runs. With `resume` a run that
    wrote it goes on, to the same bits as without the interruption; where there is no such file it begins. `progress`
    shows a bar on a terminal, a line for each epoch elsewhere.

    Raises `FloatingPointError` where a loss is NaN or infinite, with the operation that made it and its line; the step
    is then as it was before, and the checkpoint that of an earlier moment. Where `data` do not give the same batches
    again, as those of a shuffled `DataLoader`, only what the batch holds can be said, and the step is as that left it.

    Of a step that several ranks train, every rank calls this with the same arguments. `data` are those of all: a batch
    of a loader is the global one, of which each rank takes its rows, unless the loader is shared. The figures are the
    same on all ranks, and callbacks run on all; progress, the log and TensorBoard's files are rank 0's.
    """
    whole = as_whole(epochs)
    if whole is None or whole < 1:
        raise ValueError(located(f"epochs is a whole number of 1 or more, got {epochs!r}"))
    if resume and checkpoint is None:
        raise ValueError(located("resume=True goes on from a checkpoint; give its path: checkpoint='run.safetensors'"))
    if metrics is not None and validate is None:
        raise ValueError(located("metrics are of the validation data; give these: validate=..."))
    if not isinstance(step, Step):
        raise TypeError(located(f"fit trains a step of gl.compile_step, got {type(step).__name__}"))
    with Interruptions() as interruptions:
        fitting = Fitting(
            step,
            batches_to_train(step, data, shuffle, seed, drop_last=True),
            whole,
            None if validate is None else batches_of(step, validate),
            None if validate is None else evaluator_of(step, metrics),
            as_callbacks(callbacks),
            Console(quiet=not progress or step.ranks.rank > 0),
            interruptions,
        )
        path = None if checkpoint is None else os.fsdecode(checkpoint)
        if resume and path is not None and step.ranks.broadcast(checkpoint_exists(path)):
            fitting.take_up(path)
        return fitting.run(path, log)


@dataclass
class _Position:
    """How far a run is: the epoch, and how many of its steps were done when the step's own count was `steps`."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0


class Fitting:
    """A run of `fit`, or of the command that trains."""

    def __init__(
        self,
        step: Step,
        loader: Loader,
        epochs: int,
        validate: Loader | None,
        evaluator: Evaluator | None,
        callbacks: list[Callback],
        console: Console,
        interruptions: Interruptions,
    ) -> None:
        self._step = step
        self._loader = loader
        self._validate, self._evaluator = validate, evaluator
        self._callbacks = callbacks
        self._console = console
        self._interruptions = interruptions
        self._means = Means()
        self._at = _Position(steps=step.steps)
        self.history = History()
        self._run = Run(step, epochs, self.history)
        self._ranks = step.ranks
        self._watching = [c.on_step_end for c in callbacks if type(c).on_step_end is not Callback.on_step_end]
        self._meetings = Meetings(self._ranks, bool(self._watching))

    # How far it is.

    def take_up(self, path: str) -> None:
        """Go on from a checkpoint that a run wrote. Raises `CheckpointError` for another file."""
        text = self._step.load(path).get(METADATA)
        if text is None:
            raise CheckpointError(
                located(f"{path} was not written by a run of gl.fit; write step.load(path) to begin with it")
            )
        self.take_up_metadata(path, text)

    def take_up_metadata(self, path: str, text: str) -> None:
        """Go on from what a checkpoint says that the step has loaded."""
        try:
            said = json.loads(text)
            self._at = _Position(int(said["epoch"]), int(said["batch"]), self._step.steps)
            self._means = Means(said["sums"], int(said["losses"]))
            self.history.rows[:] = said["rows"]
            self.history.stopped = said["stopped"]
            states = said["callbacks"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(located(f"{path} does not say how far its run was: {error}")) from error
        length = _length(self._loader)
        if length is not None and self._at.batch > length:
            raise CheckpointError(
                located(
                    f"{path} was written after {self._at.batch} steps of an epoch, and the data give {length}: "
                    "give those that the run began with"
                )
            )
        stateful = _stateful(self._callbacks)
        kinds, theirs = [kind for kind, _ in stateful], [kind for kind, _ in states]
        if theirs and kinds != theirs:
            raise CheckpointError(
                located(
                    f"{path} was written by a run with the callbacks {', '.join(theirs) or 'none'}, which have states; "
                    f"this one has {', '.join(kinds) or 'none'}: give the same, or step.load(path) and begin another "
                    "run"
                )
            )
        for (_, callback), (_, state) in zip(stateful, states):
            callback.load_state_dict(state)
        if any(callback.goes_on() for callback in self._callbacks):
            self.history.stopped = ""

    def metadata(self) -> dict[str, str]:
        """How far it is, for a checkpoint: nothing that depends on the machine or the hour."""
        at = self._at
        done = at.batch + self._step.steps - at.steps
        states = [(kind, callback.state_dict()) for kind, callback in _stateful(self._callbacks)]
        said = {
            "epoch": at.epoch,
            "batch": done,
            "sums": self._means.sums,
            "losses": self._means.count,
            # An epoch that a callback ended by an error has a row already, and is not done.
            "rows": [kept(row) for row in self.history.rows if row["epoch"] <= at.epoch],
            "stopped": self.history.stopped,
            "callbacks": states,
        }
        try:
            return {METADATA: json.dumps(said, default=_number)}
        except TypeError as error:
            what = "figures and the states of callbacks stand in the checkpoint as JSON, which holds"
            raise TypeError(located(f"{what} numbers, texts, lists and dicts: {error}")) from error

    def begin_at(self, epoch: int, batch: int) -> None:
        """Begin with this batch of this epoch: of a checkpoint that says nothing of its run."""
        self._at = _Position(epoch, batch, self._step.steps)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.history.stopped) or self._at.epoch >= self._run.epochs

    def place(self) -> str:
        """How far it is, in words."""
        at, done = self._at, self._at.batch + self._step.steps - self._at.steps
        if at.epoch >= self._run.epochs:
            return "after the last step"
        length = _length(self._loader)
        if length is None:
            return f"in epoch {at.epoch + 1}, after {done} steps"
        over, done = divmod(done, length)
        return f"in epoch {at.epoch + 1 + over}, after {done} of {length} steps"

    # Running.

    def run(self, checkpoint: str | None = None, log: Any = None, metadata: Mapping[str, str] | None = None) -> History:
        """Train to the last epoch. What `fit` raises."""
        if self.is_over:
            why = self.history.stopped or f"all {self._run.epochs} epochs are done; more epochs go on"
            if self.history.stopped and any(isinstance(callback, EarlyStopping) for callback in self._callbacks):
                why += "; with a larger patience the run goes on"
            self.say(f"nothing to do: {why}")
            return self.history
        self._run.checkpoint = checkpoint
        saves = None
        if checkpoint is not None:
            self.metadata()  # raises what is wrong with the state of a callback
            saves = Saves(self._step, checkpoint, lambda: {**self.metadata(), **(metadata or {})}, self.say)
        self._run.names = self._names_of_figures()
        logged = None if log is None or self._ranks.rank > 0 else Log(log, self.history.rows)
        with self._interruptions.held():
            try:
                for callback in self._callbacks:
                    callback.on_fit_begin(self._run)
                self._epochs(saves, logged)
                if saves is not None:
                    saves.save_at_last()
            except KeyboardInterrupt as error:
                self._interrupted(saves, error)
                raise
            except FloatingPointError:
                raise  # what was trained is no good: the checkpoint stays as it was
            except BaseException as error:
                # Whatever it was, such as a terminal that is gone: what was trained is kept.
                if saves is not None:
                    saves.save_before(error)
                raise
            finally:
                for callback in self._callbacks:
                    callback.on_fit_end(self._run)
        return self.history

    def _names_of_figures(self) -> list[str] | None:
        """Of the figures that each epoch will have; `None` where only an epoch tells, of data that come once, or where
        callbacks may add some.
        """
        validated: list[str] | None = []
        if self._evaluator is not None and self._validate is not None:
            validated = self._evaluator.check(self._validate)
        tree = self._step._first.traced.metrics_tree
        metrics = [] if tree is None else [name_of_metric(path) for path in tree.paths()]
        own = ["epoch", "steps", "loss", *metrics, "learning_rate", "seconds", "steps_per_second"]
        if validated is None or any(callback.may_add_figures for callback in self._callbacks):
            return None
        return [*own, *(f"val_{name}" for name in validated)]

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable_lines(text), soft_wrap=True, highlight=False, markup=False)

    def _interrupted(self, saves: Saves | None, error: KeyboardInterrupt) -> None:
        if saves is None or saves.nothing_to_save:
            return
        saves.save_at_last()
        error.add_note(f"interrupted {self.place()}, and saved; fit(..., resume=True) goes on")

    def _epochs(self, saves: Saves | None, log: Log | None) -> None:
        epochs, at = self._run.epochs, self._at
        # What evaluates is alone between its batches: others may have one more.
        check = self._interruptions.check if self._ranks.size == 1 else lambda: None
        length = _length(self._loader)
        why = FirstBadStep(self._step, self._loader)
        self._meet()
        self.history.stopped = self._run.stopped
        with TrainingProgress(epochs, length, (length or 0) * at.epoch + at.batch, self._console) as shown:
            while at.epoch < epochs and not self._run.stopped:
                row = self._epoch(saves, shown, why)
                self._meet()
                if self._evaluator is not None:
                    found = self._evaluator(self._validate, check)
                    row.update({f"val_{name}": value for name, value in found.items()})
                row = self._ranks.broadcast(row)  # seconds are those of rank 0
                self._end_epoch(row, log)
                shown.end_epoch(row["seconds"], {name: v for name, v in row.items() if name.startswith("val_")})
                self._at = at = _Position(at.epoch + 1, 0, self._step.steps)
                self._means = Means()
                if saves is not None and at.epoch < epochs:
                    saves.save()

    def _meet(self, saves: Saves | None = None) -> None:
        """Raise `KeyboardInterrupt` on all ranks where one got a signal, save where it is time, and stop together."""
        run = self._run
        due = saves is not None and saves.is_due
        agreed = self._meetings.hold(self._interruptions.came, due, run.stopped)
        run.stopped = agreed.stopped
        if agreed.interrupted:
            raise of_all(KeyboardInterrupt())
        if saves is not None and agreed.saves:
            saves.save()

    def _epoch(self, saves: Saves | None, shown: TrainingProgress, why: FirstBadStep) -> dict[str, Any]:
        """The steps of an epoch that are left, and the figures of the whole of it."""
        step, run, at, means = self._step, self._run, self._at, self._means
        run.epoch, run.batch = at.epoch, at.batch
        for callback in self._callbacks:
            callback.on_epoch_begin(run)
        why.begin(at.epoch, at.batch)
        shown.begin_epoch(at.epoch)
        began, before = time.perf_counter(), at.batch
        for batch in prefetched_if_slow(self._loader.epoch(at.epoch, at.batch)):
            result = step(batch)
            loss = means.add(result)
            if not math.isfinite(loss):
                number = run.batch
                message = f"the loss of step {number + 1} of epoch {at.epoch + 1} is {loss}"
                raise of_all(FloatingPointError(f"{message}: {why.explain(number, batch)}"))
            run.batch += 1
            shown.step(means)
            if self._watching:
                run.loss, run.metrics = result if isinstance(result, tuple) else (result, None)
                for tell in self._watching:
                    tell(run)
            if self._meetings.is_due():
                self._meet(saves)
                if run.stopped:
                    break
        if not run.batch:
            raise ValueError(located("the data gave no batch"))
        seconds = time.perf_counter() - began
        figures = {"epoch": at.epoch + 1, "steps": step.steps, **means.figures(), "learning_rate": _rate(step)}
        return {**figures, "seconds": seconds, "steps_per_second": (run.batch - before) / max(seconds, 1e-9)}

    def _end_epoch(self, row: dict[str, Any], log: Log | None) -> None:
        run = self._run
        run.figures = row
        self.history.rows.append(row)
        wrong = None if log is None else log.add(row, self.history.rows)
        if wrong is not None:
            self.say(f"{wrong}; the run goes on, and tries again after the next epoch")
        for callback in self._callbacks:
            callback.on_epoch_end(run)
        run.stopped = next(filter(None, self._ranks.gather(run.stopped)), "")
        self.history.stopped = run.stopped


def _stateful(callbacks: list[Callback]) -> list[tuple[str, Callback]]:
    """The callbacks that have something to keep, and their types' names."""
    return [(type(c).__name__, c) for c in callbacks if type(c).state_dict is not Callback.state_dict]


def _length(loader: Loader) -> int | None:
    """Batches in an epoch, where that is known."""
    try:
        return len(loader)
    except TypeError:
        return None


def _number(value: Any) -> Any:
    """A number of NumPy as one of Python. Raises `TypeError` for anything else."""
    if np.ndim(value) == 0 and hasattr(value, "item"):
        return value.item()
    raise TypeError(located(f"there is a value of type {type(value).__name__}"))


def _rate(step: Step) -> float:
    return next(iter(step.learning_rates.values()))


def fit_metadata(path: str) -> str | None:
    """What a checkpoint says of the run of `fit` that wrote it; `None` for one that no run wrote."""
    with open_checkpoint(path) as file:
        return file.metadata.get(METADATA)
