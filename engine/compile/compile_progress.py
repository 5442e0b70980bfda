"""What is compiled and how far it is, in one line of the terminal while that takes more than a second."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ...runtime.codegen.kernel_progress import watching_kernels

PATIENCE_SECONDS = 1.0
"""Nothing is shown of what is compiled faster."""

_REFRESH_SECONDS = 0.2


class CompileProgress:
    """One line of a console of rich that says `what` is compiled, in which phase it is and since when.

    It is drawn over the line that the cursor stands in, and erased at the end: a bar that stands there, such as that of
    `gl.fit`, draws itself again. A thread draws it while the phases before the kernels run; kernels are compiled by
    several processes, before whose fork no thread may run, so each of them is drawn as it begins.
    """

    def __init__(self, what: str, console: Any) -> None:
        self._what = what
        self._console = console
        self._phase = ""
        self._began = time.perf_counter()
        self._drawn = 0.0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = threading.Thread(
            target=self._tick, name="gradloom-progress", daemon=True
        )
        self._thread.start()

    def phase(self, name: str) -> None:
        """Another phase begins."""
        self._phase = name

    def kernels(self, begun: int, total: int) -> None:
        """So many kernels of `total` are done or begun."""
        self._stop()
        self._phase = f"kernels {begun}/{total}"
        self._draw()

    def end(self) -> None:
        """Erase the line."""
        self._stop()
        if self._drawn:
            self._write("")

    def _stop(self) -> None:
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _tick(self) -> None:
        wait = PATIENCE_SECONDS
        while not self._done.wait(wait):
            self._draw()
            wait = _REFRESH_SECONDS

    def _draw(self) -> None:
        now = time.perf_counter()
        seconds = now - self._began
        if seconds >= PATIENCE_SECONDS and now - self._drawn >= _REFRESH_SECONDS:
            self._drawn = now
            phase = f": {self._phase}" if self._phase else ""
            self._write(f"compiling {self._what}{phase}, {seconds:.0f} s")

    def _write(self, text: str) -> None:
        """Put `text` in place of the line; a terminal that is gone changes nothing."""
        from rich.control import Control
        from rich.segment import ControlType

        with self._lock, contextlib.suppress(OSError, ValueError):
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            if text:
                short = text[: max(self._console.width - 1, 0)]
                self._console.print(short, end="", soft_wrap=True, markup=False, highlight=False)


_current: ContextVar[CompileProgress | None] = ContextVar("progress", default=None)


def terminal() -> Any:
    """A console of rich where stderr is a terminal, and `GRADLOOM_PROGRESS=0` does not say that nothing is shown."""
    if os.environ.get("GRADLOOM_PROGRESS", "") == "0" or sys.stderr is None or not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None


@contextlib.contextmanager
def compile_progress(what: str) -> Iterator[None]:
    """Show that `what` is compiled, while the block runs, where it takes more than a second and there is a terminal."""
    console = terminal() if _current.get() is None else None
    if console is None:
        yield
        return
    progress = CompileProgress(what, console)
    token = _current.set(progress)
    try:
        with watching_kernels(progress.kernels):
            yield
    finally:
        _current.reset(token)
        progress.end()


def compile_phase(name: str) -> None:
    """Another phase of what is compiled begins, such as "planning"."""
    progress = _current.get()
    if progress is not None:
        progress.phase(name)
