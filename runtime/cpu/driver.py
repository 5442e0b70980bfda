"""The compiled loop that runs a program, alone or with the workers of the pool.

`drive` is a kernel itself: `int64(int64)` over the address of a block of `control_block`.

How threads share a region: the upper half of its word in NEXT is the number of the run, the lower half the next tile,
and who raises it by compare-and-exchange has taken that tile. So a thread that the system does not schedule delays
nobody unless it holds a tile. It may even wake up in a later run: it finds another number, and leaves. DONE counts
finished tiles, and a barrier waits for it. A failure does not stop the counting, only the kernels, so that no barrier
waits in vain.

How workers get to a program: TICKET is a sequence lock around JOB. A worker writes the program that it read there to
INSIDE, and then reads both again. Only if they still stand is it inside; and a program whose memory is to be freed
waits until no worker names it (`thread_pool.wait_until_left`).
"""

from ..codegen.intrinsics import (
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
from ..codegen.natives import external
from .control_block import (
    ARGUMENT_BYTES,
    ARGUMENTS,
    BASES,
    BLAS,
    BUSY,
    CLOCK,
    CODE,
    CONDITION,
    CONSTANT,
    DONE,
    EXTENT,
    FAILED_REGION,
    FAILURE,
    GET_THREADS,
    INSIDE,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    JOB,
    JOB_RUN,
    JOB_THREADS,
    LINE,
    LOCK,
    MUTEX,
    N_REGIONS,
    NEXT,
    POINTER,
    POOL,
    REGION_BYTES,
    REGIONS,
    ROLE,
    RUN,
    SET_THREADS,
    SLEEPERS,
    SPIN_NANOSECONDS,
    STOP,
    THREADS,
    TICKET,
    TILE,
    TILES_BEFORE,
    TOTAL,
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
"""Looks at a word before a waiting thread begins to give its turn away: on a busy machine, pure spinning takes
a hundred times as long."""

HALF = 2**32
RUNS = 2**31
"""Numbers of runs go round; by then no thread remembers the old ones."""


def run_tile(program, region, tile, worker):
    """Runs the instructions of a region for one tile; returns the first code that is not 0."""
    row = word(program, REGIONS) + REGION_BYTES * region
    first, iteration, inner = word(row, 2), word(row, 4), word(row, 5)
    arguments, bases = word(program, ARGUMENTS), word(program, BASES)
    block = word(program, WORKER_BLOCKS) + worker * word(program, WORKER_BLOCK_BYTES)
    for i in range(first, first + word(row, 3)):
        instruction = word(program, INSTRUCTIONS) + INSTRUCTION_BYTES * i
        argument = arguments + ARGUMENT_BYTES * word(instruction, 1)
        for k in range(word(instruction, 2)):
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
        code = call_kernel(word(instruction, 0), block)
        if code != 0:
            return code
    return 0


def wait_a_little(spins):
    """One turn of a waiting loop; returns the turns so far."""
    if spins < SPINS:
        pause()
    else:
        sched_yield()
    return spins + 1


def run_alone(program):
    """Runs all tiles on the calling thread."""
    for region in range(word(program, N_REGIONS)):
        for tile in range(word(word(program, REGIONS) + REGION_BYTES * region, 0)):
            code = run_tile(program, region, tile, 0)
            if code != 0:
                set_word(program, FAILED_REGION, region)
                return code
    return 0


def take_tile(program, region, tiles, run):
    """The next tile of a region for the calling thread, or -1 if all are taken, or -2 if the run is over."""
    counter = word(program, NEXT) + 8 * LINE * region
    while True:
        seen = atomic_load(counter)
        tile = 0
        if seen >> 32 == run:
            tile = seen & (HALF - 1)
        elif atomic_load(program + 8 * RUN) != run:
            return -2
        # Else nobody took a tile of this region in this run, or one was taken since `seen`: then the exchange fails. It
        # also fails if the run ended since RUN was read, because a run does not end before all its tiles are taken.
        if tile >= tiles:
            return -1
        if compare_exchange(counter, seen, run * HALF + tile + 1):
            return tile


def take_part(program, run, worker):
    """Runs tiles of a run until none is left to take."""
    finished = 0  # tiles that DONE does not have yet
    done = program + 8 * DONE
    for region in range(word(program, N_REGIONS)):
        row = word(program, REGIONS) + REGION_BYTES * region
        if word(row, 1) != 0:
            if finished != 0:
                atomic_add(done, finished)
                finished = 0
            before = word(word(program, TILES_BEFORE), region)
            spins = 0
            while atomic_load(done) < before:
                if atomic_load(program + 8 * RUN) != run:
                    return
                spins = wait_a_little(spins)
        tiles = word(row, 0)
        while True:
            tile = take_tile(program, region, tiles, run)
            if tile == -2:
                return
            if tile == -1:
                break
            if atomic_load(program + 8 * FAILURE) == 0:
                code = run_tile(program, region, tile, worker)
                if code != 0:
                    compare_exchange(program + 8 * FAILURE, 0, region * HALF + (code & (HALF - 1)))
            finished += 1
    if finished != 0:
        atomic_add(done, finished)


def run_together(program, pool):
    """Runs a program with the workers of the pool, which the caller has."""
    run = (word(program, RUN) + 1) % RUNS
    atomic_store(program + 8 * DONE, 0)
    atomic_store(program + 8 * FAILURE, 0)
    atomic_store(program + 8 * RUN, run)

    atomic_add(pool + 8 * TICKET, 1)
    atomic_store(pool + 8 * JOB_RUN, run)
    atomic_store(pool + 8 * JOB_THREADS, word(program, THREADS))
    atomic_store(pool + 8 * JOB, program)
    atomic_add(pool + 8 * TICKET, 1)
    if atomic_load(pool + 8 * SLEEPERS) != 0:
        pthread_mutex_lock(pool + 8 * MUTEX)
        pthread_cond_broadcast(pool + 8 * CONDITION)
        pthread_mutex_unlock(pool + 8 * MUTEX)

    take_part(program, run, 0)
    total = word(program, TOTAL)
    spins = 0
    while atomic_load(program + 8 * DONE) < total:
        spins = wait_a_little(spins)
    atomic_store(pool + 8 * JOB, 0)
    failure = atomic_load(program + 8 * FAILURE)
    set_word(program, FAILED_REGION, failure // HALF)
    return failure & (HALF - 1)


def enter_blas(blas):
    """Makes BLAS run on the threads that call it, until as many runs have left as have entered."""
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
    spins = 0
    while not compare_exchange(blas + 8 * LOCK, 0, 1):
        spins = wait_a_little(spins)
    users = word(blas, USERS) - 1
    set_word(blas, USERS, users)
    threads = word(blas, USUAL_THREADS)
    if users == 0 and threads != 0:
        # If the number is not 1, somebody has set it in the meantime, and means it.
        if threads != 1 and call_getter(word(blas, GET_THREADS)) == 1:
            call_setter(word(blas, SET_THREADS), threads)
        set_word(blas, USUAL_THREADS, 0)
    atomic_store(blas + 8 * LOCK, 0)


def run_program(program):
    """Runs a program once. One thread at a time may do so; returns 0 or the code of a kernel that failed."""
    blas = word(program, BLAS)
    enter_blas(blas)
    pool = atomic_load(word(program, POOL))
    if word(program, THREADS) > 1 and pool != 0 and compare_exchange(pool + 8 * BUSY, 0, 1):
        code = run_together(program, pool)
        atomic_store(pool + 8 * BUSY, 0)
    else:
        code = run_alone(program)
    leave_blas(blas)
    set_word(program, CODE, code)
    return code


def nanoseconds(clock, block):
    """The time of a clock; `block` is the address of two words to work in."""
    clock_gettime(clock, block)
    return word(block, 0) * 1000000000 + word(block, 1)


def wait_for_ticket(worker, last):
    """Waits for a ticket other than `last`: first in a loop, then asleep. Returns it, or -1 if the pool stops."""
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
            # SLEEPERS is raised before TICKET is read, and TICKET before SLEEPERS is: one of the two sees the other.
            pthread_mutex_lock(pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, 1)
            while atomic_load(pool + 8 * TICKET) == last and atomic_load(pool + 8 * STOP) == 0:
                pthread_cond_wait(pool + 8 * CONDITION, pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, -1)
            pthread_mutex_unlock(pool + 8 * MUTEX)


def help_others(worker):
    """The life of a worker: takes part in one job after the other until the pool stops."""
    pool, index = word(worker, WORKER_POOL), word(worker, WORKER_INDEX)
    inside = pool + 8 * (INSIDE + LINE * index)
    last = 0
    while True:
        last = wait_for_ticket(worker, last)
        if last == -1:
            return 0
        job = atomic_load(pool + 8 * JOB)
        run, threads = atomic_load(pool + 8 * JOB_RUN), atomic_load(pool + 8 * JOB_THREADS)
        if job != 0 and index < threads:
            atomic_store(inside, job)
            if atomic_load(pool + 8 * TICKET) == last and atomic_load(pool + 8 * JOB) == job:
                take_part(job, run, index)
            atomic_store(inside, 0)


def drive(block):
    """Runs the program of this block, or lives the life of the worker of this block.

    One function, because both are made of the same parts.
    """
    return run_program(block) if word(block, ROLE) == 0 else help_others(block)
