"""Runs the sides in turn, each in its own process, and compares them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...engine.compile.targets import target_of, with_precision
from ...engine.report.wording import human
from ...ir.printable import printable
from ...runtime.backend import backend_of
from ..command_error import CommandError
from .figures import GPU_PEERS, OURS, PEERS, Comparison, Figures, Results
from .machine import MACHINE, Clocks, Noise, Speed
from .picture import draw
from .side import Place
from .side_process import SideProcess
from .wider import WIDER
from .workloads import COMPARED_STEPS, WORKLOADS, check_name, task

LOSS_TOLERANCE = 1e-4
"""Relative. Sides that differ by more, from the same parameters, do not do the same work."""
ROUNDED_LOSS_TOLERANCE = 1e-2
"""The same where factors are rounded, which each side does in places of its own."""
DRAWN_LOSS_TOLERANCE = 0.2
"""The same for steps that draw, as dropout does: each side has numbers of its own."""

_WIDTH, _THREADS_WIDTH = 100, 14
"""Of the table in a file, and of a column of threads."""

TURNS = 5
"""How often the sides of a round run in turn."""
_REST = 0.05
"""Seconds before a turn: threads of a side that has just run go on spinning for a while."""

PINS = {"no": (False,), "too": (False, True), "only": (True,)}
"""What `--pin` says, and whether sides are held to one core in each measurement of a workload."""
ON_ONE = ", one core"
"""Stands behind the name of a workload that was measured on one core."""


@dataclass(frozen=True)
class Sides:
    """Which frameworks are measured: Gradloom, then the peers."""

    peers: tuple[str, ...]

    @staticmethod
    def parse(text: str, target: str = "cpu") -> Sides:
        """The peers of a list such as "torch,jax", to train on a target. Raises `CommandError` for others, for those
        not installed, and for those that there are on a GPU alone.
        """
        peers = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for peer in peers:
            if peer not in PEERS:
                raise CommandError(f"cannot measure against {peer!r}; there are {', '.join(PEERS)}")
            if peer in GPU_PEERS and not Place(target).on_gpu:
                raise CommandError(f"{peer} is measured on a GPU alone; add --target cuda, or leave it out")
            package = PEERS[peer]
            if importlib.util.find_spec(package) is None:
                raise CommandError(f"{package} is not installed; pip install '.[peers]' in Gradloom's folder gets it")
        return Sides(peers)

    def on(self, workload: str) -> list[str]:
        """Those that can do a workload, Gradloom first. Beside a user's recipe that means: for which it has a peer."""
        if workload in WORKLOADS or not self.peers:
            return [OURS, *self.peers]
        if workload in WIDER:
            return [OURS, *(peer for peer in self.peers if peer not in WIDER[workload].without)]
        asked = task(workload)
        return [OURS, *(peer for peer in self.peers if asked.peer(PEERS[peer]) is not None)]


@dataclass(frozen=True)
class Settings:
    """How a run of the benchmark is done, and where it is written to."""

    rounds: int = 5
    seconds: float = 1.0
    batch_size: int | None = None
    target: str = "cpu"
    json_file: str | None = None
    picture_file: str | None = None
    precision: str = "fp32"
    pin: str = "no"
    threads: tuple[int, ...] = ()
    cores: int | None = None


def bench(workloads: Sequence[str], sides: Sides, settings: Settings, console: Console) -> None:
    """Measure `workloads` (names of `WORKLOADS`, or recipes) and print a table; write JSON and a picture where asked.

    Raises `CommandError` for an unknown workload, a file that cannot be written, and a side that fails or that does not
    compute what the others do; `TargetError` for a target that this machine cannot run.
    """
    backend_of(with_precision(target_of(settings.target), settings.precision))
    if sides.peers and settings.precision != "fp32" and not Place(settings.target).on_gpu:
        raise CommandError("beside peers --precision is for GPUs: on a CPU they train in float32; leave --against out")
    if (settings.threads or settings.cores) and target_of(settings.target).is_gpu:
        raise CommandError("--threads and --cores are for the CPU; leave them out")
    if settings.threads and settings.pin != "no":
        raise CommandError("--threads compares numbers of threads on all cores; leave --pin out")
    if settings.pin != "no" and Place(settings.target).on_gpu:
        raise CommandError("--pin is for CPUs: a side on a GPU is not held to a core; leave it out")
    for name in workloads:
        check_name(name)
    for file in filter(None, (settings.json_file, settings.picture_file)):
        if not Path(file).resolve().parent.is_dir():
            raise CommandError(f"cannot write {file}: there is no such folder")
    if settings.picture_file is not None and importlib.util.find_spec("matplotlib") is None:
        raise CommandError("matplotlib is not installed; pip install '.[plot]' in Gradloom's folder gets it")
    start = Clocks.now()
    machine = {"side": MACHINE, "target": settings.target}
    with console.status("the machine itself"), SideProcess(machine, Path(os.devnull), settings.pin == "only") as one:
        speed = Speed(**one.first)
    found: dict[str, Comparison] = {}
    for name in dict.fromkeys(workloads):
        for pinned in PINS[settings.pin]:
            found[f"{name}{ON_ONE * pinned}"] = _compare(name, sides.on(name), pinned, settings, console)
    results = Results(found, speed, Noise.between(start, Clocks.now()))
    _tell(results, console)
    if settings.json_file is not None:
        Path(settings.json_file).write_text(json.dumps(results.document(), indent=1) + "\n")
    if settings.picture_file is not None:
        draw(results, settings.picture_file)


def _compare(workload: str, sides: Sequence[str], pinned: bool, settings: Settings, console: Console) -> Comparison:
    measured: dict[str | int, list[dict[str, Any]]] = {side: [] for side in (*sides, *settings.threads)}
    with tempfile.TemporaryDirectory(prefix="gradloom-bench-", ignore_cleanup_errors=True) as caches:
        for number in range(settings.rounds):
            what = f"{workload}, round {number + 1} of {settings.rounds}"
            for side, found in _round(workload, sides, pinned, settings, Path(caches), number == 0, what, console):
                measured[side].append(found)
    figures = {side: Figures.of(measured[side], pinned) for side in sides}
    threads = {n: Figures.of(measured[n]) for n in settings.threads}
    tolerance = LOSS_TOLERANCE if settings.precision == "fp32" else ROUNDED_LOSS_TOLERANCE
    if measured[OURS][0]["draws"]:
        tolerance = DRAWN_LOSS_TOLERANCE
    for side in sides:
        if not math.isclose(figures[side].loss, figures[OURS].loss, rel_tol=tolerance):
            raise CommandError(
                f"{workload}: in step {COMPARED_STEPS} {side}'s loss is {figures[side].loss:.6f}, Gradloom's "
                f"{figures[OURS].loss:.6f}; they do not compute the same"
            )
    for n, on_threads in threads.items():
        if on_threads.loss != figures[OURS].loss:
            raise CommandError(f"{workload}: the loss on {n} threads has other bits than on all cores")
    return Comparison(figures, pinned, threads)


def _round(
    workload: str,
    sides: Sequence[str],
    pinned: bool,
    settings: Settings,
    caches: Path,
    memory: bool,
    what: str,
    console: Console,
) -> Iterator[tuple[str | int, dict[str, Any]]]:
    """Every side in a process of its own: all begin one after the other, then run in turn while the others wait. Behind
    the sides comes Gradloom on so many threads each.
    """
    asked = {
        "workload": workload,
        "batch_size": settings.batch_size,
        "target": settings.target,
        "precision": settings.precision,
        "memory": memory,
    }
    with contextlib.ExitStack() as stack:
        running: dict[str | int, SideProcess] = {}
        for key in (*sides, *settings.threads):
            side, threads = (key, None) if isinstance(key, str) else (OURS, key)
            own = {"threads": threads, "cores": settings.cores} if side == OURS else {}
            with console.status(f"{what}: {side}" + (f" on {threads} threads" if threads else "")):
                of_side = {"side": side, **asked, **own}
                running[key] = stack.enter_context(SideProcess(of_side, caches / side, pinned))
        turns: dict[str | int, list[Any]] = {key: [] for key in running}
        with console.status(f"{what}: all in turn"):
            for _ in range(TURNS):
                for side, process in running.items():
                    time.sleep(_REST)
                    turns[side].append(process.answer(str(settings.seconds / TURNS)))
        for side, process in running.items():
            yield side, {**process.end(), "turns": turns[side]}


def _tell(results: Results, console: Console) -> None:
    counts = max((len(comparison.threads) for comparison in results.workloads.values()), default=0)
    wide = console if console.is_terminal else Console(file=console.file, width=_WIDTH + _THREADS_WIDTH * counts)
    wide.print(_table(results))
    ratios = [c.speedup for c in results.workloads.values() if c.speedup is not None]
    if len(ratios) > 1:
        console.print(f"geometric mean against the best peer: {math.prod(ratios) ** (1 / len(ratios)):.2f}x")
    console.print(
        f"the floor is matrix products at {results.speed.flops / 1e9:.0f} GFLOP/s and AdamW's 28 bytes a parameter at "
        f"{results.speed.bandwidth / 1e9:.0f} GB/s, {results.speed.source}",
        highlight=False,
    )
    for complaint in results.complaints:
        console.print(f"a noisy machine, do not trust these figures: {complaint}", highlight=False, markup=False)


def _table(results: Results) -> Table:
    counts = list(dict.fromkeys(n for comparison in results.workloads.values() for n in comparison.threads))
    table = Table(
        caption="step, best: the median and the least time of a step in ms; cpu: its processor time, of all cores; "
        "vs peer: how many times as fast as the best peer; floor: over the least time that the machine needs; "
        "bytes: beside parameters and optimizer state; "
        "vs peer: over the best peer's; cold, warm: seconds to the first step, from an empty and from a filled cache, "
        "on one core those of the processor"
        + ("; threads: a step of Gradloom's on so many, and how many times as fast as on the fewest" if counts else ""),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("workload", no_wrap=True)
    table.add_column("side", no_wrap=True, min_width=max(map(len, results.side_names)))
    on_threads = [f"{n} thread{'s' if n > 1 else ''}" for n in counts]
    for heading in ("step", "best", "cpu", "vs peer", "floor", "bytes", "vs peer", "cold", "warm", *on_threads):
        table.add_column(heading, justify="right", no_wrap=True)
    for workload, comparison in results.workloads.items():
        floor = comparison.floor(results.speed)
        for side, f in comparison.sides.items():
            ours = side == OURS
            table.add_row(
                Text(printable(workload) if ours else ""),
                side,
                f"{1e3 * f.step:.4g}",
                f"{1e3 * f.least:.4g}",
                f"{1e3 * f.cpu:.4g}",
                f"{comparison.speedup:.2f}x" if ours and comparison.speedup is not None else "",
                f"{comparison.seconds(side) / floor:.2f}x" if floor else "",
                human(f.bytes_beyond),
                f"{comparison.bytes_ratio:.2f}x" if ours and comparison.bytes_ratio is not None else "",
                f"{f.cold:.2f}",
                "" if f.warm is None else f"{f.warm:.2f}",
                *(f"{1e3 * comparison.threads[n].step:.4g} {comparison.gain(n):.2f}x" if ours else "" for n in counts),
            )
        table.add_section()
    return table
