"""The command `gradloom`: it is here, beside the package, so that Ctrl-C while that is imported is no traceback."""

import signal
import sys
from typing import Any

_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the command of this process. Returns the exit code; nothing interrupts what Python does after that."""
    code = None
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)

    try:
        # While packages are imported it is only noted: some, such as NumPy, print a traceback, others swallow it.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, note)
        from gradloom.tools.cli import main as run

        if not came and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt
        code = run()
    except KeyboardInterrupt:
        _ignore_signals()
        if code is None:
            code = _INTERRUPTED
            print("interrupted", file=sys.stderr)
    finally:
        _ignore_signals()
    return code


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
