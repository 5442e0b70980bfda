"""The driver: the compiled loop that runs a program, alone or with the workers of the pool.

`drive` is a kernel itself: `int64(int64)` over the address of a block of `control_block`.

How threads share a launch: each launch has a word in NEXT. Its upper half is the number of the run, its lower half the
next tile. The thread that raises it by compare-and-exchange has taken that tile. So a thread that the system does not
schedule delays the others only if it holds a tile. If it wakes up in a later run, it finds another number and leaves.

How barriers work: DONE counts finished tiles. A launch with a barrier waits until DONE has all tiles of the launches
before it. After a failure the tiles are still taken and counted, but their kernels do not run: so every barrier ends.

How flags decide: a program is a list of stretches, mostly one. Each stretch is a run with a number of its own. So all
its tiles are finished when the caller reads the flag that says which stretch is next.

How workers get to a program: TICKET is a sequence lock around JOB. A worker copies JOB to its word in INSIDE, then
reads TICKET and JOB again. If both are unchanged, it takes part. The memory of a program is freed only when no word of
INSIDE names it (`thread_pool.wait_until_left`). Known elsewhere as hazard pointers: the worker writes before it reads
again, so either it sees that the job has ended, or its word is seen before the memory is freed.
"""

from ..codegen.intrinsics import (
    array_bool,
    atomic_add,
    atomic_load,
    atomic_store,
    call_getter,
    call_kernel,
    call_setter,
    compare_exchange,
    pause,
    set_word,
    word,
)
from ..codegen.natives import apart, external
from ..lowering.rank_messages import push_messages
from .control_block import (
    ARGUMENT_BYTES,
    ARGUMENTS,
    BASES,
    BLAS,
    BUSY,
    CALL_BYTES,
    CALLS,
    CLOCK,
    CODE,
    CONDITION,
    CONSTANT,
    DONE,
    END,
    EXTENT,
    FAILED_LAUNCH,
    FAILURE,
    GET_THREADS,
    INSIDE,
    JOB,
    JOB_END,
    JOB_FIRST,
    JOB_RUN,
    JOB_THREADS,
    LAUNCH_BYTES,
    LAUNCHES,
    LOCK,
    MUTEX,
    NEXT,
    NO_FLAG,
    PAIR,
    POINTER,
    POOL,
    RANKS,
    ROLE,
    RUN,
    SET_THREADS,
    SLEEPERS,
    SPIN_NANOSECONDS,
    STOP,
    STRETCH_BYTES,
    STRETCH_RUNS,
    STRETCHES,
    THREADS,
    TICKET,
    TILE,
    TILE_TIMES,
    TILES_BEFORE,
    TIMES,
    TIMES_CLOCK,
    USERS,
    USUAL_THREADS,
    WORKER_BLOCK_BYTES,
    WORKER_BLOCKS,
    WORKER_CLOCK,
    WORKER_INDEX,
    WORKER_POOL,
)

sched_yield = external("sched_yield", "i32")
clock_gettime = external("clock_gettime", "i32", "i32", "i64")
pthread_mutex_lock = external("pthread_mutex_lock", "i32", "i64")
pthread_mutex_unlock = external("pthread_mutex_unlock", "i32", "i64")
pthread_cond_wait = external("pthread_cond_wait", "i32", "i64", "i64")
pthread_cond_broadcast = external("pthread_cond_broadcast", "i32", "i64")

SPINS = 2000
"""Looks at a word before a waiting thread begins to yield its core.

On a busy machine the thread that it waits for may need that core: spinning alone took a hundred times as long.
"""

HALF = 2**32
RUNS = 2**31
"""Numbers of runs begin anew from here, since they have half a word; no thread remembers the old ones by then."""


@apart
def run_tile(program, launch, tile, worker):
    """Make the calls of a launch for one tile; returns the first code that is not 0."""
    row = word(program, LAUNCHES) + LAUNCH_BYTES * launch
    first, iteration, inner = word(row, 2), word(row, 4), word(row, 5)
    arguments, bases = word(program, ARGUMENTS), word(program, BASES)
    block = word(program, WORKER_BLOCKS) + worker * word(program, WORKER_BLOCK_BYTES)
    for i in range(first, first + word(row, 3)):
        call = word(program, CALLS) + CALL_BYTES * i
        argument = arguments + ARGUMENT_BYTES * word(call, 1)
        for k in range(word(call, 2)):
            kind = word(argument, 0)
            value = word(argument, 1)
            if kind == POINTER:
                value = word(bases, value) + word(argument, 2) + tile * word(argument, 3)
                value += worker * word(argument, 4) + iteration * word(argument, 5) + inner * word(argument, 6)
            elif kind != CONSTANT:
                if kind == EXTENT:
                    step = word(argument, 3)
                    value = min(step, word(argument, 2) - tile * step) * word(argument, 4)
                elif kind == TILE:
                    value = tile
                else:
                    value = worker
            set_word(block, k, value)
            argument += ARGUMENT_BYTES
        code = call_kernel(word(call, 0), block)
        if code != 0:
            return code
    if word(program, RANKS) != 0:
        push_messages(word(program, RANKS))
    return 0


def wait_a_little(spins):
    """One look of a waiting loop, the first ones without a system call; returns the looks so far."""
    if spins < SPINS:
        pause()
    else:
        sched_yield()
    return spins + 1


def run_alone(program, first, end):
    """Run all tiles of the launches from `first` to `end` - 1 on the calling thread."""
    for launch in range(first, end):
        for tile in range(word(word(program, LAUNCHES) + LAUNCH_BYTES * launch, 0)):
            code = run_tile(program, launch, tile, 0)
            if code != 0:
                set_word(program, FAILED_LAUNCH, launch)
                return code
    return 0


def run_timed(program, first, end):
    """Run all tiles of the launches from `first` to `end` - 1 on the calling thread; add to TIMES what each takes."""
    times = word(program, TIMES)
    clock = word(times, TIMES_CLOCK)
    begun = nanoseconds(clock, times)
    of_clock = nanoseconds(clock, times) - begun
    begun += of_clock
    for launch in range(first, end):
        time_of_tile = times + 8 * (TILE_TIMES + word(word(program, TILES_BEFORE), launch))
        for tile in range(word(word(program, LAUNCHES) + LAUNCH_BYTES * launch, 0)):
            code = run_tile(program, launch, tile, 0)
            if code != 0:
                set_word(program, FAILED_LAUNCH, launch)
                return code
            now = nanoseconds(clock, times)
            set_word(time_of_tile, tile, word(time_of_tile, tile) + max(now - begun - of_clock, 0))
            begun = now
    return 0


def take_tile(program, launch, tiles, run):
    """The next tile of a launch for the calling thread, or -1 if all are taken, or -2 if the run is over."""
    counter = word(program, NEXT) + 8 * PAIR * launch
    while True:
        seen = atomic_load(counter)
        tile = 0
        if seen >> 32 == run:
            tile = seen & (HALF - 1)
        elif atomic_load(program + 8 * RUN) != run:
            return -2
        # Another number: either no tile of this launch is taken in this run, and tile 0 is next. Or one was taken after
        # `seen` was read; then the exchange fails, and the loop looks again. It also fails if the run has ended since
        # RUN was read, because a run ends only when all its tiles are taken.
        if tile >= tiles:
            return -1
        if compare_exchange(counter, seen, run * HALF + tile + 1):
            return tile


@apart
def take_part(program, run, worker, first, end):
    """Run tiles of a run, of the launches from `first` to `end` - 1, until none is left to take."""
    # Tiles that DONE does not have yet. They are added once a launch with a barrier, not one by one: all threads write
    # to that word.
    finished = 0
    done = program + 8 * DONE
    others = word(word(program, TILES_BEFORE), first)
    for launch in range(first, end):
        row = word(program, LAUNCHES) + LAUNCH_BYTES * launch
        if word(row, 1) != 0:
            if finished != 0:
                atomic_add(done, finished)
                finished = 0
            before = word(word(program, TILES_BEFORE), launch) - others
            spins = 0
            while atomic_load(done) < before:
                if atomic_load(program + 8 * RUN) != run:
                    return
                spins = wait_a_little(spins)
        tiles = word(row, 0)
        while True:
            tile = take_tile(program, launch, tiles, run)
            if tile == -2:
                return
            if tile == -1:
                break
            if atomic_load(program + 8 * FAILURE) == 0:
                code = run_tile(program, launch, tile, worker)
                if code != 0:
                    compare_exchange(program + 8 * FAILURE, 0, launch * HALF + (code & (HALF - 1)))
            finished += 1
    if finished != 0:
        atomic_add(done, finished)


def run_together(program, pool, first, end):
    """Run the launches from `first` to `end` - 1 with the workers of the pool, which the caller has to itself."""
    # DONE and FAILURE begin anew before RUN does: a thread that sees the new number sees these too.
    run = (word(program, RUN) + 1) % RUNS
    atomic_store(program + 8 * DONE, 0)
    atomic_store(program + 8 * FAILURE, 0)
    atomic_store(program + 8 * RUN, run)

    # The sequence lock: while TICKET is odd, workers wait. It is even again when all words of the job are there.
    atomic_add(pool + 8 * TICKET, 1)
    atomic_store(pool + 8 * JOB_RUN, run)
    atomic_store(pool + 8 * JOB_THREADS, word(program, THREADS))
    atomic_store(pool + 8 * JOB_FIRST, first)
    atomic_store(pool + 8 * JOB_END, end)
    atomic_store(pool + 8 * JOB, program)
    atomic_add(pool + 8 * TICKET, 1)
    # Workers that still look for a job need no waking. In a loop over steps none has fallen asleep.
    if atomic_load(pool + 8 * SLEEPERS) != 0:
        pthread_mutex_lock(pool + 8 * MUTEX)
        pthread_cond_broadcast(pool + 8 * CONDITION)
        pthread_mutex_unlock(pool + 8 * MUTEX)

    take_part(program, run, 0, first, end)
    total = word(word(program, TILES_BEFORE), end) - word(word(program, TILES_BEFORE), first)
    spins = 0
    while atomic_load(program + 8 * DONE) < total:
        spins = wait_a_little(spins)
    # All tiles are finished. Workers that read JOB from now on find none.
    atomic_store(pool + 8 * JOB, 0)
    failure = atomic_load(program + 8 * FAILURE)
    set_word(program, FAILED_LAUNCH, failure // HALF)
    return failure & (HALF - 1)


def enter_blas(blas):
    """Make BLAS run on the threads that call it, until as many runs have left as have entered.

    OpenBLAS has one number of threads for the process. With threads of its own, the workers would compete with them.
    """
    spins = 0
    while not compare_exchange(blas + 8 * LOCK, 0, 1):
        spins = wait_a_little(spins)
    set_word(blas, USERS, word(blas, USERS) + 1)
    get = word(blas, GET_THREADS)
    if get != 0 and word(blas, USUAL_THREADS) == 0:
        threads = call_getter(get)
        set_word(blas, USUAL_THREADS, threads)
        if threads != 1:
            call_setter(word(blas, SET_THREADS), 1)
    atomic_store(blas + 8 * LOCK, 0)


def leave_blas(blas):
    """Give BLAS its own number of threads back, if this was the last run."""
    spins = 0
    while not compare_exchange(blas + 8 * LOCK, 0, 1):
        spins = wait_a_little(spins)
    users = word(blas, USERS) - 1
    set_word(blas, USERS, users)
    threads = word(blas, USUAL_THREADS)
    if users == 0 and threads != 0:
        # If the number is not 1, other code of the process has set it in the meantime: that stays.
        if threads != 1 and call_getter(word(blas, GET_THREADS)) == 1:
            call_setter(word(blas, SET_THREADS), threads)
        set_word(blas, USUAL_THREADS, 0)
    atomic_store(blas + 8 * LOCK, 0)


def next_stretch(program, row):
    """The stretch behind the one of this row, which has ended."""
    flag = word(row, 2)
    if flag != NO_FLAG:
        argument = word(program, ARGUMENTS) + ARGUMENT_BYTES * flag
        address = word(word(program, BASES), word(argument, 1)) + word(argument, 2)
        address += word(row, 5) * word(argument, 5) + word(row, 6) * word(argument, 6)
        if not array_bool(address, 1)[0]:
            return word(row, 4)
    return word(row, 3)


def run_program(program):
    """Run a program once. One thread at a time may do so; returns 0 or the code of a kernel that failed.

    A run that finds the pool taken by another program does not wait for it: it runs alone.
    """
    blas = word(program, BLAS)
    enter_blas(blas)
    pool = atomic_load(word(program, POOL))
    together = 0
    times = word(program, TIMES)
    if times == 0 and word(program, THREADS) > 1 and pool != 0 and compare_exchange(pool + 8 * BUSY, 0, 1):
        together = 1
    code, stretch = 0, 0
    while code == 0 and stretch != END:
        row = word(program, STRETCHES) + STRETCH_BYTES * stretch
        if times != 0:
            runs = word(times, STRETCH_RUNS)
            set_word(runs, stretch, word(runs, stretch) + 1)
            code = run_timed(program, word(row, 0), word(row, 1))
        elif together != 0 and word(row, 7) == 0:
            code = run_together(program, pool, word(row, 0), word(row, 1))
        else:
            code = run_alone(program, word(row, 0), word(row, 1))
        stretch = next_stretch(program, row)
    if together != 0:
        atomic_store(pool + 8 * BUSY, 0)
    leave_blas(blas)
    set_word(program, CODE, code)
    return code


def nanoseconds(clock, block):
    """The time of a clock; `block` is the address of two words to work in."""
    clock_gettime(clock, block)
    return word(block, 0) * 1000000000 + word(block, 1)


def wait_for_ticket(worker, last):
    """Wait for an even ticket other than `last`: first in a loop, then asleep. Returns it, or -1 if the pool stops.

    The loop lasts as long as SPIN_NANOSECONDS: a step often follows the last one at once, and waking a thread takes
    longer than a small step.
    """
    pool = word(worker, WORKER_POOL)
    clock = word(pool, CLOCK)
    until = nanoseconds(clock, worker + 8 * WORKER_CLOCK) + word(pool, SPIN_NANOSECONDS)
    spins = 0
    while True:
        ticket = atomic_load(pool + 8 * TICKET)
        if atomic_load(pool + 8 * STOP) != 0:
            return -1
        if ticket != last and ticket % 2 == 0:
            return ticket
        spins += 1
        if spins % 64 != 0:
            pause()
        elif nanoseconds(clock, worker + 8 * WORKER_CLOCK) < until:
            sched_yield()
        else:
            # No wake-up is lost: a worker raises SLEEPERS and then reads TICKET, a run raises TICKET and then reads
            # SLEEPERS. So the worker sees the job, or the run sees the sleeper.
            pthread_mutex_lock(pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, 1)
            while atomic_load(pool + 8 * TICKET) == last and atomic_load(pool + 8 * STOP) == 0:
                pthread_cond_wait(pool + 8 * CONDITION, pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, -1)
            pthread_mutex_unlock(pool + 8 * MUTEX)


def help_others(worker):
    """The life of a worker: take part in one job after the other until the pool stops."""
    pool, index = word(worker, WORKER_POOL), word(worker, WORKER_INDEX)
    inside = pool + 8 * (INSIDE + PAIR * index)
    last = 0
    while True:
        last = wait_for_ticket(worker, last)
        if last == -1:
            return 0
        job = atomic_load(pool + 8 * JOB)
        run, threads = atomic_load(pool + 8 * JOB_RUN), atomic_load(pool + 8 * JOB_THREADS)
        first, end = atomic_load(pool + 8 * JOB_FIRST), atomic_load(pool + 8 * JOB_END)
        if job != 0 and index < threads:
            # First the word that keeps the program's memory, then the second look: see the top of this file.
            atomic_store(inside, job)
            if atomic_load(pool + 8 * TICKET) == last and atomic_load(pool + 8 * JOB) == job:
                take_part(job, run, index, first, end)
            atomic_store(inside, 0)


def drive(block):
    """Run the program of this block, or live the life of the worker of this block.

    One kernel for both, since they share `take_part`.
    """
    return run_program(block) if word(block, ROLE) == 0 else help_others(block)
