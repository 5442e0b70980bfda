"""Native functions of GPU kernels: which thread runs, barriers, shuffles, shared memory, and errors.

A kernel runs as a grid of blocks of threads. What the functions become is said by a `Machine`: the GPU itself, or the
emulator. On a CPU they are refused. Called from Python they are those of a grid of one block of one thread, so that a
kernel which does all the work of a grid can run as plain Python.

Known elsewhere as threadIdx, __syncthreads, __shfl_xor_sync, __shared__ (CUDA).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arithmetic import Unsupported
from .intrinsics import ARRAY_DTYPES
from .natives import native


class Trapped(Exception):
    """A kernel that ran in Python called `trap`."""


GPU_NATIVES: dict[str, Callable[..., Any]] = {}
"""The native functions of this file by their names."""


def _gpu_native(returns: str, *parameters: str) -> Callable[[Any], Any]:
    """Decorates the Python function of a native function that there is only on a GPU."""

    def declare(function: Any) -> Any:
        def refuse(builder: Any, *values: Any) -> Any:
            raise Unsupported(f"{function.__name__} on a CPU: it is for kernels of a GPU")

        GPU_NATIVES[function.__name__] = function
        return native(refuse, returns, *parameters)(function)

    return declare


# ---- which thread runs


@_gpu_native("i64")
def thread_index() -> int:
    """The number of this thread in its block."""
    return 0


@_gpu_native("i64")
def block_index() -> int:
    """The number of this thread's block in the grid."""
    return 0


@_gpu_native("i64")
def block_size() -> int:
    """The threads of a block."""
    return 1


@_gpu_native("i64")
def grid_size() -> int:
    """The blocks of the grid."""
    return 1


# ---- threads of a block together


@_gpu_native("none")
def barrier() -> None:
    """Waits until all threads of the block are here, and what they wrote before is seen by all."""


SHUFFLED = ("f32", "f64", "i32", "i64")
"""The types of what threads can hand to each other, and of shared memory."""


def _declare_shuffle(kind: str) -> Callable[[Any, int], Any]:
    def shuffle_xor(value: Any, mask: int) -> Any:
        return value

    shuffle_xor.__name__ = shuffle_xor.__qualname__ = f"shuffle_xor_{kind}"
    shuffle_xor.__doc__ = (
        f"The {kind} `value` of the thread whose number differs from this one's in the bits of `mask`, below 32.\n\n"
        "All 32 threads of a warp call it together: blocks are whole warps."
    )
    return _gpu_native(kind, kind, "i64")(shuffle_xor)


shuffle_xor_f32 = _declare_shuffle("f32")
shuffle_xor_f64 = _declare_shuffle("f64")
shuffle_xor_i32 = _declare_shuffle("i32")
shuffle_xor_i64 = _declare_shuffle("i64")


def _declare_shared(kind: str) -> Callable[[int], Any]:
    def shared(n: int) -> Any:
        return np.empty(n, ARRAY_DTYPES[kind])

    shared.__name__ = shared.__qualname__ = f"shared_{kind}"
    shared.__doc__ = (
        f"A pointer to `n` elements of {kind}, a constant, that the threads of a block share. Nothing stands there yet."
    )
    return _gpu_native(f"{kind}*", "i64")(shared)


shared_f32 = _declare_shared("f32")
shared_f64 = _declare_shared("f64")
shared_i32 = _declare_shared("i32")
shared_i64 = _declare_shared("i64")


def _declare_aligned(kind: str) -> Callable[[Any, int], Any]:
    def aligned(array: Any, i: int) -> Any:
        return array[i]

    aligned.__name__ = aligned.__qualname__ = f"aligned_{kind}"
    aligned.__doc__ = (
        f"Element `i` of an array of {kind}, which lies at a multiple of 16 bytes.\n\n"
        "A thread may then read it together with those behind it, if it reads them next."
    )
    return _gpu_native(kind, f"{kind}*", "i64")(aligned)


aligned_f32 = _declare_aligned("f32")
aligned_f64 = _declare_aligned("f64")
aligned_i32 = _declare_aligned("i32")
aligned_i64 = _declare_aligned("i64")


# ---- errors


@_gpu_native("none", "i64")
def trap(code: int) -> None:
    """Writes `code`, which is not 0, to the launch's word for errors, if none stands there yet. The thread goes on."""
    raise Trapped(code)


def constant_size(function: str, n: Any) -> int:
    """The number of elements that a kernel asks `function` of shared memory for; `Unsupported` if it is no constant."""
    count = getattr(n, "constant", None)
    if not isinstance(count, int) or count <= 0:
        raise Unsupported(f"{function} takes a positive number that stands in the source")
    return count
