"""What runs the threads of a launch: blocks one after another, threads of a block in order, always in the same one.

Written like a kernel, in the Python of `python_to_llvm`. A kernel whose threads wait for none is called for each thread
in turn. Else each thread of a block is a fiber, with a stack of its own (see `switching`), that lives for the whole
launch. The threads of a warp run until each is done or waits; those at a shuffle go on when all of the warp are there,
those at a barrier when all of the block are.
"""

from ..codegen.intrinsics import set_word, word
from ..codegen.natives import external, native
from .state import (
    AT_BARRIER,
    AT_SHUFFLE,
    BLOCK,
    CONTEXT_BYTES,
    CONTEXTS,
    DIVERGENT_BARRIER,
    DIVERGENT_SHUFFLE,
    DONE,
    EPOCH,
    FAULT,
    FAULT_BLOCK,
    FAULT_OTHER,
    FAULT_OTHER_SITE,
    FAULT_SITE,
    FAULT_THREAD,
    FIBER,
    FIBER_BYTES,
    FIRST_EPOCH,
    FUNCTION,
    GRID,
    JUMP,
    LAUNCH,
    NEW,
    PARITY,
    RUNNING,
    SCHEDULER,
    SITE,
    STACK_BYTES,
    STACKS,
    STATE,
    THREAD,
    THREAD_BLOCKS,
    THREAD_BYTES,
    THREADS,
    WARP,
)
from .switching import emit_call, emit_enter, emit_make, emit_switch

getcontext = external("getcontext", "i32", "i64")


@native(emit_switch, "none", "i64", "i64")
def switch(here: int, there: int) -> None:
    """Saves this fiber in a jump buffer and goes on where another one was saved."""
    raise NotImplementedError("fibers run in machine code")


@native(emit_enter, "none", "i64", "i64")
def enter(here: int, context: int) -> None:
    """Saves this fiber in a jump buffer and begins another one in its context."""
    raise NotImplementedError("fibers run in machine code")


@native(emit_make, "none", "i64", "i64", "i64", "i64")
def makecontext(context: int, kernel: int, scratch: int, block: int) -> None:
    """Lets a context begin with a kernel on the words of a block; `scratch` has 16 bytes for what it returns."""
    raise NotImplementedError("fibers run in machine code")


@native(emit_call, "none", "i64", "i64")
def call_thread(function: int, argument: int) -> None:
    """Calls `void function(int64)` at an address."""
    raise NotImplementedError("threads run in machine code")


def run_threads(launch):
    """Runs a launch whose threads wait for none: 0, or 1 where a thread met a fault."""
    thread = word(launch, THREAD_BLOCKS)
    set_word(thread, LAUNCH, launch)
    for block in range(word(launch, GRID)):
        begin_block(launch)
        set_word(thread, BLOCK, block)
        for t in range(word(launch, THREADS)):
            set_word(thread, THREAD, t)
            call_thread(word(launch, FUNCTION), thread)
            if word(launch, FAULT) != 0:
                return 1
    return 0


def run_fibers(launch):
    """Runs a launch whose threads wait for each other: 0, or 1 where there was a fault."""
    threads = word(launch, THREADS)
    for t in range(threads):
        make_fiber(launch, t)
    for block in range(word(launch, GRID)):
        begin_block(launch)
        for t in range(threads):
            begin_thread(launch, block, t)
        waiting = AT_BARRIER
        while waiting == AT_BARRIER:
            for first in range(0, threads, WARP):
                run_warp(launch, first, min(first + WARP, threads))
                if word(launch, FAULT) != 0:
                    return 1
            waiting = meet(launch, 0, threads, AT_BARRIER, DIVERGENT_BARRIER)
            if word(launch, FAULT) != 0:
                return 1
            set_word(launch, EPOCH, word(launch, EPOCH) + 1)
    return 0


def begin_block(launch):
    """Notes that nothing is written yet in the memory that a block shares."""
    set_word(launch, EPOCH, word(launch, EPOCH) + 1)
    set_word(launch, FIRST_EPOCH, word(launch, EPOCH))


def thread_at(launch, t):
    """The address of the words of thread `t`."""
    return word(launch, THREAD_BLOCKS) + t * THREAD_BYTES


def make_fiber(launch, t):
    """Makes a fiber for thread `t` of every block."""
    thread = thread_at(launch, t)
    context = word(launch, CONTEXTS) + t * FIBER_BYTES
    set_word(thread, LAUNCH, launch)
    set_word(thread, THREAD, t)
    set_word(thread, STATE, NEW)
    set_word(thread, JUMP, context + CONTEXT_BYTES)
    getcontext(context)
    # uc_link, uc_stack.ss_sp and uc_stack.ss_size of ucontext_t, on every Linux of 64 bits
    set_word(context, 1, 0)
    set_word(context, 2, word(launch, STACKS) + t * STACK_BYTES)
    set_word(context, 4, STACK_BYTES)
    makecontext(context, word(launch, FIBER), context + CONTEXT_BYTES, thread)


def begin_thread(launch, block, t):
    """Lets the fiber of thread `t` begin the thread of another block."""
    thread = thread_at(launch, t)
    set_word(thread, BLOCK, block)
    set_word(thread, PARITY, 0)
    if word(thread, STATE) != NEW:
        set_word(thread, STATE, RUNNING)


def run_fiber(thread):
    """Runs a thread of block after block. It never returns: its memory is freed when the launch has ended."""
    launch = word(thread, LAUNCH)
    while True:
        call_thread(word(launch, FUNCTION), thread)
        set_word(thread, STATE, DONE)
        switch(word(thread, JUMP), word(launch, SCHEDULER))
    return 0


def resume(launch, t):
    """Lets thread `t` go on until it is done or waits."""
    thread = thread_at(launch, t)
    state = word(thread, STATE)
    set_word(thread, STATE, RUNNING)
    if state == NEW:
        enter(word(launch, SCHEDULER), word(launch, CONTEXTS) + t * FIBER_BYTES)
    else:
        switch(word(launch, SCHEDULER), word(thread, JUMP))


def run_warp(launch, first, last):
    """Lets the threads of a warp run until each is done or waits for the block."""
    waiting = AT_SHUFFLE
    while waiting == AT_SHUFFLE:
        for t in range(first, last):
            if word(thread_at(launch, t), STATE) != DONE:
                resume(launch, t)
                if word(launch, FAULT) != 0:
                    return 1
        waiting = meet(launch, first, last, AT_SHUFFLE, DIVERGENT_SHUFFLE)
        if word(launch, FAULT) != 0:
            return 1
    return 0


def meet(launch, first, last, state, kind):
    """`state` if all threads of a range wait in it at the same place, DONE if none is in it; else a fault of `kind`."""
    waits, misses = -1, -1
    for t in range(first, last):
        thread = thread_at(launch, t)
        if word(thread, STATE) == state:
            if waits == -1:
                waits = t
            elif word(thread, SITE) != word(thread_at(launch, waits), SITE) and misses == -1:
                misses = t
        elif misses == -1:
            misses = t
    if waits == -1:
        return DONE
    if misses != -1:
        thread, other = thread_at(launch, waits), thread_at(launch, misses)
        set_word(launch, FAULT, kind)
        set_word(launch, FAULT_SITE, word(thread, SITE))
        set_word(launch, FAULT_THREAD, waits)
        set_word(launch, FAULT_BLOCK, word(thread, BLOCK))
        set_word(launch, FAULT_OTHER, misses)
        set_word(launch, FAULT_OTHER_SITE, -1 if word(other, STATE) == DONE else word(other, SITE))
    return state
