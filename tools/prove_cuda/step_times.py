"""Step times of the workloads and of large models, beside torch, torch.compile and JAX on the same card.

Each framework has one process, which trains one model after another and tells each time at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

from ..bench.figures import OURS, PEERS
from ..bench.worker import measure
from .gpu import session
from .models import model_names, recipe_name
from .report import Report
from .stages import Options

SIDES = (OURS, "torch-graph", "jax", "torch-compile-graph", "torch-compile", "torch")
"""In the order of their worth: the last ones may have no time left."""
LARGE = ("tf32", "bf16")
"""What large models are measured with."""
SECONDS = 0.5
_MOST_SECONDS = 40
"""A model takes a side no longer, compiling included."""
_OURS_SHARE = 0.4


def run(report: Report, options: Options) -> None:
    """Ours, then the peers that are installed."""
    end = time.monotonic() + options.seconds - 3
    times: dict[tuple[str, str], dict[str, float]] = {}
    for side in SIDES[: 1 if options.fake else None]:
        if side != OURS and importlib.util.find_spec(PEERS[side]) is None:
            report.lacks(f"the package {PEERS[side]}: the steps of {side}")
            continue
        left = end - time.monotonic()
        if left < 5:
            report.lacks(f"time for {side}")
            continue
        lines = _here(options) if options.fake else _apart(side, left * (_OURS_SHARE if side == OURS else 0.5))
        for line in lines:
            if "error" in line:
                report.lacks(f"{side}, {line['model']} in {line['precision']}: {line['error']}")
                continue
            report.row("step times", **line)
            times.setdefault((line["model"], line["precision"]), {})[side] = line["milliseconds"]
    for (model, precision), sides in times.items():
        peers = {side: each for side, each in sides.items() if side != OURS}
        if OURS in sides and peers:
            best = min(peers, key=lambda side: peers[side])
            ratio = peers[best] / sides[OURS]
            report.note(f"{model} in {precision}: times as fast as {best}, the best peer", ratio)


def _here(options: Options) -> Iterator[dict[str, Any]]:
    with session(options):
        yield from _measured(OURS, "cuda", options.fake)


def _apart(side: str, seconds: float) -> Iterator[dict[str, Any]]:
    """What a process of its own tells, until its time is over."""
    command = [sys.executable, "-m", __name__, side]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
        timer = signal.signal(signal.SIGALRM, lambda *_: child.kill())
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if line.endswith("\n"):  # the last one may be cut
                    yield json.loads(line)
            if child.wait() != 0:
                yield {"model": "what follows", "precision": "any", "error": f"it ended with code {child.returncode}"}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, timer)
            child.kill()


def _measured(side: str, target: str, fake: bool = False) -> Iterator[dict[str, Any]]:
    for model in model_names(fake):
        for precision in ("fp32",) if model == recipe_name(model) else LARGE:
            told: dict[str, Any] = {"model": model, "side": side, "precision": precision}
            try:
                with _in_time():
                    found = measure(side, recipe_name(model), 0.01 if fake else SECONDS, None, True, target, precision)
            except Exception as error:  # the others are to be measured too
                yield told | {"error": f"{type(error).__name__}: {error}"[:500]}
                continue
            (turn,) = found["turns"]
            yield told | {
                "milliseconds": 1e3 * turn["median"],
                "best": 1e3 * turn["least"],
                "first_seconds": found["first"],
                "bytes": found["bytes_beyond"],
                "loss": found["loss"],
            }


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Raises `TimeoutError` inside of the block when a model has had its time."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done within {_MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _main(side: str) -> None:
    told = sys.stdout
    with redirect_stdout(sys.stderr):
        for line in _measured(side, _target() if side == OURS else "cuda"):
            print(json.dumps(line), file=told, flush=True)


def _target() -> str:
    with session(Options()) as gpu:
        return str(gpu.target)


if __name__ == "__main__":
    _main(sys.argv[1])
