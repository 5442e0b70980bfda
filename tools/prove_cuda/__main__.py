"""`python -m gradloom.tools.prove_cuda`: everything that the CUDA target promises, shown on the GPU of this machine.

Each stage runs in a process of its own, for as long as it may, and what it finds is written to the JSON at once: a run
that is killed loses nothing, and a stage that fails stops no other. What is not installed is named and left out.
Without a GPU the stages run that need none. The exit code is 0 where everything holds, 1 where something does not or a
stage failed, and 2 where nothing failed but there was no GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .gpu import what_is_missing
from .show import show
from .stages import FAILED, LATE, STAGE_NAMES, STAGES, Options, Outcome, run_stages

HOLDS, BROKEN, NO_GPU = range(3)
"""Exit codes."""

_WIDTH = 140
"""Of tables in a file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages that are asked for; the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if not Path(asked.json).absolute().parent.is_dir():
        parser.error(f"argument --json: there is no folder for {asked.json}")
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    lacking = [] if asked.fake else what_is_missing()
    for what in lacking:
        console.print(f"without a GPU: {what}", highlight=False, markup=False)
    start = time.time()

    def keep(outcomes: Mapping[str, Outcome]) -> None:
        _write(asked.json, {"began": start, "missing": lacking, "fake": asked.fake, "stages": outcomes})

    stages = [stage for stage in STAGES if not asked.only or stage.name in asked.only]
    # What ends this process ends the stage that runs, too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        outcomes = run_stages(stages, Options(asked.fake, asked.minutes), not lacking, keep)
    finally:
        signal.signal(signal.SIGTERM, before)
    keep(outcomes)
    show(outcomes, console)
    console.print(f"{time.time() - start:.0f} seconds; all of it is in {asked.json}", highlight=False, markup=False)
    if any(outcome["state"] in (FAILED, LATE) for outcome in outcomes.values()):
        return BROKEN
    return NO_GPU if lacking else HOLDS


def _write(file: str, found: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    new = Path(f"{file}.new")
    new.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(new, file)


def _positive(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return minutes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gradloom.tools.prove_cuda",
        description=__doc__,
        epilog="Stages: " + "; ".join(f"{stage.name}: {stage.shows}" for stage in STAGES),
    )
    parser.add_argument("--minutes", type=_positive, default=8.0, metavar="M", help="for all stages together (8)")
    parser.add_argument(
        "--only", action="append", choices=STAGE_NAMES, metavar="STAGE", help="this stage; may be given several times"
    )
    parser.add_argument("--json", default="prove_cuda.json", metavar="FILE", help="where to write it (prove_cuda.json)")
    parser.add_argument(
        "--fake", action="store_true", help="on a driver that stands for NVIDIA's, with small sizes: tries the script"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
