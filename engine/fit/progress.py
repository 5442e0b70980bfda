"""How a run goes, as it goes: a live bar on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from .means import Means, in_words

_REFRESH_SECONDS = 0.1


class TrainingProgress:
    """Shows a run of `epochs` epochs of `steps_per_epoch` steps (`None` where that is not known), of which `done` steps
    are done already.

    Use as a context manager. On a terminal that can move its cursor it is a bar that is drawn ten times a
    second; else each epoch is one line.
    """

    def __init__(self, epochs: int, steps_per_epoch: int | None, done: int, console: Console) -> None:
        self._epochs = epochs
        self._console = console
        self._means = Means()
        self._validated = ""
        self._counted = self._shown = self._in_epoch = 0
        self._epoch = 0
        self._began = self._drawn = time.perf_counter()
        self._bar: Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            # The figures take the width that is left; what matters least stands last there, to be cut off.
            columns = (
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=8),
                TextColumn("{task.percentage:.0f}%"),
                TimeRemainingColumn(compact=True),
                TextColumn(
                    "{task.fields[figures]}",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
            )
            bar = self._bar = Progress(*columns, console=console, auto_refresh=False, expand=True)
            total = None if steps_per_epoch is None else epochs * steps_per_epoch
            self._task = bar.add_task("", total=total, completed=done, epoch=f"1/{epochs}", figures="")

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, or goes on; the first is 0."""
        self._epoch, self._in_epoch, self._began = epoch, 0, time.perf_counter()

    def step(self, means: Means) -> None:
        """A step is done; `means` are those of the epoch so far."""
        self._means = means
        self._counted += 1
        self._in_epoch += 1
        if self._bar is not None:
            now = time.perf_counter()
            if now - self._drawn > _REFRESH_SECONDS:
                self._draw(now - self._began)

    def end_epoch(self, seconds: float, validated: dict[str, float]) -> None:
        """The epoch is done, whose steps took so long, and the model was evaluated with these results."""
        self._validated = in_words(validated)
        if self._bar is not None:
            self._draw(seconds)
        else:
            text = f"epoch {self._epoch + 1}/{self._epochs}  {self._figures(seconds)}"
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _figures(self, seconds: float) -> str:
        speed = self._in_epoch / max(seconds, 1e-9)
        return "  ".join(filter(None, (str(self._means), f"{speed:,.0f} steps/s", self._validated)))

    def _draw(self, seconds: float) -> None:
        assert self._bar is not None
        self._bar.update(
            self._task,
            advance=self._counted - self._shown,
            refresh=True,
            epoch=f"{self._epoch + 1}/{self._epochs}",
            figures=self._figures(seconds),
        )
        self._shown = self._counted
        self._drawn = time.perf_counter()
