"""`gradloom train` in a process of its own, which ends with the block that uses it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

COMMAND = [sys.executable, "-u", "-c", "import sys; from gradloom_command import main; sys.exit(main())"]


@contextlib.contextmanager
def training(
    arguments: Sequence[str], folder: Path, ignored: Sequence[signal.Signals] = (), **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The running command, with the signals that it ignores from its beginning; all others do what they usually do,
    whatever the process ignores that runs the tests.
    """

    def set_signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    run = subprocess.Popen(
        [*COMMAND, "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        preexec_fn=set_signals,
    )
    try:
        yield run
    finally:
        run.kill()
        run.communicate(timeout=60)


def wait_for(run: subprocess.Popen[str], beginning: str) -> None:
    """Read what it prints until a line begins so."""
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"it ended before it printed {beginning!r}: {run.communicate()[1]}")
