"""The curves of a run, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..engine.fit.history import History
from .command_error import CommandError

_SUFFIXES = (".svg", ".png", ".pdf")


def check_plot(path: str) -> None:
    """Raise `CommandError` where nothing can be drawn, before anything takes time."""
    if Path(path).suffix not in _SUFFIXES:
        raise CommandError(f"--plot is a file that ends in {', '.join(_SUFFIXES)}, got {path}")
    if not Path(path).resolve().parent.is_dir():
        raise CommandError(f"cannot write {path}: there is no folder {Path(path).parent}")
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CommandError("--plot draws by matplotlib, which is not installed; pip install matplotlib") from None


def plot_history(history: History, path: str) -> None:
    """Draw loss and metrics over the epochs: a panel each, the evaluation beside the training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # pyright: ignore[reportMissingImports]
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    from matplotlib.ticker import MaxNLocator  # pyright: ignore[reportMissingImports]

    panels = _panels(history.names)
    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for i, name in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for series, label, color in ((name, "training", "C0"), (f"val_{name}", "validation", "C1")):
            if series in history.names:
                marker = "." if len(history) < 20 else ""
                axes.plot(history["epoch"], history[series], label=label, color=color, marker=marker)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error}") from error


def _panels(names: Sequence[str]) -> list[str]:
    """The loss and the metrics, whether of training, of validation, or both."""
    others = ("epoch", "steps", "learning_rate", "seconds", "steps_per_second")
    return list(dict.fromkeys(name.removeprefix("val_") for name in names if name not in others))
