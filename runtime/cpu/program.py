"""A planned step as tables of numbers, and one native call that runs it."""

import contextlib
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..codegen.fork_lock import interrupted
from . import blas, thread_pool
from . import control_block as at
from .control_block import CONSTANT, END, EXTENT, NO_FLAG, POINTER, TILE, WORKER

__all__ = ["CONSTANT", "EXTENT", "POINTER", "TILE", "WORKER", "Program"]

_programs: "weakref.WeakSet[Program]" = weakref.WeakSet()


class Program:
    """Tables of int64 that say which kernels run, on what, and what must wait for what.

    `launches[L, 6]`: tiles, barrier, first call, number of calls, iteration, inner iteration. The tiles of a launch may
    run in any order and at the same time; each makes the launch's calls one after the other. A launch with barrier 1
    waits until all tiles of all earlier launches are finished; one with barrier 0 may begin at any time after the last
    barrier. The body of a `scan` is written down once: its launches stand here anew for every iteration, with the same
    calls.

    `stretches[S, 7]`: first launch, the launch behind the last one, flag, next stretch if the flag is true, next if it
    is false, iteration, inner iteration. The run begins with stretch 0. The flag is the number of an argument, a
    POINTER to a bool that is read when the stretch has ended; NO_FLAG counts as true. END ends the run. Without this
    table there is one stretch, of all launches.

    `calls[C, 3]`: address of a kernel, first argument, number of arguments.

    `args[A, 7]`: kind, a, b, c, d, e, f, which make the word that the kernel reads:

    - CONSTANT: a
    - POINTER: `bases[a] + b + tile * c + worker * d + iteration * e + inner iteration * f`
    - EXTENT: `min(c, b - tile * c) * d`, of b elements in tiles of c
    - TILE: the index of the tile
    - WORKER: the index of the thread, less than `threads`; the caller of `run` is 0

    Columns for iterations may be left out where no launch is a loop's.

    `bases` (int64) are the addresses that pointers start from: set them before the first run, change them between runs.
    What lies there, and whatever else must outlive the program, goes to `keep_alive`.

    `ranks` is the address of the block of the ranks that the program sends messages to: tiles move these on.
    """

    def __init__(
        self,
        launches: np.ndarray,
        calls: np.ndarray,
        args: np.ndarray,
        bases_count: int,
        threads: int = 1,
        keep_alive: Any = None,
        stretches: np.ndarray | None = None,
        ranks: int = 0,
    ) -> None:
        launches = _table(launches, 6, 4, "launches")
        whole = np.array([[0, launches.shape[0], NO_FLAG, END, END]], np.int64)
        stretches = _table(whole if stretches is None else stretches, 8, 5, "stretches")
        calls = _table(calls, 3, 3, "calls")
        args = _table(args, 7, 5, "args")
        _check(launches, calls, args, bases_count, threads)
        _check_stretches(stretches, launches, args)
        for stretch in stretches:
            within = launches[stretch[0] : stretch[1]]
            stretch[-1] = (within[:, 0] <= 1).all() and (within[1:, 1] != 0).all()
        self.threads = 1 if stretches[:, -1].all() else threads
        self.launches, self.stretches = launches, stretches
        self.keep_alive = keep_alive
        self.bases = np.zeros(bases_count, np.int64)

        n_launches = launches.shape[0]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(launches[:, 0], dtype=np.int64)])
        most = int(calls[:, 2].max(initial=1))
        block_words = most + -most % at.PAIR
        counters, blocks = _lines(n_launches * at.PAIR), _lines(self.threads * block_words)
        control = _lines(at.PROGRAM_WORDS)
        self._control = control
        self._address = control.ctypes.data
        control[at.LAUNCHES] = launches.ctypes.data
        control[at.STRETCHES] = stretches.ctypes.data
        control[at.CALLS] = calls.ctypes.data
        control[at.ARGUMENTS] = args.ctypes.data
        control[at.BASES] = self.bases.ctypes.data
        control[at.THREADS] = self.threads
        control[at.WORKER_BLOCKS] = blocks.ctypes.data
        control[at.WORKER_BLOCK_BYTES] = 8 * block_words
        control[at.TILES_BEFORE] = before.ctypes.data
        control[at.NEXT] = counters.ctypes.data
        control[at.POOL] = thread_pool.CELL
        control[at.BLAS] = blas.SWITCH
        control[at.RANKS] = ranks

        self._helpers = self.threads - 1
        self._code, self._exception = ctypes.c_int64(), ctypes.c_void_p()
        self._native = thread_pool.NATIVE(thread_pool.driver())
        self._arguments = (
            ctypes.c_void_p(ctypes.addressof(self._code)),
            ctypes.c_void_p(ctypes.addressof(self._exception)),
            ctypes.c_int64(self._address),
        )
        self._lock = threading.RLock()
        self._running = False
        thread_pool.grow(self._helpers)
        _programs.add(self)
        # A worker that came too late for the last run may still be looking at these.
        memory = (launches, stretches, calls, args, before, counters, blocks, control, self.bases)
        weakref.finalize(self, _free, self._address, memory).atexit = False

    def run(self) -> int:
        """Runs the program once: 0, or the first code that a kernel returned; after that, no further kernel begins.

        Raises `RuntimeError` in a signal handler or a finalizer that interrupted this.
        """
        with self._lock:
            if self._running:
                raise interrupted("a program")
            self._running = True
            try:
                if self._helpers > thread_pool.size():  # in a child process, which begins without workers
                    thread_pool.grow(self._helpers)
                self._native(*self._arguments)
                return self._code.value
            finally:
                self._running = False

    @contextlib.contextmanager
    def timed(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Inside the block runs are on the calling thread. Gives two arrays to which they add: the nanoseconds that the
        thread had a core for each tile, launch by launch, and how often each stretch ran.
        """
        times = _lines(at.TILE_TIMES + int(self.launches[:, 0].sum()))
        runs = _lines(len(self.stretches))
        times[at.TIMES_CLOCK], times[at.STRETCH_RUNS] = time.CLOCK_THREAD_CPUTIME_ID, runs.ctypes.data
        with self._lock:
            self._control[at.TIMES] = times.ctypes.data
            try:
                yield times[at.TILE_TIMES :], runs
            finally:
                self._control[at.TIMES] = 0

    @property
    def failed_launch(self) -> int:
        """The launch in which the last run failed; meaningless if it did not."""
        return int(self._control[at.FAILED_LAUNCH])


def _table(table: np.ndarray, columns: int, needed: int, name: str) -> np.ndarray:
    given = np.asarray(table, np.int64)
    if given.size == 0:
        given = given.reshape(0, columns)
    if given.ndim != 2 or not needed <= given.shape[1] <= columns:
        raise ValueError(f"{name} must be [n, {columns}], not {list(given.shape)}")
    copy = np.zeros((len(given), columns), np.int64)
    copy[:, : given.shape[1]] = given
    return copy


def _lines(words: int) -> np.ndarray:
    """Zeros that begin at a pair of cache lines."""
    memory = np.zeros(words + at.PAIR, np.int64)
    skip = -memory.ctypes.data % (8 * at.PAIR) // 8
    return memory[skip : skip + words]


def _check(launches: np.ndarray, calls: np.ndarray, args: np.ndarray, bases_count: int, threads: int) -> None:
    def inside(first: np.ndarray, count: np.ndarray, end: int) -> bool:
        return bool((first >= 0).all() and (count >= 0).all() and (first + count <= end).all())

    if not 1 <= threads <= at.MAX_THREADS:
        raise ValueError(f"threads must be from 1 to {at.MAX_THREADS}, not {threads}")
    if not inside(launches[:, 2], launches[:, 3], calls.shape[0]):
        raise ValueError(f"a launch's calls must be among the {calls.shape[0]} there are")
    if not inside(calls[:, 1], calls[:, 2], args.shape[0]):
        raise ValueError(f"a call's arguments must be among the {args.shape[0]} there are")
    if (launches[:, 0] < 0).any() or (launches[:, 0] >= 2**31).any():
        raise ValueError("a launch has from 0 to 2**31 - 1 tiles")
    if (calls[:, 0] == 0).any():
        raise ValueError("a call has no kernel")
    if (args[:, 0] < CONSTANT).any() or (args[:, 0] > WORKER).any():
        raise ValueError(f"kinds of arguments are {CONSTANT} to {WORKER}")
    bases = args[args[:, 0] == POINTER, 1]
    if (bases < 0).any() or (bases >= bases_count).any():
        raise ValueError(f"a pointer's base must be one of {bases_count}")


def _check_stretches(stretches: np.ndarray, launches: np.ndarray, args: np.ndarray) -> None:
    first, end, flags, following = stretches[:, 0], stretches[:, 1], stretches[:, 2], stretches[:, 3:5]
    if not len(stretches) or (first < 0).any() or (end < first).any() or (end > len(launches)).any():
        raise ValueError(f"a stretch's launches must be among the {len(launches)} there are")
    if (following < END).any() or (following >= len(stretches)).any():
        raise ValueError(f"what follows on a stretch is one of {len(stretches)}, or {END}")
    pointers = flags[flags != NO_FLAG]
    if (pointers < 0).any() or (pointers >= len(args)).any() or (args[pointers, 0] != POINTER).any():
        raise ValueError("the flag of a stretch is no pointer")


def _free(program: int, memory: object) -> None:
    thread_pool.wait_until_left(program)


def _after_fork_in_child() -> None:
    for program in _programs:
        program._lock, program._running = threading.RLock(), False  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)
