"""Blocks of words (int64) that Python and the compiled driver share: what stands at which index.

Words that different threads write while a program runs are in different pairs of cache lines. In one line, each write
would take the line from the caches of all other cores. Processors fetch the neighbour of a line with it, so that a line
beside one that is written often would be taken away as well.
"""

import ctypes
from typing import Final

import numpy as np

PAIR: Final = 16
"""Words in a pair of cache lines, of eight words each."""

# What the driver is called with: the block of a program, or that of a worker.
ROLE: Final = 0  # 0: run the program; 1: help others until the pool stops

# The block of a program. What is called an address points to other blocks of words.
LAUNCHES: Final = 1  # address of launches[L, 6]: tiles, barrier, first call, calls, iteration, inner iteration
STRETCHES: Final = 2  # address of stretches[S, 8]: first launch, end, flag, next if true, next if false, iteration,
# inner iteration, whether one thread runs it alone
CALLS: Final = 3  # address of calls[C, 3]: kernel, first argument, arguments
ARGUMENTS: Final = 4  # address of arguments[A, 7]: kind, a, b, c, d, e, f
BASES: Final = 5  # address of the addresses that arguments of kind POINTER start from
THREADS: Final = 6
WORKER_BLOCKS: Final = 7  # address of the argument blocks, one a worker
WORKER_BLOCK_BYTES: Final = 8
TILES_BEFORE: Final = 9  # address of the tiles of all earlier launches, for each launch
NEXT: Final = 10  # address of the counters of the launches, one a pair of lines
TIMES: Final = 11  # address of a block of times, or 0: with one, a run is on one thread, and times every tile
POOL: Final = 12  # address of the word that holds the address of the pool's block, or 0
BLAS: Final = 13  # address of the block of BLAS's switch
CODE: Final = 14  # of the last run: 0, or what a kernel returned
FAILED_LAUNCH: Final = 15
RUN: Final = 2 * PAIR  # the number of the run
RANKS: Final = 2 * PAIR + 1  # address of the block of the ranks, or 0 of a program that sends no messages
DONE: Final = 3 * PAIR  # the tiles finished in this run
FAILURE: Final = 4 * PAIR  # 0, or the first failure in this run: launch in the upper half, code in the lower one
PROGRAM_WORDS: Final = 5 * PAIR

# Kinds of arguments: what a kernel finds in a word of its block.
CONSTANT: Final = 0  # a
POINTER: Final = 1  # bases[a] + b + tile * c + worker * d + iteration * e + inner iteration * f
EXTENT: Final = 2  # min(c, b - tile * c) * d
TILE: Final = 3
WORKER: Final = 4

# Words of a stretch that are no number of something else.
NO_FLAG: Final = -1  # the next stretch is the one that a true flag would lead to
END: Final = -1  # no stretch follows

# Bytes of a row of each table.
STRETCH_BYTES: Final = 64
LAUNCH_BYTES: Final = 48
CALL_BYTES: Final = 24
ARGUMENT_BYTES: Final = 56

# The block of times. The times of tiles follow, in nanoseconds, in the order in which TILES_BEFORE counts them.
TIMES_CLOCK: Final = 2  # the system's number of the clock of a thread; before it a `struct timespec`
STRETCH_RUNS: Final = 3  # address of how often each stretch ran
TILE_TIMES: Final = 4

# The block of the pool.
TICKET: Final = 0  # a sequence lock, raised by 1 before and after a job is written: odd while that goes on
JOB: Final = PAIR  # address of a program's block, or 0
JOB_RUN: Final = PAIR + 1
JOB_THREADS: Final = PAIR + 2
JOB_FIRST: Final = PAIR + 3  # the launches of the job, up to JOB_END
JOB_END: Final = PAIR + 4
BUSY: Final = 2 * PAIR  # 1 while a run has the pool
SLEEPERS: Final = 3 * PAIR
STOP: Final = 4 * PAIR
CLOCK: Final = 4 * PAIR + 1  # the system's number of its monotonic clock
SPIN_NANOSECONDS: Final = 4 * PAIR + 2  # how long a worker looks for a job before it sleeps
MUTEX: Final = 5 * PAIR
CONDITION: Final = MUTEX + 32
INSIDE: Final = CONDITION + 32  # for each worker, in a line of its own: the program that it may be touching, or 0
MAX_THREADS: Final = 1024
POOL_WORDS: Final = INSIDE + MAX_THREADS * PAIR

# The block of a worker.
WORKER_POOL: Final = 1
WORKER_INDEX: Final = 2
WORKER_CLOCK: Final = 3  # a `struct timespec`
WORKER_WORDS: Final = PAIR

# The block of BLAS's switch.
LOCK: Final = 0
USERS: Final = 1  # runs under way
USUAL_THREADS: Final = 2  # BLAS's threads when no run is under way, or 0 if none is
GET_THREADS: Final = 3  # address of `int get(void)`, or 0
SET_THREADS: Final = 4  # address of `void set(int)`
BLAS_WORDS: Final = PAIR


def words_at(address: int, n: int) -> np.ndarray:
    """The `n` words at an address, as an int64 array that does not own them."""
    return np.ctypeslib.as_array((ctypes.c_int64 * n).from_address(address))


def allocate_forever(n: int) -> int:
    """The address of `n` words of zeros, at the start of a pair of cache lines, that are never freed.

    A thread of the pool may look at its blocks until the very end of the process, when Python's own memory is gone.
    """
    allocate = ctypes.CDLL(None).calloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
    address = allocate(n + PAIR, 8)
    if address is None:
        raise MemoryError(f"no memory for {8 * n} bytes")
    return address + -address % (8 * PAIR)
