"""What the experiments share: their setting, what comes of one, and how it is printed and drawn."""

from __future__ import annotations

import importlib
import io
import os
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
from gradloom.tools.data import load_digits, load_mnist
from rich.console import Console
from rich.table import Table

from . import NAMES

Images = tuple[Any, Any, Any, Any]
"""x_train, y_train, x_test, y_test: float32 pixels in 0..1, (images, pixels), and int64 classes."""


@dataclass(frozen=True)
class Setting:
    """How experiments are run: `full` for longer runs and more seeds, `data` an .npz file of MNIST."""

    full: bool = False
    data: str | None = None
    seed: int = 0

    def images(self) -> Images:
        """The digits that come with the package, or MNIST where its file was given: a tenth of it, all with `full`."""
        if self.data is None:
            return load_digits()
        x, y, x_test, y_test = load_mnist(self.data)
        return (x, y, x_test, y_test) if self.full else (x[:6000], y[:6000], x_test[:1000], y_test[:1000])

    def of(self, short: int, full: int) -> int:
        """`short`, or `full` where the runs are."""
        return full if self.full else short


@dataclass(frozen=True)
class Panel:
    """A plot of curves: each has a name, and arrays x and y."""

    title: str
    x: str
    y: str
    curves: Mapping[str, tuple[Any, Any]]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment: a table, panels of a figure, what was seen, and whether the lecture says so.

    `unseen` is a sentence on what part of the claim was not seen, where the rest of it was.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    seen: str
    agrees: bool
    panels: Sequence[Panel] = field(default_factory=tuple)
    unseen: str = ""

    @property
    def verdict(self) -> str:
        """Whether what was seen agrees with the lecture, as a sentence or two."""
        if not self.agrees:
            return "It does not agree."
        return f"It agrees in part: {' '.join(self.unseen.split())}" if self.unseen else "It agrees."


@dataclass(frozen=True)
class Experiment:
    """One of the lecture's ideas, to be tried."""

    name: str
    title: str
    claim: str
    run: Callable[[Setting], Outcome]


def experiment(name: str) -> Experiment:
    """The experiment of this name, one of `NAMES`."""
    module = importlib.import_module(f"{__package__}.{name}")
    return Experiment(name, module.TITLE, " ".join(module.CLAIM.split()), module.run)


def experiments() -> list[Experiment]:
    """All of them, in the lecture's order."""
    return [experiment(name) for name in NAMES]


def entry(value: Any) -> str:
    """An entry of a table."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return str(value)


def said(experiment: Experiment, outcome: Outcome) -> str:
    """What the lecture claims, and what was seen."""
    return f"The lecture: {experiment.claim} Seen: {' '.join(outcome.seen.split())}"


def show(experiment: Experiment, outcome: Outcome, console: Console) -> None:
    """Print title, table and paragraph."""
    table = Table(title=experiment.title, title_justify="left", title_style="bold")
    for i, column in enumerate(outcome.columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in outcome.rows:
        table.add_row(*map(entry, row))
    console.print(table)
    text = f"{said(experiment, outcome)} {outcome.verdict}"
    console.print(textwrap.fill(text, min(console.width, 100)), highlight=False, markup=False)


_BESIDE = 3
"""More curves than these are named beside their axes, where the names hide none."""


def figure(outcome: Outcome) -> str:
    """The figure as SVG. Raises `ImportError` without matplotlib."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    many = max((len(panel.curves) for panel in outcome.panels), default=0) > _BESIDE
    width = 4.4 * len(outcome.panels) if len(outcome.panels) < 3 else 10.5
    with rc_context({"svg.hashsalt": "lecture", "font.size": 9}):
        drawn = Figure(figsize=(width + 1.9 * many, 3.4), layout="constrained")
        FigureCanvasAgg(drawn)
        for i, panel in enumerate(outcome.panels):
            axes = drawn.add_subplot(1, len(outcome.panels), i + 1)
            for number, (name, (x, y)) in enumerate(panel.curves.items()):
                # There are ten colours.
                axes.plot(x, y, "--" if number >= 10 else "-", label=name, marker="." if len(x) <= 20 else "")
            axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
            if panel.log_x:
                axes.set_xscale("log")
                _few_ticks(axes.xaxis)
            if panel.log_y:
                axes.set_yscale("log")
                _few_ticks(axes.yaxis)
            axes.spines[["top", "right"]].set_visible(False)
            if len(panel.curves) > _BESIDE:
                axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
            elif len(panel.curves) > 1:
                axes.legend(frameon=False)
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _few_ticks(axis: Any) -> None:
    """Over less than two decades, plain numbers at so few ticks of a logarithmic axis that none covers another."""
    from matplotlib.ticker import LogLocator, NullFormatter

    least, most = axis.get_view_interval()
    if most < 100 * least:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 30 * least else (1, 3)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def timed(experiment: Experiment, setting: Setting) -> tuple[Outcome, float]:
    """What came of an experiment, and the seconds that it took."""
    began = time.perf_counter()
    outcome = experiment.run(setting)
    return outcome, time.perf_counter() - began


def main(name: str) -> None:
    """Run one experiment by itself, as `python -m gradloom.examples.lecture.NAME`."""
    console = Console()
    chosen = experiment(name)
    outcome, seconds = timed(chosen, Setting(full=bool(os.environ.get("FULL"))))
    show(chosen, outcome, console)
    console.print(f"{seconds:.0f} s")


def classifier_loss(model: Any, batch: Any) -> Any:
    """The mean cross entropy of a classifier of `{"x", "y"}`."""
    return gl.nn.cross_entropy(model(batch["x"]), batch["y"])


def batch_spec(size: int, pixels: int) -> dict[str, Any]:
    """The batch of a classifier as specs."""
    return {"x": gl.spec((size, pixels)), "y": gl.spec((size,), "int64")}


def perceptron(sizes: Sequence[int], activation: Callable[[], Any] = gl.nn.ReLU) -> gl.nn.Sequential:
    """Linear layers of these sizes with an activation between them."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(sizes):
        layers += [gl.nn.Linear(inputs, outputs), activation()]
    return gl.nn.Sequential(*layers[:-1])
