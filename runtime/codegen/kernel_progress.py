"""How far the compilation of kernels is, for who asked to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[int, int], None]
"""Is told how many kernels are done or begun, and how many there are to compile. Before the first it is told of 0: a
process may fork from then on, so it has no thread any more.
"""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching_kernels(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of the kernels that this thread compiles inside the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell_of_kernels(begun: int, total: int) -> None:
    """Kernels are compiled, `begun` of `total`."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(begun, total)
