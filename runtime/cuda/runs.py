"""Runs that a GPU was given and may not have done yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ...ir import Array
from .device import Device

_ERROR_BYTES = 8


class Run:
    """One run of a program. `happened` is an event behind it; `results` reads what it left in pinned memory, with the
    code of the trap that it, or a run before it, ran into.
    """

    def __init__(
        self, happened: Any, results: Callable[[], tuple[int, Mapping[int, Array]]], refusal: Callable[[int], Exception]
    ) -> None:
        self.happened, self.results, self.refusal = happened, results, refusal
        self.values: Mapping[int, Array] | None = None
        """Its results by the numbers of outputs, once it is done."""
        self.error: Exception | None = None
        """Why it was not done."""

    @property
    def settled(self) -> bool:
        """Whether it is known what became of it."""
        return self.values is not None or self.error is not None


class Runs:
    """All runs of a device that are not settled, in order.

    A kernel that traps writes its code to the word at `error`, and kernels that would overwrite what is live then do
    nothing. So a run that traps changes nothing, nor do those behind it until its error was raised: to who waits for
    its results, or to whoever uses the device next.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.undone = 0
        """How many runs were not done."""
        self._waiting: deque[Run] = deque()
        self._error = device.allocate(_ERROR_BYTES, "the error word")
        self._clear()

    @property
    def error(self) -> int:
        """The address of the error word."""
        return self._error.address

    def _clear(self) -> None:
        self.device.call("cuMemsetD8Async", self.error, 0, _ERROR_BYTES, self.device.stream)

    def add(self, run: Run) -> None:
        """A run that was just given to the device."""
        self._waiting.append(run)

    def check(self) -> None:
        """Raise the error of a run that is known to have failed. Waits for nothing."""
        with self.device.lock:
            self.device.enter()
            while self._waiting and self.device.happened(self._waiting[0].happened):
                self._settle_first()

    def check_all(self) -> None:
        """Wait for all runs, and raise the error of one that failed."""
        with self.device.lock:
            self.device.enter()
            while self._waiting:
                self.settle(self._waiting[-1])

    def settle(self, run: Run) -> None:
        """Wait for a run and those before it. Raises the error of the first that failed."""
        with self.device.lock:
            self.device.enter()
            while not run.settled:
                self.device.call("cuEventSynchronize", self._waiting[0].happened)
                self._settle_first()

    def result(self, run: Run, which: int) -> Array:
        """A result of a run, by the number of the output, for which this waits. Raises the error of the run."""
        if run.error is None:
            self.settle(run)
        if run.error is not None:
            raise run.error
        assert run.values is not None
        return run.values[which]

    def _settle_first(self) -> None:
        run = self._waiting[0]
        code, values = run.results()
        if not code:
            run.values = values
            self._waiting.popleft()
            return
        run.error = run.refusal(code)
        later = list(self._waiting)[1:]
        for other in later:
            other.error = RuntimeError(f"this was not done, because what was given before it failed: {run.error}")
        self._waiting.clear()
        self.undone += 1 + len(later)
        self.device.synchronize()
        self._clear()
        if later:
            run.error.add_note(f"{len(later)} that were given to the GPU behind it were not done either.")
        raise run.error
