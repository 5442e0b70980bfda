"""What a run calls as it goes: `gl.callbacks`. Early stopping, the best checkpoint, TensorBoard, what users write."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...ir import Array
from ...ir.near_names import similar
from ..saving.checkpoint_file import check_savable
from ..tracing.keywords import tells_keywords
from ..tracing.missing_names import attributes_of
from ..tracing.numbers import as_real, as_whole
from ..tracing.tracer import located
from .best_parameters import keep_best, kept_best

if TYPE_CHECKING:
    from .run import Run

__all__ = [
    "BestCheckpoint",
    "Callback",
    "EarlyStopping",
    "TensorBoard",
]


class Callback:
    """What a run calls; a subclass defines what it needs. `run` has the step, the epoch and its figures, and `stop`.

    A function of `run` serves too: it is called at the end of each epoch.
    """

    may_add_figures: ClassVar[bool] = True
    """Whether it may add to `run.figures`, which others watch."""

    def on_fit_begin(self, run: Run) -> None:
        """The run begins, or goes on."""

    def on_epoch_begin(self, run: Run) -> None:
        """An epoch begins, or goes on."""

    def on_step_end(self, run: Run) -> None:
        """A step is done; `run.loss` and `run.metrics` are its."""

    def on_epoch_end(self, run: Run) -> None:
        """An epoch is done and evaluated; `run.figures` are its."""

    def on_fit_end(self, run: Run) -> None:
        """The run ends, also by an error or by Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """What it must know to go on, as JSON can hold it: it stands in the checkpoint of the run."""
        return {}

    def goes_on(self) -> bool:
        """Whether a run that it had ended goes on where it is taken up, as by more patience than before."""
        return False

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class _Monitor(Callback):
    """Watches a figure of the epochs, and knows its best value."""

    may_add_figures = False

    def __init__(self, monitor: str | None, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(located(f"mode is 'min', 'max' or 'auto', got {mode!r}"))
        least = as_real(min_delta)
        if least is None or not least >= 0:
            raise ValueError(located(f"min_delta is a number of 0 or more, got {min_delta!r}"))
        self._monitor, self._mode, self._min_delta = monitor, mode, float(least)
        self.best: float | None = None
        self.best_epoch: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(monitor={self._monitor!r})"

    def on_fit_begin(self, run: Run) -> None:
        """Raise `ValueError` for a figure that no epoch will have, before anything takes time."""
        if self._monitor is not None and run.names is not None and self._monitor not in run.names:
            raise self._unknown(self._monitor, run.names)

    def _unknown(self, name: str, names: Collection[str]) -> ValueError:
        what = f"{type(self).__name__} watches {name!r}, and epochs have {', '.join(names)}"
        near = similar(name, names)
        if name.startswith("val_") and not any(other.startswith("val_") for other in names):
            near = "give gl.fit data to validate on: validate="
        return ValueError(located(what if near is None else f"{what}; {near}"))

    def _name(self, run: Run) -> str:
        """Of the figure that is watched."""
        return self._monitor or ("val_loss" if "val_loss" in run.figures else "loss")

    def _improved(self, run: Run) -> bool:
        """Note the value of the epoch; whether it is the best so far. NaN never is."""
        name = self._name(run)
        if name not in run.figures:
            raise self._unknown(name, run.figures)
        value = float(run.figures[name])
        largest = self._mode == "max" or (self._mode == "auto" and "acc" in name)
        sign = -1.0 if largest else 1.0
        best = math.inf if self.best is None else sign * self.best
        if sign * value < best - (self._min_delta if self.best is not None else 0.0):
            self.best, self.best_epoch = value, run.epoch
            return True
        return False

    def state_dict(self) -> dict[str, Any]:
        """The best value, and the epoch that had it."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class EarlyStopping(_Monitor):
    """Ends the run when a figure was not better for `patience` epochs, one after another.

    `monitor` is "val_loss" by default, or "loss" where nothing is evaluated; lower is better, unless its name has "acc"
    in it, or `mode` is "max". Better is by more than `min_delta`. With `restore_best` the parameters and buffers of the
    best epoch are put back at the end; they are copied for that, and stand in a file beside the run's checkpoint, as
    `run.best.safetensors` beside `run.safetensors`, for a run that is taken up again. A run that it ended goes on with
    `resume=True` where `patience` is larger than before.
    """

    @tells_keywords
    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        whole = as_whole(patience)
        if whole is None or whole < 0:
            raise ValueError(located(f"patience is a whole number of epochs, got {patience!r}"))
        self._patience, self._restore_best = whole, bool(restore_best)
        self.waited = 0
        self._ended = False
        self._kept: dict[str, Array] | None = None

    def on_fit_begin(self, run: Run) -> None:
        """Begin anew, unless the run goes on: then with the best parameters that stand beside its checkpoint."""
        super().on_fit_begin(run)
        self._ended = False
        if not len(run.history):
            self.best, self.best_epoch, self.waited = None, None, 0
        elif self._restore_best and self.best_epoch is not None and run.checkpoint is not None:
            self._kept = kept_best(run.checkpoint, self.best_epoch)

    def on_epoch_end(self, run: Run) -> None:
        """Count epochs without a better value."""
        if self._improved(run):
            self.waited = 0
            if self._restore_best:
                self._kept = run.step.parameters() | run.step.buffers()
                if run.checkpoint is not None:
                    keep_best(run.step, run.checkpoint, run.epoch)
            return
        self.waited += 1
        if self.waited >= max(self._patience, 1):
            self._ended = True
            waited = f"{self.waited} epoch{'s' * (self.waited != 1)}"
            run.stop(
                f"no better {self._name(run)} for {waited}; the best was {self.best:.6g} in epoch "
                f"{(self.best_epoch or 0) + 1}"
                if self.best is not None
                else "no epoch gave a number"
            )

    def on_fit_end(self, run: Run) -> None:
        """Put the best parameters back."""
        if self._kept is not None and self.best_epoch != run.epoch:
            run.step.set_parameters(self._kept)
        elif self._restore_best and self._kept is None and self.best_epoch is not None:
            best = f"the parameters of the best epoch, {self.best_epoch + 1}, are not put back"
            warnings.warn(
                f"{best}: the run was interrupted after it, and no file beside its checkpoint has them", stacklevel=2
            )
        self._kept = None

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch, how many came after it, and whether it ended the run."""
        return {**super().state_dict(), "waited": self.waited, "ended": self._ended}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        super().load_state_dict(state)
        self.waited, self._ended = state["waited"], bool(state.get("ended"))

    def goes_on(self) -> bool:
        """Whether it had ended the run, and has more patience now."""
        return self._ended and self.waited < max(self._patience, 1)


class BestCheckpoint(_Monitor):
    """Writes a checkpoint to `path` after each epoch that is the best so far by `monitor`, as `EarlyStopping` says."""

    @tells_keywords
    def __init__(
        self, path: str | os.PathLike[str], monitor: str | None = None, mode: str = "auto", weights_only: bool = False
    ) -> None:
        super().__init__(monitor, mode, 0.0)
        self._path, self._weights_only = path, bool(weights_only)

    def on_fit_begin(self, run: Run) -> None:
        """Raise `CheckpointError` where nothing can be written, before anything takes time."""
        super().on_fit_begin(run)
        check_savable(os.fsdecode(self._path))

    def on_epoch_end(self, run: Run) -> None:
        """Save, where it is better."""
        if self._improved(run):
            run.step.save(self._path, weights_only=self._weights_only)


class TensorBoard(Callback):
    """Writes the figures of each epoch for TensorBoard, to `folder`.

    Raises `ImportError` where no writer is installed: that of tensorboardX, or of torch with tensorboard.
    """

    may_add_figures = False

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = os.fsdecode(folder)
        self._writer_type = _summary_writer()
        self._writer: Any = None

    def on_fit_begin(self, run: Run) -> None:
        """Open the file, on rank 0."""
        if run.ranks.rank == 0:
            self._writer = self._writer_type(self._folder)

    def on_epoch_end(self, run: Run) -> None:
        """Write the figures at the number of steps done."""
        if self._writer is None:
            return
        for name, value in run.figures.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, run.step.steps)
        self._writer.flush()

    def on_fit_end(self, run: Run) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportMissingImports]
        except ImportError:
            missing = "TensorBoard's files are written by tensorboardX, which is not installed"
            raise ImportError(located(f"{missing}; pip install tensorboardX")) from None
    return SummaryWriter


Callbacks = Iterable[Callback | Callable[["Run"], object]] | Callback | Callable[["Run"], object] | None
"""What `gl.fit` takes: several, one, or none."""


def as_callbacks(given: Callbacks) -> list[Callback]:
    """All that are given. Raises `TypeError` for what is none."""
    if given is None:
        return []
    return [as_callback(each) for each in (given if isinstance(given, Iterable) else [given])]


def as_callback(given: Any) -> Callback:
    """A callback: itself, or one that calls a function at the end of each epoch. Raises `TypeError` for others."""
    if isinstance(given, Callback):
        return given
    if isinstance(given, type) or not callable(given):
        what = "a callback is a gl.callbacks.Callback, or a function that is called with the run after each epoch"
        raise TypeError(located(f"{what}; got {given!r}"))
    return _AtEpochEnd(given)


class _AtEpochEnd(Callback):
    """Calls a function at the end of each epoch."""

    def __init__(self, function: Callable[[Run], object]) -> None:
        self._function = function

    def on_epoch_end(self, run: Run) -> None:
        """Call it."""
        self._function(run)


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.callbacks")
__dir__ = __all__.copy
