"""`gradloom train` in a process of its own, which ends with the block that uses it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from child_processes import started

_PATIENCE_SECONDS = 200

COMMAND = [sys.executable, "-u", "-c", "import sys; from gradloom_command import main; sys.exit(main())"]

# Sets what a process does at signals from its beginning, and becomes the command. Popen's preexec_fn would fork the
# process of the tests, which must not be where JAX was imported.
_WITH_SIGNALS = """
import os, signal, sys
ignored = sys.argv[1].split()
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD"):
    signal.signal(signal.Signals[name], signal.SIG_IGN if name in ignored else signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def training(
    arguments: Sequence[str], folder: Path, ignored: Sequence[signal.Signals] = (), **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The running command, with the signals that it ignores from its beginning; all others do what they usually do,
    whatever the process ignores that runs the tests.
    """

    first = [sys.executable, "-I", "-S", "-c", _WITH_SIGNALS, " ".join(number.name for number in ignored)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"cwd": folder, "env": {**os.environ, **environment}}
    with started([*first, *COMMAND, "train", *arguments], **pipes, **options) as (run,):
        watchdog = threading.Timer(_PATIENCE_SECONDS, run.kill)  # who reads what it prints would wait for ever
        watchdog.start()
        try:
            yield run
        finally:
            watchdog.cancel()


def wait_for(run: subprocess.Popen[str], beginning: str) -> None:
    """Read what it prints until a line begins so."""
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"it ended before it printed {beginning!r}: {run.communicate()[1]}")
