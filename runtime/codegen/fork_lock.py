"""Locks that a fork of the process waits for: the child begins between two runs, with every lock free.

A child has one thread, and whatever another thread of its parent was doing stays half done there for ever: a module
half imported, Numba's and LLVM's own locks taken. So who imports, compiles or runs does it under one of these.

A signal handler or a finalizer may interrupt the thread that holds one, and call what takes it again: so locks are
reentrant, and what cannot be done inside of itself refuses that with `interrupted`.
"""

from __future__ import annotations

import logging  # noqa: F401
import os
import threading
import weakref
from _thread import RLock

_locks: weakref.WeakSet[RLock] = weakref.WeakSet()
_registry = threading.RLock()
_forking = threading.RLock()
_held: list[RLock] = []

_PATIENCE_SECONDS = 0.05


def fork_lock() -> RLock:
    """A reentrant lock, which is taken while the process forks: what it guards is whole in the child."""
    lock = RLock()
    with _registry:
        _locks.add(lock)
    return lock


def interrupted(what: str) -> RuntimeError:
    """The error for a call of what this thread is in the middle of."""
    return RuntimeError(
        f"{what} was called while this same thread is in the middle of it, from a signal handler or a finalizer that "
        "interrupted it; let the handler only set a flag, and look at that between two calls"
    )


compiler_lock = fork_lock()
"""Held while machine code is made or loaded."""


def _before_fork() -> None:
    _forking.acquire()
    patience = _PATIENCE_SECONDS
    blocked = _take_all(None, patience)
    while blocked is not None:
        # Its holder may be waiting for one that we took: begin again with this one, and wait longer for the others.
        _release_held()
        patience *= 2
        blocked = _take_all(blocked, patience)


def _take_all(first: RLock | None, patience: float) -> RLock | None:
    """Takes every lock, `first` before all others. Returns one that was not to be had within `patience` seconds."""
    if first is not None:
        first.acquire()
        _held.append(first)
    while missing := _missing():
        for lock in missing:
            if not lock.acquire(timeout=patience):
                return lock
            _held.append(lock)
    return None


def _missing() -> list[RLock]:
    # They are taken outside of the registry's lock: who holds one may be about to make another.
    with _registry:
        while True:
            try:
                return [lock for lock in _locks if lock not in _held]
            except RuntimeError:  # a finalizer made one meanwhile
                continue


def _release_held() -> None:
    while _held:
        _held.pop().release()


def _after_fork() -> None:
    _release_held()
    _forking.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.RLock()  # another thread of the parent may have held it
    _after_fork()


# What was registered last comes first: before `logging`, which is therefore imported above. It takes its lock before a
# fork too, and to import Numba, as one who holds a lock of ours may do, takes that one.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
