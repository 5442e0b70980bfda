"""What is looked at before each access of an element, in the checking mode: bounds, and races in shared memory.

Written like a kernel, in the Python of `python_to_llvm`. An element of shared memory has shadow words: who wrote it and
who read it last, and in which epoch. An epoch is what runs between two barriers of one block. Two threads that access
an element in one epoch, and one of which writes, race: on a GPU nothing orders them, not even a shuffle.
"""

from ..codegen.intrinsics import set_word, word
from .state import (
    ADDRESS,
    ARRAY_BYTES,
    ARRAY_COUNT,
    ARRAYS,
    BASE,
    BLOCK,
    BYTES,
    ELEMENTS,
    EPOCH,
    EXTENT_COUNT,
    EXTENTS,
    FAULT,
    FAULT_ARRAY,
    FAULT_BLOCK,
    FAULT_INDEX,
    FAULT_OTHER,
    FAULT_OTHER_SITE,
    FAULT_SITE,
    FAULT_THREAD,
    FAULT_WRITES,
    FIRST_EPOCH,
    ITEMSIZE,
    LAUNCH,
    MANY,
    OUT_OF_BOUNDS,
    OUT_OF_SHARED,
    RACE,
    READ,
    READ_SITE,
    READER,
    SHADOW,
    SHADOW_BYTES,
    SITE,
    START,
    THREAD,
    UNWRITTEN,
    WRITE_SITE,
    WRITER,
    WRITES,
    WRITTEN,
)


def check(thread):
    """0, or 1 where the access that stands in a thread's words is a fault, which is then noted in the launch."""
    launch = word(thread, LAUNCH)
    base = word(thread, BASE)
    for k in range(word(launch, ARRAY_COUNT)):
        array = word(launch, ARRAYS) + k * ARRAY_BYTES
        start = word(array, START)
        if base >= start and base < start + word(array, ELEMENTS) * word(array, ITEMSIZE):
            return check_shared(launch, thread, array, k)
    return check_given(launch, thread) if word(launch, EXTENT_COUNT) > 0 else 0


def note(launch, thread, kind, array, index):
    """Notes a fault: 1."""
    set_word(launch, FAULT, kind)
    set_word(launch, FAULT_SITE, word(thread, SITE))
    set_word(launch, FAULT_THREAD, word(thread, THREAD))
    set_word(launch, FAULT_BLOCK, word(thread, BLOCK))
    set_word(launch, FAULT_ARRAY, array)
    set_word(launch, FAULT_INDEX, index)
    set_word(launch, FAULT_WRITES, word(thread, WRITES))
    return 1


def note_race(launch, thread, array, index, other, site):
    """Notes a race with another thread: 1."""
    set_word(launch, FAULT_OTHER, other)
    set_word(launch, FAULT_OTHER_SITE, site)
    return note(launch, thread, RACE, array, index)


def check_given(launch, thread):
    """An access stays in an array given: in that of its pointer, where the pointer lies in one."""
    base, address = word(thread, BASE), word(thread, ADDRESS)
    home, inside = -1, -1
    for k in range(word(launch, EXTENT_COUNT)):
        extents = word(launch, EXTENTS)
        first, last = word(extents, 2 * k), word(extents, 2 * k + 1)
        holds = address >= first and address + word(thread, BYTES) <= last
        if base >= first and base < last:
            if holds:
                return 0
            if home == -1:
                home = k
        elif holds:
            inside = k
    if home == -1 and inside != -1:
        return 0
    origin = base
    if home != -1:
        origin = word(word(launch, EXTENTS), 2 * home)
    return note(launch, thread, OUT_OF_BOUNDS, home, (address - origin) // word(thread, BYTES))


def check_shared(launch, thread, array, k):
    """An access of shared array `k`: inside it, of what is written, and of what no other thread accesses."""
    index = (word(thread, ADDRESS) - word(array, START)) // word(array, ITEMSIZE)
    if index < 0 or index >= word(array, ELEMENTS):
        return note(launch, thread, OUT_OF_SHARED, k, index)
    shadow = word(array, SHADOW) + index * SHADOW_BYTES
    epoch, me = word(launch, EPOCH), word(thread, THREAD)
    if word(shadow, WRITTEN) == epoch and word(shadow, WRITER) != me:
        return note_race(launch, thread, k, index, word(shadow, WRITER), word(shadow, WRITE_SITE))
    if word(thread, WRITES) != 0:
        if word(shadow, READ) == epoch and word(shadow, READER) != me:
            return note_race(launch, thread, k, index, word(shadow, READER), word(shadow, READ_SITE))
        set_word(shadow, WRITTEN, epoch)
        set_word(shadow, WRITER, me)
        set_word(shadow, WRITE_SITE, word(thread, SITE))
        return 0
    if word(shadow, WRITTEN) < word(launch, FIRST_EPOCH):
        return note(launch, thread, UNWRITTEN, k, index)
    several = word(shadow, READ) == epoch and word(shadow, READER) != me
    set_word(shadow, READ, epoch)
    set_word(shadow, READER, MANY if several else me)
    set_word(shadow, READ_SITE, word(thread, SITE))
    return 0
