"""How a run goes, as it goes: a live bar on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import optree
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_REFRESH_SECONDS = 0.1


class Means:
    """Running means of the loss and of the scalar metrics, by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, result: Any) -> None:
        """What `step(batch)` returned: the loss, or `(loss, metrics)`."""
        loss, metrics = result if isinstance(result, tuple) else (result, {})
        self._count += 1
        self._sums["loss"] = self._sums.get("loss", 0.0) + float(loss)
        for path, leaf in zip(*optree.tree_flatten_with_path(metrics)[:2]):
            if not leaf.shape:
                name = ".".join(map(str, path)) or "metric"
                self._sums[name] = self._sums.get(name, 0.0) + float(leaf)

    def __str__(self) -> str:
        return figures({name: total / self._count for name, total in self._sums.items()})


def figures(values: Mapping[str, float]) -> str:
    """Named numbers as a line shows them."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


class TrainingProgress:
    """Shows a run of `epochs` epochs of `steps_per_epoch` steps, of which `done` steps are done already.

    Use as a context manager. On a terminal it is a bar that is drawn ten times a second; else each epoch is one line.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, console: Console) -> None:
        self._epochs = epochs
        self._console = console
        self._means = Means()
        self._test = ""
        self._counted = self._shown = 0
        self._began = self._drawn = time.perf_counter()
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[figures]}"),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=console, auto_refresh=False)
            self._task = self._bar.add_task("", total=epochs * steps_per_epoch, completed=done, epoch="", figures="")

    def __enter__(self) -> TrainingProgress:
        self._began = time.perf_counter()
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, epoch: int, result: Any) -> None:
        """A step of `epoch` (from 0) is done."""
        self._means.add(result)
        self._counted += 1
        if self._bar and time.perf_counter() - self._drawn > _REFRESH_SECONDS:
            self._draw(epoch)

    def end_epoch(self, epoch: int, test: Mapping[str, float]) -> None:
        """An epoch is done, and the model was tested with these results."""
        self._test = figures(test)
        if self._bar:
            self._draw(epoch)
        else:
            self._console.print(f"epoch {epoch + 1}/{self._epochs}  {self._figures()}", soft_wrap=True, highlight=False)
        self._means = Means()

    def _figures(self) -> str:
        speed = self._counted / max(time.perf_counter() - self._began, 1e-9)
        return "  ".join(filter(None, (str(self._means), self._test, f"{speed:,.0f} steps/s")))

    def _draw(self, epoch: int) -> None:
        assert self._bar is not None
        fields = {"epoch": f"{epoch + 1}/{self._epochs}", "figures": self._figures()}
        self._bar.update(self._task, advance=self._counted - self._shown, refresh=True, **fields)
        self._shown = self._counted
        self._drawn = time.perf_counter()
