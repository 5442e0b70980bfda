"""Planning and compiling, one at a time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from ...runtime.codegen.fork_lock import fork_lock

_lock = fork_lock()
"""Held while a step is planned or compiled, because that imports modules when it first needs them."""

_OBJECTS_TO_COLLECT = 10_000_000


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Nobody else compiles, and the garbage collector runs less often: graphs are a great many objects that live for
    as long as a plan is being made, and walking them took a quarter of that time.
    """
    with _lock:
        usual = gc.get_threshold()
        if 0 < usual[0] < _OBJECTS_TO_COLLECT:
            gc.set_threshold(_OBJECTS_TO_COLLECT, *usual[1:])
        try:
            yield
        finally:
            gc.set_threshold(*usual)
