"""What an iterator gives, made ahead in a thread."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class _Raised:
    """What ended an iterator."""

    error: BaseException | None


def prefetched(items: Iterator[Any], count: int) -> Iterator[Any]:
    """The items in their order, at most `count` of them made ahead. What `items` raises comes at its place.

    The thread ends with the items, and when the iterator that is returned is closed or forgotten.
    """
    ready: queue.Queue[Any] = queue.Queue(count)
    over = threading.Event()

    def put(item: Any) -> None:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=_LOOK_SECONDS)
                break

    def make() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    return
            put(_Raised(None))
        except BaseException as error:
            put(_Raised(error))

    thread = threading.Thread(target=make, name="gradloom-prefetch", daemon=True)

    def give() -> Iterator[Any]:
        thread.start()
        try:
            while not isinstance(item := ready.get(), _Raised):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            over.set()

    return give()


_LOOKED_AT = 4
_SLOW_SECONDS = 200e-6


def prefetched_if_slow(items: Iterator[Any], count: int = 2) -> Iterator[Any]:
    """The items; from the fifth on made ahead in a thread, where the first ones took so long that it pays to hand them
    over from one thread to another.
    """
    began = time.perf_counter()
    spent = 0.0
    for i, item in enumerate(items):
        spent += time.perf_counter() - began
        yield item
        if i + 1 == _LOOKED_AT:
            break
        began = time.perf_counter()
    else:
        return
    yield from prefetched(items, count) if spent > _LOOKED_AT * _SLOW_SECONDS else items
