"""Words (int64) of a launch in the emulator, of each of its threads, and of the shared arrays of a block.

The scheduler and the checks read them by `word`, kernels by what `thread_code` emits.
"""

# ---- states of a thread

NEW, RUNNING, AT_SHUFFLE, AT_BARRIER, DONE = range(5)
"""NEW: its fiber has never run. RUNNING: it may go on."""

# ---- a launch

(
    FUNCTION,  # address of the machine code of one thread
    GRID,  # blocks
    THREADS,  # threads of a block
    THREAD_BLOCKS,  # address of the words of the threads of a block
    FIBER,  # address of the machine code of `run_fiber`
    CONTEXTS,  # address of the context in which each fiber begins, and of its jump buffer
    SCHEDULER,  # address of the scheduler's jump buffer
    STACKS,  # address of a stack for each thread
    SLOTS,  # address of the values that threads hand to each other
    SHARED,  # address of the memory that a block shares
    PARAMETERS,  # address of the kernel's words
    TRAPPED,  # the first code that `trap` got, or that a thread returned
    CHECKER,  # address of the machine code of `check`
    EPOCH,  # number of the interval between two barriers, over all blocks
    FIRST_EPOCH,  # the epoch in which this block began
    ARRAYS,  # address of the words of the shared arrays
    ARRAY_COUNT,
    EXTENTS,  # address of the words of the arrays given
    EXTENT_COUNT,
    GRANULE_BITS,  # an access of an array given is noted for each so many bytes: 2 to this power
    FAULT,  # kind of the fault that ended the launch, or 0
    FAULT_SITE,
    FAULT_THREAD,
    FAULT_BLOCK,
    FAULT_OTHER,  # another thread that has part in it
    FAULT_OTHER_SITE,
    FAULT_ARRAY,  # number of the shared array, or of the array given; -1 is none
    FAULT_INDEX,
    FAULT_WRITES,
    LAUNCH_WORDS,
) = range(30)

# ---- a thread

(
    LAUNCH,
    THREAD,
    BLOCK,
    STATE,
    JUMP,  # address of the jump buffer of its fiber
    SITE,  # where it waits, or what it is about to access
    PARITY,  # which half of the slots its next shuffle uses
    BASE,  # the pointer of an access
    ADDRESS,
    BYTES,
    WRITES,
    THREAD_WORDS,
) = range(12)
THREAD_BYTES = 8 * THREAD_WORDS

# ---- a shared array

START, ELEMENTS, ITEMSIZE, SHADOW, ARRAY_WORDS = range(5)
ARRAY_BYTES = 8 * ARRAY_WORDS

# ---- an array given

FIRST, LAST, SHADOWS, LOW, HIGH, EXTENT_WORDS = range(6)
"""Addresses: of its first byte, of the byte behind its last, of where the shadow of address 0 would be, and of what is
accessed: its first byte, and the byte behind its last.
"""
EXTENT_BYTES = 8 * EXTENT_WORDS

# ---- what is known of an element of a shared array, or of a granule of an array given

WRITTEN, WRITER, WRITE_SITE, READ, READER, READ_SITE, SHADOW_WORDS = range(7)
SHADOW_BYTES = 8 * SHADOW_WORDS

MANY, ELSEWHERE = -1, -2
"""Readers that stand for several: of one block, of several blocks."""

# ---- faults

(
    NO_FAULT,
    DIVERGENT_BARRIER,
    DIVERGENT_SHUFFLE,
    NO_LANE,
    OUT_OF_BOUNDS,
    OUT_OF_SHARED,
    UNWRITTEN,
    RACE,
    RACE_IN_GIVEN,
) = range(9)

# ---- sizes

WARP = 32
MOST_THREADS = 1024
CONTEXT_BYTES = 7168
"""More than glibc's ucontext_t on x86-64 (968) and aarch64 (4,560)."""
JUMP_BYTES = 1024
"""More than its jmp_buf on x86-64 (200) and aarch64 (312)."""
FIBER_BYTES = CONTEXT_BYTES + JUMP_BYTES
STACK_BYTES = 1 << 16
