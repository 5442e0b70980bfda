"""How a run goes, as it goes: a live bar on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import time
from typing import Any, cast

import optree
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ..ir.printable import printable

_REFRESH_SECONDS = 0.1


class Means:
    """Running means of the loss and of the scalar metrics, by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, result: Any) -> None:
        """What `step(batch)` returned: the loss, or `(loss, metrics)`."""
        loss, metrics = result if isinstance(result, tuple) else (result, None)
        self._count += 1
        self._sums["loss"] = self._sums.get("loss", 0.0) + float(loss)
        for path, leaf in zip(*optree.tree_flatten_with_path(cast(Any, metrics))[:2]):
            if not leaf.shape:
                name = printable(".".join(map(str, path))) or "metric"
                self._sums[name] = self._sums.get(name, 0.0) + float(leaf)

    def __str__(self) -> str:
        return "  ".join(f"{name} {total / self._count:.4f}" for name, total in self._sums.items())


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
            total = epochs * steps_per_epoch
            self._task = bar.add_task("", total=total, completed=done, epoch=f"1/{epochs}", figures="")

    def __enter__(self) -> TrainingProgress:
        self._began = time.perf_counter()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, result: Any) -> None:
        """A step of `epoch` (from 0) is done."""
        self._means.add(result)
        self._counted += 1
        if self._bar is not None and time.perf_counter() - self._drawn > _REFRESH_SECONDS:
            self._draw(epoch)

    def end_epoch(self, epoch: int, test: str) -> None:
        """An epoch is done, and the model was tested with this result."""
        self._test = test
        if self._bar is not None:
            self._draw(epoch)
        else:
            text = f"epoch {epoch + 1}/{self._epochs}  {self._figures()}"
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._means = Means()

    def _figures(self) -> str:
        speed = self._counted / max(time.perf_counter() - self._began, 1e-9)
        return "  ".join(filter(None, (str(self._means), f"{speed:,.0f} steps/s", self._test)))

    def _draw(self, epoch: int) -> None:
        assert self._bar is not None
        self._bar.update(
            self._task,
            advance=self._counted - self._shown,
            refresh=True,
            epoch=f"{epoch + 1}/{self._epochs}",
            figures=self._figures(),
        )
        self._shown = self._counted
        self._drawn = time.perf_counter()
