"""The benchmark as a picture: for each workload, every side's time and memory."""

from __future__ import annotations

from ..command_error import CommandError
from .figures import OURS, Results

_COLORS = {OURS: "#c1440e", "torch": "#8d99ae", "torch-compile": "#5c677d", "jax": "#2a9d8f"}


def draw(results: Results, file: str) -> None:
    """Write a picture to `file`, in the format that its name says.

    Raises `CommandError` where Matplotlib is not installed, or knows no such format.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CommandError("matplotlib is not installed; pip install '.[plot]' in Gradloom's folder gets it") from None
    sides, names = results.side_names, list(results.workloads)
    figure = Figure(figsize=(max(6.0, 1.6 * len(names) + 2), 6.4), layout="constrained")
    time, memory = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(sides)
    for i, side in enumerate(sides):
        measured = [(k, c.sides[side]) for k, c in enumerate(results.workloads.values()) if side in c.sides]
        times = [1e3 * c.seconds(side) for c in results.workloads.values() if side in c.sides]
        places = [k + (i - (len(sides) - 1) / 2) * width for k, _ in measured]
        color = _COLORS.get(side)
        bars = time.bar(places, times, width, label=side, color=color)
        time.bar_label(bars, [f"{each:.3g}" for each in times], fontsize=7)
        bars = memory.bar(places, [f.bytes_beyond / 1e6 for _, f in measured], width, color=color)
        memory.bar_label(bars, [f"{f.bytes_beyond / 1e6:.3g}" for _, f in measured], fontsize=7)
    for k, comparison in enumerate(results.workloads.values()):
        floor = 1e3 * comparison.floor(results.speed)
        time.hlines(floor, k - 0.45, k + 0.45, colors="black", linestyles="dotted", label="" if k else "floor")
    time.set(yscale="log", ylabel="step, ms")
    memory.set(yscale="log", ylabel="MB beyond parameters\nand optimizer state")
    memory.set_xticks(range(len(names)), names)
    time.legend(ncols=len(sides) + 1, fontsize=8, loc="upper left")
    title = "One step"
    figure.suptitle("\n".join([title, *(["(on a noisy machine)"] if results.complaints else [])]), fontsize=10)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot draw to {file}: {error}") from error
