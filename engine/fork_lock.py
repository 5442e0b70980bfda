"""Locks that a fork of the process waits for: the child begins between two runs, with every lock free."""

from __future__ import annotations

import os
import threading
import weakref
from _thread import RLock

_locks: weakref.WeakSet[RLock] = weakref.WeakSet()
_registry = threading.Lock()
_forking = threading.RLock()
_held: list[RLock] = []


def fork_lock() -> RLock:
    """A reentrant lock, which is taken while the process forks: what it guards is whole in the child."""
    lock = RLock()
    with _registry:
        _locks.add(lock)
    return lock


def _before_fork() -> None:
    _forking.acquire()
    # Not under the registry's lock: who holds one of these may be about to make another.
    while True:
        with _registry:
            missing = [lock for lock in _locks if lock not in _held]
        if not missing:
            return
        for lock in missing:
            lock.acquire()
            _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()  # another thread of the parent may have held it
    _release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_release, after_in_child=_after_fork_in_child)
