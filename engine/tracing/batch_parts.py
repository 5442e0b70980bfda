"""In how many parts the batch of the step that is being traced is run, for what takes statistics of a part."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .tracer import source


@dataclass
class BatchParts:
    """The parts, and where something took statistics of each of them: the user's lines. `shared` are the ranks, and the
    parts of the batch of all of them, of which one is traced.
    """

    count: int
    shared: tuple[int, int] | None = None
    lines: list[str] = field(default_factory=list[str])


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[BatchParts] = []


_stack = _Stack()


@contextmanager
def in_parts(count: int, shared: tuple[int, int] | None = None) -> Iterator[BatchParts]:
    """Trace what is inside for a batch of `count` equal parts, which is a part itself where ranks have `shared` one."""
    parts = BatchParts(count, shared)
    _stack.contexts.append(parts)
    try:
        yield parts
    finally:
        _stack.contexts.remove(parts)


def batch_parts() -> int:
    """The number of parts, of which the caller takes statistics one by one."""
    if not _stack.contexts:
        return 1
    parts = _stack.contexts[-1]
    parts.lines.append(source())
    return parts.count


def runs_in_parts() -> bool:
    """Whether there are several parts, of which the caller takes no statistics."""
    return bool(_stack.contexts) and _stack.contexts[-1].count > 1


def shared_parts() -> tuple[int, int] | None:
    """The ranks that share a batch of which one part is traced, and its parts; None where the batch is traced whole."""
    return _stack.contexts[-1].shared if _stack.contexts else None
