"""Messages between ranks in machine code: begun by a unit, moved on by the driver, waited for by another unit.

All that they need stands in a block of words, see `RANK` and those below it. A tag has two requests for each other
rank, in a table that begins with null requests. One thread at a time calls MPI: it holds LOCK.

Known elsewhere as nonblocking point-to-point communication.
"""

from __future__ import annotations

from typing import Final

from ..codegen.intrinsics import array_i32, atomic_load, atomic_store, compare_exchange, pause, set_word, word
from ..codegen.mpi_calls import mpi_begin, mpi_test_all
from ..codegen.natives import external

RANK: Final = 0
SIZE: Final = 1
SEND: Final = 2  # address of MPI_Isend
RECEIVE: Final = 3  # address of MPI_Irecv
TEST: Final = 4  # address of MPI_Testall
COMMUNICATOR: Final = 5  # handle
NO_STATUSES: Final = 6  # MPI_STATUSES_IGNORE
REQUESTS: Final = 7  # address of the table of requests
REQUEST_BYTES: Final = 8
TAG_REQUESTS: Final = 9  # requests of a tag
TIMEOUT_SECONDS: Final = 10  # after which a rank that does not come is said to hang; 0: never
CLOCK_ID: Final = 11
LAST_TAG: Final = 12
FIRST_TAG: Final = 13  # what is added to the tags of a program, so that no two programs have the same
BYTES_SENT: Final = 14
MESSAGES_SENT: Final = 15
LOCK: Final = 16
UNFINISHED: Final = 24  # tags that have begun and are not finished
FLAG: Final = 32  # what MPI_Testall says
TIME: Final = 33  # a `struct timespec`
DATATYPES: Final = 40  # handles of integers of 1, 2, 4 and 8 bytes, so many words further
RANKS_WORDS: Final = 56

sched_yield = external("sched_yield", "i32")
clock_gettime = external("clock_gettime", "i32", "i32", "i64")


def lock_messages(ranks):
    spins = 0
    while not compare_exchange(ranks + 8 * LOCK, 0, 1):
        spins += 1
        if spins < 200:
            pause()
        else:
            sched_yield()


def unlock_messages(ranks):
    atomic_store(ranks + 8 * LOCK, 0)


def begin_message(ranks, function, buffer, count, size, peer, tag, request):
    """Begin to send or to receive `count` elements of `size` bytes."""
    return mpi_begin(
        function,
        buffer,
        count,
        word(ranks, DATATYPES + size),
        peer,
        word(ranks, FIRST_TAG) + tag,
        word(ranks, COMMUNICATOR),
        request,
    )


def begin_messages(ranks, tag, sent, received, count, size, moves, single):
    """Begin the messages of a tag: from and to each other rank, or from and to the `single` one, if that is not -1.

    What comes from rank r stands in row r of what is received, of a single one at its beginning. Row r of what is sent
    goes to rank r, where it `moves` on by the rank; else all get the same. Returns 0, or the code of an error.
    """
    rank, nbytes = word(ranks, RANK), count * size
    request = word(ranks, REQUESTS) + tag * word(ranks, TAG_REQUESTS) * word(ranks, REQUEST_BYTES)
    others = word(ranks, SIZE) - 1 if single < 0 else 1
    lock_messages(ranks)
    code = 0
    for i in range(others):
        # In this order each rank hears from another one at a time.
        peer = (rank ^ (i + 1)) if single < 0 else single
        place = received + peer * nbytes if single < 0 else received
        code += begin_message(ranks, word(ranks, RECEIVE), place, count, size, peer, tag, request)
        request += word(ranks, REQUEST_BYTES)
    for i in range(others):
        peer = (rank ^ (i + 1)) if single < 0 else single
        code += begin_message(ranks, word(ranks, SEND), sent + peer * moves, count, size, peer, tag, request)
        request += word(ranks, REQUEST_BYTES)
    set_word(ranks, LAST_TAG, tag)
    set_word(ranks, BYTES_SENT, word(ranks, BYTES_SENT) + others * nbytes)
    set_word(ranks, MESSAGES_SENT, word(ranks, MESSAGES_SENT) + others)
    atomic_store(ranks + 8 * UNFINISHED, word(ranks, UNFINISHED) + 1)
    unlock_messages(ranks)
    return code


def test_messages(ranks, tag):
    """Move messages on: 1 if those of the tag are done, 0 if not, -1 at an error. The caller holds the lock."""
    count = word(ranks, TAG_REQUESTS)
    requests = word(ranks, REQUESTS) + tag * count * word(ranks, REQUEST_BYTES)
    flag = ranks + 8 * FLAG
    if mpi_test_all(word(ranks, TEST), count, requests, flag, word(ranks, NO_STATUSES)) != 0:
        return -1
    return 1 if array_i32(flag, 1)[0] != 0 else 0


def seconds_now(ranks):
    clock_gettime(word(ranks, CLOCK_ID), ranks + 8 * TIME)
    return word(ranks, TIME)


def finish_messages(ranks, tag):
    """Wait until the messages of a tag are done: 0, or 1 where that took too long or failed."""
    spins, begun = 0, -1
    while True:
        lock_messages(ranks)
        done = test_messages(ranks, tag)
        if done != 0:
            atomic_store(ranks + 8 * UNFINISHED, word(ranks, UNFINISHED) - 1)
        elif spins % 1024 == 1023 and word(ranks, TIMEOUT_SECONDS) != 0:
            now = seconds_now(ranks)
            if begun < 0:
                begun = now
            if now - begun > word(ranks, TIMEOUT_SECONDS):
                done = -1
        unlock_messages(ranks)
        if done != 0:
            return 0 if done == 1 else 1
        spins += 1
        if spins < 200:
            pause()
        else:
            sched_yield()


def push_messages(ranks):
    """Move the messages on that are under way, if no other thread does."""
    if atomic_load(ranks + 8 * UNFINISHED) != 0 and compare_exchange(ranks + 8 * LOCK, 0, 1):
        test_messages(ranks, word(ranks, LAST_TAG))
        unlock_messages(ranks)
