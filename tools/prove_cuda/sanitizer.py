"""Small models under NVIDIA's compute-sanitizer, which watches every access on the card, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

from .gpu import session
from .report import Report
from .small import SMALL, small_step, train
from .stages import Options

TOOLS = ("memcheck", "racecheck", "synccheck")
_WORDS = 2000
"""Characters of what it says that are kept."""


def run(report: Report, options: Options) -> None:
    """Each tool on the small models, as far as time reaches."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        report.lacks("compute-sanitizer, which comes with a CUDA toolkit: put it into PATH")
        return
    end = time.monotonic() + options.seconds - 5
    for tool in TOOLS:
        for name in SMALL:
            left = end - time.monotonic()
            if left < 1:
                report.lacks(f"time for {tool} of {name} and what follows")
                return
            command = [program, "--tool", tool, "--error-exitcode", "1", sys.executable, "-m", __name__, name]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=left, stdin=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                report.lacks(f"time for {tool} of {name} and what follows")
                return
            report.check(f"{name} under {tool}", done.returncode == 0, (done.stdout + done.stderr)[-_WORDS:])


def _main(name: str) -> None:
    """Two steps of a small model, by kernels of our own and by libraries."""
    with session(Options()) as gpu:
        for target in dict.fromkeys((gpu.own, gpu.target)):
            train(small_step(name, target), name, 2)


if __name__ == "__main__":
    _main(sys.argv[1])
