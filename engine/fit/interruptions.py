"""What ends a command early: Ctrl-C, and the signals of a system that ends it. A run saves its checkpoint first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_USUAL = (signal.SIG_DFL, signal.default_int_handler)


class Interruptions:
    """Handles the signals for as long as a command runs; a context manager.

    A signal raises `KeyboardInterrupt` wherever the program is. Inside of `held` it is noted, and `check` raises: so
    what must not end half way does not, however many come. A signal that was ignored before, as for a command that a
    script started in the background, stays so, and a handler of somebody else's stays too.
    """

    def __init__(self) -> None:
        self._came: int | None = None
        self._holds = 0
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in _USUAL:
                    self._usual[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        with self.held():
            for number, handler in self._usual.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = self._came or number
        if not self._holds:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Signals are only noted."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    @property
    def came(self) -> bool:
        """Whether there was a signal."""
        return self._came is not None

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if there was a signal, also one whose exception somebody swallowed."""
        if self._came is not None:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """Of a command that was interrupted: 128 and the number of the signal, as shells count."""
        return 128 + (self._came or signal.SIGINT)
