"""Processes that end with the block that uses them, and with the tests' own process however that ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

BUSY = [sys.executable, "-c", "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"]
"""Computes for as long as the process lives that started it."""


@contextlib.contextmanager
def started(*commands: Sequence[str], **options: Any) -> Iterator[list[subprocess.Popen[Any]]]:
    """The running commands, all started as `subprocess.Popen` does with these options."""
    running: list[subprocess.Popen[Any]] = []
    try:
        for command in commands:
            running.append(subprocess.Popen(command, **options))
        yield running
    finally:
        for process in running:
            process.kill()
        for process in running:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait(60)
