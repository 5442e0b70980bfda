"""The stages of the proof, in their order: what each shows, and how long it may take."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .report import Line, Report, document, read_lines


@dataclass(frozen=True)
class Options:
    """What holds for all stages. `fake`: on the driver that stands for NVIDIA's, with small sizes; `minutes`: for all
    stages; `seconds`: for the one that is asked.
    """

    fake: bool = False
    minutes: float = 8.0
    seconds: float = 60.0

    def within(self, seconds: float) -> Options:
        """The same for a stage that may take so long."""
        return Options(self.fake, self.minutes, seconds)


@dataclass(frozen=True)
class Stage:
    """A module of this folder with a function `run(report, options)`, and its share of the time.

    Without a GPU those run that do not need one.
    """

    name: str
    shows: str
    seconds: float
    needs_gpu: bool = True

    def run(self, report: Report, options: Options) -> None:
        """Run it in this process. Raises whatever goes wrong."""
        importlib.import_module(f".{self.name}", __package__).run(report, options)


STAGES = (
    Stage("machine", "the machine, the card, what is installed and what is missing", 20, needs_gpu=False),
    Stage("kernels", "kernels of the workloads become machine code: registers, spills, seconds", 40, needs_gpu=False),
    Stage("ceilings", "what the card can do at best: copies, products, launches, its link to the host", 30),
    Stage("bits", "steps have the emulator's bits, by libraries the same bits every time, under every budget", 70),
    Stage("ops", "every row of the table of ops has the emulator's bits", 80),
    Stage("memory", "a step takes what was planned, and no more after a thousand steps", 40),
    Stage("faults", "a bad index, too little memory, a lost device: clear errors, nothing half changed", 20),
    Stage("regions", "the longest units, as a part of what the card can do at best", 40),
    Stage("step_times", "steps of the workloads and of large models, beside torch and JAX", 240),
    Stage("sanitizer", "small models under compute-sanitizer", 60),
)
"""In the order in which they run: what others are measured by comes first, what may be cut short last. Most take less
than they may, and leave their time to the last ones.
"""

STAGE_NAMES = tuple(stage.name for stage in STAGES)

Outcome = dict[str, Any]
"""What became of a stage: its state, its seconds, what it wrote, and the error that ended it."""

PASSED, FAILED, LEFT_OUT, LATE = "passed", "failed", "left out", "out of time"


def run_stages(
    stages: list[Stage], options: Options, have_gpu: bool, told: Callable[[dict[str, Outcome]], None]
) -> dict[str, Outcome]:
    """Run stages one after another, each in a process of its own that is ended when its time is over; the fake driver
    takes them in this process. `told` gets all outcomes as they are so far, each time that something was found.
    """
    outcomes: dict[str, Outcome] = {}
    end = time.monotonic() + 60 * options.minutes
    for stage in stages:
        left = end - time.monotonic()
        if stage.needs_gpu and not have_gpu:
            outcomes[stage.name] = _outcome(LEFT_OUT, 0.0, [{"lacks": "a GPU"}])
        elif left < 1:
            outcomes[stage.name] = _outcome(LEFT_OUT, 0.0, [{"lacks": f"time: {options.minutes:g} minutes are over"}])
        else:
            within = options.within(min(stage.seconds * options.minutes / 8.0, left))
            for outcome in (_here if options.fake else _apart)(stage, within):
                outcomes[stage.name] = outcome
                told(outcomes)
        told(outcomes)
    return outcomes


def _outcome(state: str, seconds: float, lines: list[Line], error: str = "") -> Outcome:
    found = document(lines)
    if state == PASSED and not all(check["holds"] for check in found["checks"]):
        state = FAILED
    return {"state": state, "seconds": round(seconds, 2), **found, **({"error": error} if error else {})}


def _here(stage: Stage, options: Options) -> Iterator[Outcome]:
    lines: list[Line] = []
    start = time.monotonic()
    state, error = _ran(stage, Report(lines.append), options)
    yield _outcome(state, time.monotonic() - start, json.loads(json.dumps(lines)), error)


def _ran(stage: Stage, report: Report, options: Options) -> tuple[str, str]:
    try:
        stage.run(report, options)
    except Exception:
        return FAILED, traceback.format_exc()
    return PASSED, ""


def _apart(stage: Stage, options: Options) -> Iterator[Outcome]:
    """The outcome so far, twice a second, and at last the whole one."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prove-cuda-", ignore_cleanup_errors=True) as folder:
        lines, errors = Path(folder, "lines"), Path(folder, "errors")
        lines.touch()
        command = [sys.executable, "-m", __name__, stage.name, json.dumps(asdict(options)), str(lines)]
        with errors.open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        state = LATE
        try:
            while state == LATE and time.monotonic() - start < options.seconds:
                try:
                    state = FAILED if child.wait(0.5) else PASSED
                except subprocess.TimeoutExpired:
                    yield _outcome(LATE, time.monotonic() - start, read_lines(lines.read_text()))
        finally:
            _end(child)
        words = errors.read_text(errors="replace")
        error = "" if state == PASSED else f"{words[-4000:]}\nexit code {child.returncode}".strip()
        yield _outcome(state, time.monotonic() - start, read_lines(lines.read_text()), error)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _main(name: str, options: str, lines: str) -> int:
    """A stage in this process, which writes its lines to a file."""
    (stage,) = (stage for stage in STAGES if stage.name == name)
    with Path(lines).open("a") as file:

        def write(line: Line) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        state, error = _ran(stage, Report(write), Options(**json.loads(options)))
    if error:
        print(error, file=sys.stderr)
    return 0 if state == PASSED else 1


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
