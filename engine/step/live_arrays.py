"""Live arrays: parameters and buffers in their own memory, with the arena and the lock of what uses them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...ir import Array, ArrayType
from ...passes.memory.plan import Plan
from ...runtime.backend import Backend
from ...runtime.codegen.deferred_signals import deferred_signals
from ...runtime.codegen.fork_lock import fork_lock, interrupted


class LiveArrays:
    """Parameters and buffers by name, the arena that all programs on them work in, and the lock that one of these holds
    while it runs. `busy` says that the holder is in the middle of something, `changing` that no reader may look.

    They begin as all that `others` hold together. `names` has for every name, those of tied parameters too, the name
    under which the array lives. Steps that begin to share move to live arrays of all of them: who has the lock looks
    whether they have `moved_to` others, and takes the lock of those then.
    """

    def __init__(self, backend: Backend, others: Sequence[LiveArrays] = ()) -> None:
        self._backend = backend
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.names: dict[str, str] = {}
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()
        for other in others:
            self.parameters |= other.parameters
            self.buffers |= other.buffers
            self.names |= other.names
            self._users |= other._users
        self.arena: Any = max([backend.allocate(0), *(o.arena for o in others)], key=lambda arena: arena.nbytes)
        if len(others) > 1:
            self.use_own_arena()
        self.lock = fork_lock()
        self.busy = False
        self.changing = False
        self.moved_to: LiveArrays | None = None

    @property
    def tied(self) -> dict[str, str]:
        """For every further name of an array, the one under which it lives."""
        return {name: place for name, place in self.names.items() if name != place}

    def latest(self) -> LiveArrays:
        """What these have moved to."""
        live = self
        while live.moved_to is not None:
            live = live.moved_to
        return live

    @contextlib.contextmanager
    def held(self) -> Iterator[LiveArrays]:
        """What these have moved to, and its lock is held."""
        while True:
            live = self.latest()
            with live.lock:
                if live.moved_to is None:
                    yield live
                    return

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
        self.use_own_arena()

    def use_own_arena(self) -> None:
        """Let all programs work in the arena of these, whatever they worked in before."""
        for user in self._users:
            user.use_arena(self.arena)

    # Reading and changing.

    @contextlib.contextmanager
    def running(self) -> Iterator[LiveArrays]:
        """What these have moved to; this thread alone may run programs there until the block ends."""
        with self.held() as live:
            if live.busy:
                raise interrupted("a step")
            live.busy = True
            try:
                yield live
            finally:
                live.busy = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[LiveArrays]:
        """What these have moved to; nothing changes there until the block ends. The thread may be in the middle of a
        step, which reading may interrupt.
        """
        with self.held() as live:
            if live.changing:
                raise interrupted("a step")
            before, live.busy = live.busy, True
            try:
                yield live
            finally:
                live.busy = before

    def copies(self, arrays: Callable[[LiveArrays], Mapping[str, Array]]) -> dict[str, Array]:
        """Copies of arrays that programs write."""
        with self.reading() as live:
            return {name: array.copy() for name, array in arrays(live).items()}

    def change(self, change: Callable[[], None]) -> None:
        """Do what a signal cannot interrupt, and what a finalizer can neither read nor change meanwhile."""
        with deferred_signals(), self.held() as live:
            if live.busy:
                raise interrupted("a step")
            live.busy = live.changing = True
            try:
                change()
            finally:
                live.busy = live.changing = False


def own_memory(
    backend: Backend,
    types: Iterable[tuple[str, ArrayType]],
    initial: Iterable[Array],
    on_host: Collection[int] = (),
) -> dict[str, Array]:
    """Memory of our own for named arrays, for those of the numbers `on_host` in the memory of a GPU's host. Initial
    values are made one by one, so that they are never there twice.
    """
    types = list(types)
    arrays = backend.hold([type for _, type in types], on_host)
    with np.errstate(over="ignore"):  # a number may be too large for float16
        for array, value in zip(arrays, initial):
            array[...] = value
    return {name: array for (name, _), array in zip(types, arrays)}


def types_of(arrays: Mapping[str, Array]) -> dict[str, ArrayType]:
    """The type of each array."""
    return {name: ArrayType(array.shape, array.dtype) for name, array in arrays.items()}
