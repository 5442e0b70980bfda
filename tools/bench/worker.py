"""One measurement, in a process of its own: `python -m ...worker JSON` prints JSON."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
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


def measure(
    side: str,
    workload: str,
    seconds: float,
    batch_size: int | None = None,
    memory: bool = False,
    target: str = "cpu",
    precision: str = "fp32",
) -> dict[str, float]:
    """Import a side, build its step and run it for about so many seconds. All times are in seconds.

    `first` is from the imports' end until the first step is done, `median` and `least` are of the steps after the
    warm-up, `loss` is that of step `COMPARED_STEPS`, and with `memory` there are `bytes_beyond`.
    """
    start = time.perf_counter()
    module, function = BUILDERS[side]
    build = getattr(importlib.import_module(f".{module}", __package__), function)
    imported = time.perf_counter()
    place = Place(target, precision)
    made = build(task(workload, batch_size), place)
    step = made.step
    losses = [float(step())]
    first = time.perf_counter() - imported
    losses += [float(step()) for _ in range(WARM_UP_STEPS - 1)]
    times: list[float] = []
    together = _steps_together(step) if place.on_gpu else 1
    run = _several(step, together) if place.on_gpu else step
    end = time.perf_counter() + seconds
    while len(times) < _MOST_STEPS and (not times or time.perf_counter() < end):
        begun = time.perf_counter()
        run()
        times.append((time.perf_counter() - begun) / together)
    return {
        "imports": imported - start,
        "first": first,
        "median": statistics.median(times),
        "least": min(times),
        "steps": len(times) * together,
        "loss": losses[COMPARED_STEPS - 1],
        "matmul_flops": made.matmul_flops,
        "parameters": made.parameters,
        "draws": made.draws,
        **({"bytes_beyond": made.bytes_beyond()} if memory else {}),
    }


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
    try:
        found = speed_of(asked["target"]) if asked["side"] == MACHINE else measure(**asked)
    except CommandError as error:
        sys.exit(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
