"""Live arrays: parameters and buffers in their own memory, with the arena and the lock of what uses them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...ir import Array, ArrayType
from ...passes.memory.plan import Plan
from ...runtime.backend import Backend
from ...runtime.codegen.deferred_signals import deferred_signals
from ...runtime.codegen.fork_lock import fork_lock, interrupted


class LiveArrays:
    """Parameters and buffers by name, the arena that all programs on them work in, and the lock that one of these holds
    while it runs. `busy` says that the holder is in the middle of something, `changing` that no reader may look.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.arena = backend.allocate(0)
        self.lock = fork_lock()
        self.busy = False
        self.changing = False
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    # The arena.

    def arena_for(self, plan: Plan) -> Any:
        """The arena that all programs share, large enough for one more."""
        if self.arena.nbytes < plan.arena_bytes:
            self._share(plan.arena_bytes)
        return self.arena

    def add_user(self, program: Any) -> None:
        """Note a program that works in the arena."""
        self._users.add(program)

    def drop_user(self, program: Any) -> None:
        """Give the memory of a program back: the arena's too, where no other needs as much."""
        self._users.discard(program)
        largest = max(user.arena_bytes for user in self._users)
        if largest < self.arena.nbytes:
            self._share(largest)

    def _share(self, nbytes: int) -> None:
        self.arena = self._backend.allocate(nbytes)
        for user in self._users:
            user.use_arena(self.arena)

    # Reading and changing.

    def begin_reading(self) -> bool:
        """Whether this thread, which holds the lock, is in the middle of something that reading may interrupt; from now
        on it is.
        """
        if self.changing:
            raise interrupted("a step")
        before, self.busy = self.busy, True
        return before

    def copies(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Copies of arrays that programs write."""
        with self.lock:
            before = self.begin_reading()
            try:
                return {name: array.copy() for name, array in arrays.items()}
            finally:
                self.busy = before

    def change(self, change: Callable[[], None]) -> None:
        """Do what a signal cannot interrupt, and what a finalizer can neither read nor change meanwhile."""
        with deferred_signals(), self.lock:
            if self.busy:
                raise interrupted("a step")
            self.busy = self.changing = True
            try:
                change()
            finally:
                self.busy = self.changing = False


def own_memory(backend: Backend, types: Iterable[tuple[str, ArrayType]], initial: Iterable[Array]) -> dict[str, Array]:
    """Memory of our own for named arrays, each beginning at a cache line. The initial values are made one by one, so
    that they are never there twice.
    """
    result: dict[str, Array] = {}
    for (name, t), value in zip(types, initial):
        array = backend.allocate(t.nbytes).view(t.dtype).reshape(t.shape)
        array[...] = value
        result[name] = array
    return result


def types_of(arrays: Mapping[str, Array]) -> dict[str, ArrayType]:
    """The type of each array."""
    return {name: ArrayType(array.shape, array.dtype) for name, array in arrays.items()}
