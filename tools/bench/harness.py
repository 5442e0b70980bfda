"""Runs the sides in turn, each in its own process, and compares them."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from ..command_error import CommandError
from .workloads import COMPARED_STEPS, WORKLOADS

_OURS = "gradloom"

_LOSS_TOLERANCE = 1e-4
"""Relative. Sides that differ by more, from the same parameters, do not do the same work."""


@dataclass(frozen=True)
class Sides:
    """Which frameworks are measured: Gradloom, then the peers."""

    peers: tuple[str, ...]

    PEERS: ClassVar[dict[str, str]] = {"torch": "torch", "torch-compile": "torch", "jax": "jax"}
    """What `--against` says, and the package that it takes."""

    @staticmethod
    def parse(text: str) -> Sides:
        """The peers of a list such as "torch,jax". Raises `CommandError` for others, and for those not installed."""
        peers = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for peer in peers:
            if peer not in Sides.PEERS:
                raise CommandError(f"cannot measure against {peer!r}; there are {', '.join(Sides.PEERS)}")
            package = Sides.PEERS[peer]
            if importlib.util.find_spec(package) is None:
                raise CommandError(f"{package} is not installed; pip install '.[peers]' in Gradloom's folder gets it")
        return Sides(peers)

    @property
    def names(self) -> tuple[str, ...]:
        """All sides, Gradloom first."""
        return (_OURS, *self.peers)


@dataclass(frozen=True)
class Figures:
    """One side of one workload over all rounds, in seconds. `warm` is `None` where there was one round only."""

    step: float
    least: float
    cold: float
    warm: float | None
    loss: float
    rounds: list[dict[str, float]]

    @staticmethod
    def of(rounds: list[dict[str, float]]) -> Figures:
        """The figures of a side's rounds, the first of which was cold."""
        return Figures(
            statistics.median(r["median"] for r in rounds),
            min(r["least"] for r in rounds),
            rounds[0]["first"],
            statistics.median(r["first"] for r in rounds[1:]) if rounds[1:] else None,
            rounds[0]["loss"],
            rounds,
        )


def bench(
    workloads: Sequence[str], sides: Sides, rounds: int, seconds: float, json_file: str | None, console: Console
) -> None:
    """Measure `workloads` and print a table; with `json_file` write all that was measured there.

    Raises `CommandError` for an unknown workload, a file that cannot be written, and a side that fails or that does not
    compute what the others do.
    """
    for name in workloads:
        if name not in WORKLOADS:
            raise CommandError(f"there is no workload {name!r}; there are {', '.join(WORKLOADS)}")
    if json_file is not None and not Path(json_file).resolve().parent.is_dir():
        raise CommandError(f"cannot write {json_file}: there is no such folder")
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1:
        console.print(f"other processes are at work here (load average {load:.1f}): the figures will not say much")
    results = {name: _compare(name, sides, rounds, seconds, console) for name in dict.fromkeys(workloads)}
    console.print(_table(results, sides))
    if len(results) > 1 and sides.peers:
        ratios = [_against_best(figures, sides) for figures in results.values()]
        console.print(f"geometric mean against the best peer: {math.prod(ratios) ** (1 / len(ratios)):.2f}x")
    if json_file is not None:
        Path(json_file).write_text(json.dumps(_document(results, sides), indent=1) + "\n")


def _compare(workload: str, sides: Sides, rounds: int, seconds: float, console: Console) -> dict[str, Figures]:
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides.names}
    with tempfile.TemporaryDirectory(prefix="gradloom-bench-", ignore_cleanup_errors=True) as caches:
        for number in range(rounds):
            for side in sides.names:
                with console.status(f"{workload}, round {number + 1} of {rounds}: {side}"):
                    measured[side].append(_run(side, workload, seconds, Path(caches) / side))
    figures = {side: Figures.of(found) for side, found in measured.items()}
    for side in sides.peers:
        if not math.isclose(figures[side].loss, figures[_OURS].loss, rel_tol=_LOSS_TOLERANCE):
            raise CommandError(
                f"{workload}: in step {COMPARED_STEPS} {side}'s loss is {figures[side].loss:.6f}, Gradloom's "
                f"{figures[_OURS].loss:.6f}; they do not compute the same"
            )
    return figures


def _run(side: str, workload: str, seconds: float, cache: Path) -> dict[str, float]:
    """Measure in a new process, which keeps its machine code in `cache`."""
    environment = {
        **os.environ,
        "GRADLOOM_CACHE_DIR": str(cache / "gradloom"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    environment.pop("GRADLOOM_CACHE", None)
    command = [sys.executable, "-m", f"{__package__}.worker", side, workload, str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise CommandError(f"{side} failed on {workload}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _best_peer(figures: Mapping[str, Figures], sides: Sides) -> str:
    return min(sides.peers, key=lambda side: figures[side].step)


def _against_best(figures: Mapping[str, Figures], sides: Sides) -> float:
    """How many times as fast as the best peer Gradloom is."""
    return figures[_best_peer(figures, sides)].step / figures[_OURS].step


def _table(results: Mapping[str, Mapping[str, Figures]], sides: Sides) -> Table:
    table = Table(caption="medians over rounds; first step: from the imports' end, with an empty and a filled cache")
    table.add_column("workload", no_wrap=True)
    table.add_column("side", no_wrap=True)
    for heading in ("step, ms", "best, ms", "vs best peer", "first cold, s", "first warm, s"):
        table.add_column(heading, justify="right")
    for workload, figures in results.items():
        for side in sides.names:
            f = figures[side]
            ratio = f"{_against_best(figures, sides):.2f}x" if side == _OURS and sides.peers else ""
            warm = "" if f.warm is None else f"{f.warm:.2f}"
            step, least = (f"{1e3 * seconds:.4g}" for seconds in (f.step, f.least))
            table.add_row(workload if side == _OURS else "", side, step, least, ratio, f"{f.cold:.2f}", warm)
        table.add_section()
    return table


def _document(results: Mapping[str, Mapping[str, Figures]], sides: Sides) -> dict[str, Any]:
    packages = dict.fromkeys([_OURS, "numpy", "numba", *(Sides.PEERS[peer] for peer in sides.peers)])
    return {
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {package: version(package) for package in packages},
        "workloads": {
            workload: {
                side: {
                    "step_seconds": f.step,
                    "least_seconds": f.least,
                    "first_cold_seconds": f.cold,
                    "first_warm_seconds": f.warm,
                    "rounds": f.rounds,
                }
                for side, f in figures.items()
            }
            for workload, figures in results.items()
        },
    }
