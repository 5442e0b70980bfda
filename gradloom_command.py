"""The command `gradloom`: it is here, beside the package, so that Ctrl-C while that is imported is no traceback."""

import signal
import sys
from typing import Any

_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the command of this process. Returns the exit code; nothing interrupts what Python does after that."""
    code = None
    came: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) == 1:  # a second one would come in the midst of what the first leads to
            raise KeyboardInterrupt

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
        from gradloom.tools.cli import main as run

        if came:  # and a callback somewhere swallowed it
            raise KeyboardInterrupt
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
    except (KeyboardInterrupt, ImportError) as error:
        # A package whose import is interrupted may say that it cannot be imported.
        if isinstance(error, ImportError) and not came:
            raise
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
