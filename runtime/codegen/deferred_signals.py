"""Deferred signals: those that come while a block runs that must not end half way are handled after it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

_SIGNALS = [n for n in signal.valid_signals() if not getattr(signal, "SIGRTMIN", 65) <= n]
"""All but the real-time signals, which nobody handles in Python."""


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Python's handlers of signals, which may raise anything anywhere, run when the block has ended.

    They run in the main thread alone: in another one nothing is to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual: dict[int, Any] = {}
    came: dict[int, None] = {}
    inside = True

    def note(number: int, frame: FrameType | None) -> None:
        if inside:
            came[number] = None
        else:
            usual[number](number, frame)

    try:
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                usual[number] = handler
                signal.signal(number, note)
        yield
    finally:
        try:
            _restore(usual)
        finally:
            inside = False
        for number in came:
            signal.raise_signal(number)


def _restore(usual: Mapping[int, Any]) -> None:
    """Put all handlers back, though one of those that are back already may raise meanwhile."""
    raised: BaseException | None = None
    left = list(usual.items())
    while left:
        try:
            while left:
                signal.signal(*left[-1])
                left.pop()
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised
