"""GPU kernels on this CPU, natively: what a launch computes, always in the same order, and what it does wrong.

    kernel = emulated_kernel(source, checked=True)
    launch(kernel, grid=8, block=256, words=[x.ctypes.data, y.ctypes.data, x.size], arrays=[x, y])

Blocks run one after another. Threads of a block run in turn, each up to where it waits for others, so a launch has the
same bits every time. Both modes find barriers and shuffles that not all threads reach. The checking mode, which takes
ten times as long, also finds accesses out of bounds, reads of shared memory that nothing wrote, and races.
Elements behind `word`, `set_word` and atomics are not looked at.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from ...ir import Array
from ..codegen.kernel_cache import FunctionRequest, KernelRequest, code_salt, compile_kernels
from ..lowering.namespace import kernel_namespace
from . import state as at
from .accesses import Accesses
from .faults import KernelFault, fault_of
from .host import check_host
from .shadows import Shadows
from .thread_code import ThreadCode, compile_thread

__all__ = ["EmulatedKernel", "KernelFault", "emulated_kernel", "launch", "run_launch"]

_LINE = 64
MOST_SHARED_BYTES = 48 << 10
"""What every GPU gives a block."""


@dataclass(frozen=True)
class EmulatedKernel:
    """A GPU kernel as code of this CPU: see `emulated_kernel`."""

    name: str
    code: ThreadCode
    checked: bool


@cache
def emulated_kernel(source: str, entry: str = "kernel", checked: bool = False) -> EmulatedKernel:
    """The kernel that `source` defines under the name `entry`; equal requests give the same one, compiled once.

    Raises `TargetError` where there are no fibers, `Unsupported` for source that the front end does not know, and
    `ValueError` for a block that shares more memory than a GPU has.
    """
    check_host()
    code = compile_thread(KernelRequest(source, entry, kernel_namespace).function(), checked)
    if code.shared_bytes > MOST_SHARED_BYTES:
        raise ValueError(
            f"the blocks of kernel {entry!r} share {code.shared_bytes:,} bytes, and a GPU gives {MOST_SHARED_BYTES:,}; "
            "let a block work on less at a time"
        )
    return EmulatedKernel(entry, code, checked)


def launch(
    kernel: EmulatedKernel, grid: int, block: int, words: Sequence[int], arrays: Sequence[Array] | None = None
) -> int:
    """Runs a grid of blocks of so many threads: 0, or the first code that a thread gave to `trap`, or returned.

    `words` are what the kernel reads by `word(b, i)`. The checking mode takes any access outside of `arrays` for a
    fault, where they are given; they are C-contiguous. A pointer that points into one of them may reach no other.

    Raises `KernelFault` for what is not defined on a GPU, and `ValueError` for a launch that no GPU takes.
    """
    for array in arrays or ():
        if not array.flags.c_contiguous:
            raise ValueError(f"arrays of a launch are C-contiguous, got strides {array.strides} of {array.shape}")
    return run_launch(kernel, grid, block, words, [(array.ctypes.data, array.nbytes) for array in arrays or ()])


def run_launch(
    kernel: EmulatedKernel,
    grid: int,
    block: int,
    words: Sequence[int],
    extents: Sequence[tuple[int, int]],
    noted: Accesses | None = None,
) -> int:
    """The same, where of each array the address of its first byte and its bytes are given. Where several overlap, an
    access of what belongs to any of them is right. `noted` gets what the checking mode saw of accesses to them.
    """
    if not 1 <= block <= at.MOST_THREADS or grid < 0:
        raise ValueError(f"a launch has 0 or more blocks of 1 to {at.MOST_THREADS} threads, got {grid} of {block}")
    if len(words) < kernel.code.words:
        raise ValueError(f"kernel {kernel.name!r} reads {kernel.code.words} words, got {len(words)}")
    memory = _Memory(kernel, block, np.array([*words, 0], np.int64), extents)
    state = memory.words
    state[at.GRID] = grid
    result, exception = ctypes.c_int64(), ctypes.c_void_p()
    _scheduler(kernel.code.waits)(ctypes.addressof(result), ctypes.addressof(exception), state.ctypes.data)
    if state[at.FAULT] != at.NO_FAULT:
        raise fault_of(kernel.name, kernel.code, state, [nbytes for _, nbytes in extents])
    if noted is not None:
        memory.shadows.note(noted)
    return int(state[at.TRAPPED])


class _Memory:
    """What a launch works in, and its words, which hold the addresses."""

    def __init__(
        self, kernel: EmulatedKernel, threads: int, parameters: Any, extents: Sequence[tuple[int, int]]
    ) -> None:
        code = kernel.code
        fibers = threads if code.waits else 0
        self.shadows = Shadows(extents if kernel.checked else [], code.smallest)
        self.kept: list[Any] = [parameters]
        self.words: Any = np.zeros(at.LAUNCH_WORDS, np.int64)
        shared = self.bytes(code.shared_bytes)
        self.kept[-1][:] = 0xFF  # NaN: a result that rests on what nothing wrote shows
        start = shared
        arrays = np.zeros((len(code.shared), at.ARRAY_WORDS), np.int64)
        for words, array in zip(arrays, code.shared):
            shadow = np.zeros(array.elements * at.SHADOW_WORDS if kernel.checked else 0, np.int64)
            self.kept.append(shadow)
            words[:] = start + array.offset, array.elements, array.itemsize, shadow.ctypes.data
        thread_words = np.zeros(max(fibers, 1) * at.THREAD_WORDS, np.int64)
        self.kept += [arrays, thread_words]
        noted: Mapping[int, int] = {
            at.FUNCTION: code.address,
            at.THREADS: threads,
            at.THREAD_BLOCKS: thread_words.ctypes.data,
            at.FIBER: _fiber() if code.waits else 0,
            at.CONTEXTS: self.bytes(fibers * at.FIBER_BYTES),
            at.SCHEDULER: self.bytes(at.JUMP_BYTES),
            at.STACKS: self.bytes(fibers * at.STACK_BYTES),
            at.SLOTS: self.bytes(2 * at.MOST_THREADS * 8 if code.waits else 0),
            at.SHARED: shared,
            at.PARAMETERS: parameters.ctypes.data,
            at.CHECKER: _checker() if kernel.checked else 0,
            at.ARRAYS: arrays.ctypes.data,
            at.ARRAY_COUNT: len(code.shared),
            at.EXTENTS: self.shadows.words.ctypes.data,
            at.EXTENT_COUNT: len(self.shadows.words),
            at.GRANULE_BITS: self.shadows.bits,
        }
        for i, value in noted.items():
            self.words[i] = value

    def bytes(self, n: int) -> int:
        """The address of so many bytes, which begin at a cache line."""
        self.kept.append(np.empty(n + _LINE, np.uint8))
        address = self.kept[-1].ctypes.data
        return address + -address % _LINE


def _native(module: str, entry: str) -> int:
    request = FunctionRequest(f"{__package__}.{module}", entry, "int64(int64)", code_salt())
    return compile_kernels([request])[0].address


_checker = cache(partial(_native, "checks", "check"))
_fiber = cache(partial(_native, "scheduler", "run_fiber"))


@cache
def _scheduler(waits: bool) -> Any:
    convention = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return convention(_native("scheduler", "run_fibers" if waits else "run_threads"))
