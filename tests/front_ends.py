"""Kernels as machine code by both front ends, ours and Numba's, to be called beside each other."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from gradloom.runtime.codegen import numba_front_end
from gradloom.runtime.codegen.kernel_cache import KernelRequest
from gradloom.runtime.codegen.object_code import emit
from gradloom.runtime.codegen.python_to_llvm import lower
from gradloom.runtime.lowering.namespace import kernel_namespace

_engines: list[Any] = []


def kernel_of(body: str) -> Callable[..., Any]:
    """The kernel of these lines, which may use `a` and `b`, the words of its block."""
    lines = ["def kernel(block):", "    a, b = word(block, 0), word(block, 1)"]
    lines += [f"    {line}" for line in body.strip("\n").splitlines()]
    return KernelRequest("\n".join(lines) + "\n", "kernel", kernel_namespace).function()


def machine_code(kernel: Callable[..., Any]) -> list[Callable[[int, int], int]]:
    """The kernel as a function of `a` and `b`, by our front end and by Numba."""
    ours, _ = emit(llvm.parse_assembly(str(lower(kernel, "kernel"))), "kernel")
    theirs, _ = numba_front_end.build(kernel, "int64(int64)", "kernel")
    return [called_code(code) for code in (ours, theirs)]


def called_code(code: bytes) -> Callable[[int, int], int]:
    """Object code of a kernel as a function of `a` and `b`."""
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)  # its code must not go
    convention = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    native = convention(engine.get_function_address("kernel"))

    def call(a: int, b: int) -> int:
        result, exception, block = ctypes.c_int64(), ctypes.c_void_p(), (ctypes.c_int64 * 2)(a, b)
        assert native(ctypes.addressof(result), ctypes.addressof(exception), ctypes.addressof(block)) == 0
        return result.value

    return call
