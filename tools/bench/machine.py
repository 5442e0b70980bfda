"""What the machine can do at best, measured beside the workloads, and who else is using it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.compile.targets import target_of

MACHINE = "machine"
"""Stands for a side where the machine itself is measured."""

_MATRIX = 1536
_COPIED_BYTES = 1 << 28
_SECONDS = 0.4

ADAMW_BYTES = 28
"""That an update moves for each float32 parameter: it reads parameter, gradient and two moments, and writes three."""

_MOST_SPREAD = 0.15
_MOST_OTHERS = 0.10
_MOST_STOLEN = 0.02


@dataclass(frozen=True)
class Speed:
    """Floating-point operations and bytes a second, on all cores or of a whole GPU, and where they come from."""

    flops: float
    bandwidth: float
    source: str = "the best that was measured here"

    def floor(self, matmul_flops: int, parameters: int) -> float:
        """Seconds that a step with AdamW takes at least: its matrix products, then the update's memory traffic."""
        return matmul_flops / self.flops + parameters * ADAMW_BYTES / self.bandwidth


def speed_of(target: str) -> dict[str, Any]:
    """The fields of `Speed` for a target: this machine's are measured, a GPU's are those of its data sheet."""
    machine = target_of(target)
    if not machine.is_gpu:
        return measure_speed()
    workers = machine.workers or 1
    return {
        "flops": 1e9 * workers * machine.flops_per_ns(np.dtype("float32")),
        "bandwidth": 1e9 * workers * machine.memory_bytes_per_ns,
        "source": f"what the data sheet of {machine} says",
    }


def measure_speed() -> dict[str, float]:
    """The fields of `Speed`: float32 matrix products by NumPy's BLAS, and copies by one thread a core; the best of many
    tries.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((_MATRIX, _MATRIX), np.float32) for _ in range(2))
    out = np.empty_like(a)
    product = _best(lambda: np.matmul(a, b, out=out))
    cores = usable_cores()
    source, target = np.zeros(_COPIED_BYTES, np.uint8), np.zeros(_COPIED_BYTES, np.uint8)
    pieces = list(zip(np.array_split(source, cores), np.array_split(target, cores)))

    def copy() -> None:
        threads = [threading.Thread(target=np.copyto, args=(to, of)) for of, to in pieces]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return {"flops": 2 * _MATRIX**3 / product, "bandwidth": 2 * _COPIED_BYTES / _best(copy)}


def bandwidth_of_core() -> float:
    """Bytes a second that a core reads and writes while all that this process may use copy at a time. It is by the time
    that a thread has its core, so that other processes count little.
    """
    cores = usable_cores()
    end = time.perf_counter() + _SECONDS
    rates: list[float] = []

    def copy() -> None:
        source, target = (np.zeros(_COPIED_BYTES // cores, np.uint8) for _ in range(2))
        np.copyto(target, source)
        begun, copied = time.thread_time(), 0
        while copied == 0 or time.perf_counter() < end:
            np.copyto(target, source)
            copied += 2 * source.nbytes
        rates.append(copied / (time.thread_time() - begun))

    threads = [threading.Thread(target=copy) for _ in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates) / cores


def _best(task: Callable[[], object]) -> float:
    task()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        begun = time.perf_counter()
        task()
        best = min(best, time.perf_counter() - begun)
    return best


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Clocks:
    """What all cores have done since the machine started, in seconds; zeros where the system does not tell."""

    when: float
    busy: float
    stolen: float
    ours: float

    @staticmethod
    def now() -> Clocks:
        """`ours` is this process and those that it has waited for."""
        ours = sum(os.times()[:4])
        try:
            fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        except (OSError, ValueError):
            return Clocks(time.perf_counter(), 0.0, 0.0, ours)
        user, nice, system, _, _, irq, soft_irq, stolen = fields[:8]
        tick = os.sysconf("SC_CLK_TCK")
        return Clocks(time.perf_counter(), (user + nice + system + irq + soft_irq) / tick, stolen / tick, ours)


@dataclass(frozen=True)
class Noise:
    """How much of the cores others had: other processes, and other machines on the same hardware."""

    others: float
    stolen: float

    @staticmethod
    def between(start: Clocks, end: Clocks) -> Noise:
        """As shares of the time of the cores that this process may use."""
        time_of_cores = max((end.when - start.when) * usable_cores(), 1e-9)
        others = (end.busy - start.busy) - (end.ours - start.ours)
        known = end.busy > start.busy
        return Noise(max(others, 0.0) / time_of_cores if known else 0.0, (end.stolen - start.stolen) / time_of_cores)

    def complaints(self, spreads: dict[str, float]) -> list[str]:
        """Why figures are not to be trusted, if they are not: `spreads` says how far the rounds of each side lie apart,
        (most - least) / median.
        """
        found = []
        if self.others > _MOST_OTHERS:
            found.append(f"other processes had {self.others:.0%} of the cores")
        if self.stolen > _MOST_STOLEN:
            found.append(f"{self.stolen:.0%} of the cores' time was stolen by other machines on the same hardware")
        apart = {name: spread for name, spread in spreads.items() if spread > _MOST_SPREAD}
        if apart:
            worst = max(apart, key=lambda name: apart[name])
            found.append(f"rounds lie apart: those of {worst} by {apart[worst]:.0%} of their median")
        return found
