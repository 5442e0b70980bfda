"""One measurement, in a process of its own: `python -m ...worker JSON` prints JSON, a line at a time."""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..command_error import CommandError
from .machine import MACHINE, speed_of
from .side import Place
from .workloads import COMPARED_STEPS, WARM_UP_STEPS, task

BUILDERS = {
    "gradloom": ("gradloom_side", "build"),
    "torch": ("torch_side", "build"),
    "torch-compile": ("torch_side", "build_compiled"),
    "torch-autotune": ("torch_side", "build_autotuned"),
    "torch-graph": ("torch_side", "build_graph"),
    "torch-compile-graph": ("torch_side", "build_compiled_graph"),
    "jax": ("jax_side", "build"),
}
"""For every side, its module in this package and the function that builds its step."""

_MOST_STEPS = 5000


_READ_SECONDS = 0.02
"""On a GPU steps go on for so long before a loss is read: several are in flight, as in a training."""


class Measurement:
    """A side with its step built and warm, ready for turns. All times are in seconds."""

    def __init__(
        self,
        side: str,
        workload: str,
        batch_size: int | None = None,
        target: str = "cpu",
        precision: str = "fp32",
        threads: int | None = None,
        cores: int | None = None,
    ) -> None:
        start = time.perf_counter()
        module, function = BUILDERS[side]
        build = getattr(importlib.import_module(f".{module}", __package__), function)
        imported, cpu = time.perf_counter(), _processor_seconds()
        place = Place(target, precision, threads, cores)
        self._made = build(task(workload, batch_size), place)
        losses = [self._made.number()]
        first, first_cpu = time.perf_counter() - imported, _processor_seconds() - cpu
        losses += [self._made.number() for _ in range(WARM_UP_STEPS - 1)]
        self._together = _steps_together(self._made.step) if place.on_gpu else 1
        self._run = _several(self._made.step, self._together) if place.on_gpu else self._made.step
        self._found = {"imports": imported - start, "first": first, "first_cpu": first_cpu}
        self._found["loss"] = losses[COMPARED_STEPS - 1]

    def turn(self, seconds: float) -> dict[str, float]:
        """Steps for about so many seconds: the `median` and the `least` time of one, the median of the processor time
        that one takes of all cores together, `cpu`, and how many there were.
        """
        times: list[float] = []
        cpu: list[float] = []
        run, wall_clock, cpu_clock = self._run, time.perf_counter, time.process_time
        end = wall_clock() + seconds
        while len(times) < _MOST_STEPS and (not times or wall_clock() < end):
            begun_cpu, begun = cpu_clock(), wall_clock()
            run()
            times.append(wall_clock() - begun)
            cpu.append(cpu_clock() - begun_cpu)
        each = 1 / self._together
        return {
            "median": statistics.median(times) * each,
            "least": min(times) * each,
            "cpu": statistics.median(cpu) * each,
            "steps": len(times) * self._together,
        }

    def end(self, memory: bool) -> dict[str, Any]:
        """`first` is from the imports' end until the first step was done, `first_cpu` the processor time of that,
        `loss` that of step `COMPARED_STEPS`; with `memory` there are `bytes_beyond`. What a step does is told by
        Gradloom.
        """
        beyond = {"bytes_beyond": self._made.bytes_beyond()} if memory else {}
        return {**self._found, **asdict(self._made.work()), **beyond}


def measure(
    side: str,
    workload: str,
    seconds: float,
    batch_size: int | None = None,
    memory: bool = False,
    target: str = "cpu",
    precision: str = "fp32",
) -> dict[str, Any]:
    """All of a measurement, with one turn: see `Measurement`."""
    measured = Measurement(side, workload, batch_size, target, precision)
    turn = measured.turn(seconds)
    return {**measured.end(memory), "turns": [turn]}


def _processor_seconds() -> float:
    """The processor time of this process so far, and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _steps_together(step: Callable[[], Any]) -> int:
    """How many steps take about `_READ_SECONDS`."""
    begun = time.perf_counter()
    float(step())
    return max(1, int(_READ_SECONDS / (time.perf_counter() - begun)))


def _several(step: Callable[[], Any], count: int) -> Callable[[], Any]:
    """So many steps, the loss of the last of which is read."""

    def run() -> float:
        for _ in range(count - 1):
            step()
        return float(step())

    return run


def _main(asked: dict[str, Any]) -> None:
    """Answer each line of standard input, which is the seconds of a turn, with a line; at its end tell the rest."""
    try:
        if asked["side"] == MACHINE:
            print(json.dumps(speed_of(asked["target"])))
            return
        memory = asked.pop("memory")
        measured = Measurement(**asked)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            print(json.dumps(measured.turn(float(line))), flush=True)
        print(json.dumps(measured.end(memory)))
    except CommandError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
