"""Functions of MPI that kernels and the driver call by address.

A handle is an int in MPICH and a pointer in Open MPI: as a word it fits both, since both read the register's lower half
or all of it.
"""

import ctypes
from typing import Any

from llvmlite import ir

from .natives import INT, WORD, native


def _emit_call(builder: Any, fn: Any, *words: Any) -> Any:
    typed = ir.FunctionType(INT, [WORD] * len(words))
    return builder.sext(builder.call(builder.inttoptr(fn, typed.as_pointer()), words), WORD)


def _called(fn: int, *words: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * len(words))(fn)(*words)


@native(_emit_call, "i64", *["i64"] * 8)
def mpi_begin(
    fn: int, buffer: int, count: int, datatype: int, peer: int, tag: int, communicator: int, request: int
) -> int:
    """Calls `MPI_Isend` or `MPI_Irecv`: 0, or the code of an error."""
    return _called(fn, buffer, count, datatype, peer, tag, communicator, request)


@native(_emit_call, "i64", *["i64"] * 5)
def mpi_test_all(fn: int, count: int, requests: int, flag: int, statuses: int) -> int:
    """Calls `MPI_Testall`: 0, or the code of an error."""
    return _called(fn, count, requests, flag, statuses)
