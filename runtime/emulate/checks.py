"""What is looked at before each access of an element, in the checking mode: bounds, and races.

Written like a kernel, in the Python of `python_to_llvm`. An element of shared memory, and every granule of an array
given, has shadow words: who wrote it and who read it last, and in which epoch. An epoch is what runs between two
barriers of one block. Two threads that access an element in one epoch, and one of which writes, race: on a GPU nothing
orders them, not even a shuffle. So do threads of two blocks, in whichever epochs.
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
    ELSEWHERE,
    EPOCH,
    EXTENT_BYTES,
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
    FIRST,
    FIRST_EPOCH,
    GRANULE_BITS,
    HIGH,
    ITEMSIZE,
    LAST,
    LAUNCH,
    LOW,
    MANY,
    MOST_THREADS,
    OUT_OF_BOUNDS,
    OUT_OF_SHARED,
    RACE,
    RACE_IN_GIVEN,
    READ,
    READ_SITE,
    READER,
    SHADOW,
    SHADOW_BYTES,
    SHADOWS,
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


def note_race(launch, thread, across, array, index, other, site):
    """Notes a race with another thread: 1."""
    set_word(launch, FAULT_OTHER, other)
    set_word(launch, FAULT_OTHER_SITE, site)
    return note(launch, thread, RACE_IN_GIVEN if across != 0 else RACE, array, index)


def check_given(launch, thread):
    """An access stays in an array given: in that of its pointer, where the pointer lies in one."""
    base, address, nbytes = word(thread, BASE), word(thread, ADDRESS), word(thread, BYTES)
    home, inside, owner = -1, -1, -1
    for k in range(word(launch, EXTENT_COUNT)):
        extent = word(launch, EXTENTS) + k * EXTENT_BYTES
        first, last = word(extent, FIRST), word(extent, LAST)
        holds = address >= first and address + nbytes <= last
        if base >= first and base < last:
            if holds and owner == -1:
                owner = k
            if home == -1:
                home = k
        elif holds:
            inside = k
    if home == -1:
        owner = inside
    if owner != -1:
        return check_granules(launch, thread, owner)
    origin = base
    if home != -1:
        origin = word(word(launch, EXTENTS) + home * EXTENT_BYTES, FIRST)
    return note(launch, thread, OUT_OF_BOUNDS, home, (address - origin) // nbytes)


def check_granules(launch, thread, k):
    """An access of array `k` of those given, of what no other thread of the launch accesses."""
    extent = word(launch, EXTENTS) + k * EXTENT_BYTES
    address, nbytes = word(thread, ADDRESS), word(thread, BYTES)
    index = (address - word(extent, FIRST)) // nbytes
    if address < word(extent, LOW):
        set_word(extent, LOW, address)
    if address + nbytes > word(extent, HIGH):
        set_word(extent, HIGH, address + nbytes)
    bits = word(launch, GRANULE_BITS)
    for granule in range(address >> bits, ((address + nbytes - 1) >> bits) + 1):
        if check_order(launch, thread, word(extent, SHADOWS) + granule * SHADOW_BYTES, 1, k, index) != 0:
            return 1
    return 0


def check_shared(launch, thread, array, k):
    """An access of shared array `k`: inside it, of what is written, and of what no other thread accesses."""
    index = (word(thread, ADDRESS) - word(array, START)) // word(array, ITEMSIZE)
    if index < 0 or index >= word(array, ELEMENTS):
        return note(launch, thread, OUT_OF_SHARED, k, index)
    shadow = word(array, SHADOW) + index * SHADOW_BYTES
    if word(thread, WRITES) == 0 and word(shadow, WRITTEN) < word(launch, FIRST_EPOCH):
        return note(launch, thread, UNWRITTEN, k, index)
    return check_order(launch, thread, shadow, 0, k, index)


def check_order(launch, thread, shadow, across, k, index):
    """Something orders this access and those that the shadow knows of; it is noted there. `across` is 1 where other
    blocks access the same memory.
    """
    epoch, me = word(launch, EPOCH), word(thread, BLOCK) * MOST_THREADS + word(thread, THREAD)
    if word(shadow, WRITER) != me and unordered(launch, word(shadow, WRITTEN), across):
        return note_race(launch, thread, across, k, index, word(shadow, WRITER), word(shadow, WRITE_SITE))
    read, reader = word(shadow, READ), word(shadow, READER)
    meets = reader != me and unordered(launch, read, across)
    if across != 0 and reader == ELSEWHERE:
        meets = True
    if word(thread, WRITES) != 0:
        if meets:
            return note_race(launch, thread, across, k, index, reader, word(shadow, READ_SITE))
        set_word(shadow, WRITTEN, epoch)
        set_word(shadow, WRITER, me)
        set_word(shadow, WRITE_SITE, word(thread, SITE))
        return 0
    if meets:
        me = MANY if read == epoch and reader != ELSEWHERE else ELSEWHERE
    set_word(shadow, READ, epoch)
    set_word(shadow, READER, me)
    set_word(shadow, READ_SITE, word(thread, SITE))
    return 0


def unordered(launch, epoch, across):
    """Whether nothing orders what another thread did in `epoch` and what one does now: no barrier, and no barrier
    orders blocks.
    """
    return epoch == word(launch, EPOCH) or (across != 0 and epoch > 0 and epoch < word(launch, FIRST_EPOCH))
