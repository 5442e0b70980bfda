"""The pool of worker threads of the process. A run has it to itself; a run that finds it taken runs alone.

A worker is a daemon thread of Python inside a native call that lasts until the pool stops, at the exit of Python; it
never holds the GIL. A fork copies no threads: a child process begins without workers, and starts its own when it needs
them.
"""

import atexit
import ctypes
import os
import threading
import time

from ..codegen.kernel_cache import WORKER_NAME, FunctionRequest, code_salt, compile_kernels
from . import control_block as at

NATIVE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
"""Numba's calling convention of `int64(int64)`: (address of result, address of exception, argument) -> status."""

CELL = at.allocate_forever(at.PAIR)
"""Address of the word that holds the address of the pool's block, or 0 where there is no pool: programs look there."""

_SPIN_NANOSECONDS = 50_000
"""How long a worker looks for its next job before it sleeps. To wake it costs a run some tens of microseconds."""


def driver_request() -> FunctionRequest:
    """The driver, to be compiled together with the kernels of a program."""
    return FunctionRequest(f"{__package__}.driver", "drive", "int64(int64)", code_salt())


def driver() -> int:
    """The address of the driver."""
    return compile_kernels([driver_request()])[0].address


class _Pool:
    """The pool of this process; after a fork, the child makes another."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.growing = False
        self.block = 0
        self.workers: list[threading.Thread] = []
        self.closed = False  # to new workers

    def grow(self, workers: int) -> None:
        if workers <= len(self.workers) or self.closed:
            return
        address = driver()
        with self.lock:
            # The lock is reentrant, so a signal handler that interrupted `_grow` comes as far as here. Its run does
            # without new workers, else two could get the same index.
            if self.growing:
                return
            self.growing = True
            try:
                self._grow(workers, address)
            finally:
                self.growing = False

    def _grow(self, workers: int, address: int) -> None:
        if self.block == 0 and not self.closed:
            self.block = _new_block()
            at.words_at(CELL, 1)[0] = self.block
        while len(self.workers) < workers and not self.closed:
            index = len(self.workers) + 1  # the thread that runs a program is worker 0
            block = at.allocate_forever(at.WORKER_WORDS)
            words = at.words_at(block, at.WORKER_WORDS)
            words[at.ROLE], words[at.WORKER_POOL], words[at.WORKER_INDEX] = 1, self.block, index
            name = f"{WORKER_NAME}-{index}"
            thread = threading.Thread(target=_work, args=(address, block), name=name, daemon=True)
            # Before it runs: if `start` is interrupted, the next worker gets another index, and so another block.
            self.workers.append(thread)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or Python is shutting down: runs do without
                self.workers.pop()
                self.closed = True

    def stop(self) -> None:
        with self.lock:
            self.closed = True
            at.words_at(CELL, 1)[0] = 0  # programs that begin now run alone
            if self.block == 0:
                return
            at.words_at(self.block, at.POOL_WORDS)[at.STOP] = 1
            libc = ctypes.CDLL(None)
            mutex, condition = (ctypes.c_void_p(self.block + 8 * word) for word in (at.MUTEX, at.CONDITION))
            libc.pthread_mutex_lock(mutex)
            libc.pthread_cond_broadcast(condition)
            libc.pthread_mutex_unlock(mutex)
            for worker in self.workers:
                if worker.is_alive():  # else its start was interrupted
                    worker.join(timeout=1)  # longer only if another thread is in the middle of a run


def _new_block() -> int:
    block = at.allocate_forever(at.POOL_WORDS)
    words = at.words_at(block, at.POOL_WORDS)
    words[at.CLOCK], words[at.SPIN_NANOSECONDS] = time.CLOCK_MONOTONIC, _SPIN_NANOSECONDS
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_init(ctypes.c_void_p(block + 8 * at.MUTEX), None)
    libc.pthread_cond_init(ctypes.c_void_p(block + 8 * at.CONDITION), None)
    return block


def _work(address: int, worker: int) -> None:
    code, exception = ctypes.c_int64(), ctypes.c_void_p()
    NATIVE(address)(ctypes.addressof(code), ctypes.addressof(exception), worker)


_pool = _Pool()


def grow(workers: int) -> None:
    """Start workers until there are so many, or as many as the system allows."""
    _pool.grow(workers)


def size() -> int:
    """The number of workers in this process."""
    return len(_pool.workers)


def wait_until_left(program: int) -> None:
    """Wait until no worker can touch the block of a program, which no thread runs now."""
    if _pool.block:
        inside = at.words_at(_pool.block, at.POOL_WORDS)[at.INSIDE :: at.PAIR]
        while (inside == program).any():
            time.sleep(0)


def _after_fork_in_child() -> None:
    global _pool
    _pool = _Pool()
    at.words_at(CELL, 1)[0] = 0


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(lambda: _pool.stop())
