"""A user's kernel as machine code, by Numba: its arrays are made of the words of a block. Importing this imports Numba.

The function is compiled without reference counts, so it can allocate nothing; a status other than its normal end, which
is an exception in Python, becomes the code of a trap.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numba.core.registry import cpu_target
from numba.np.arrayobj import make_array, populate_array

from ...ir.user_kernel import positional
from .array_kernel import (
    CODE_WORD,
    FIRST_ARRAY_WORD,
    ROWS_WORD,
    STEP_WORD,
    TILE_WORD,
    ArrayKernel,
)
from .disk_cache import in_process
from .intrinsics import ARRAY_DTYPES
from .natives import BYTE, INT, WORD
from .numba_front_end import Library, calling
from .object_code import emit
from .user_kernel_error import refused, refused_by_numba


def build(kernel: ArrayKernel, symbol: str, cpu: str = "") -> tuple[bytes, list[str]]:
    """As `object_code.emit`, of a function with the name `symbol`. Raises `UserKernelError`."""
    arguments = tuple(
        types.Array(getattr(types, ARRAY_DTYPES[a.dtype]), a.ndim, "C", readonly=not a.written) for a in kernel.arrays
    )
    flags: Any = compiler.Flags()
    options = {"nopython": True, "nogil": True, "error_model": "numpy", "boundscheck": kernel.checked, "_nrt": False}
    cpu_target.options.parse_as_flags(flags, options)
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    with global_compiler_lock:
        typing: Any = cpu_target.typing_context
        target: Any = cpu_target.target_context
        typing.refresh()
        target.refresh()
        library: Any = Library(target.codegen(), kernel.kernel.name)
        plain = calling(kernel.kernel.function, partial(_jitted, checked=kernel.checked))
        function, fixed = _with_options(plain, kernel.options)
        arguments = (*arguments, *map(types.Omitted, fixed))
        try:
            compiled: Any = compiler.compile_extra(typing, target, function, arguments, None, flags, {}, library)
        except (NumbaError, UnsupportedBytecodeError) as error:
            raise refused_by_numba(kernel.kernel, error) from None
        if compiled.signature.return_type != types.none:
            what = f"it returns {compiled.signature.return_type}"
            raise refused(kernel.kernel, what, advice="write results to the first arguments, and return nothing")
        module = library.create_ir_module(f"entry of {symbol}")
        _add_entry(module, target, compiled.fndesc, kernel, symbol)
        library.add_ir_module(module)
        library.finalize()
        code, externals = emit(library._final_module, symbol, cpu)
    lacking = [name for name in externals if not in_process(name) or name.startswith(("Py", "_Py", "NRT", "numba"))]
    if lacking:
        raise refused(kernel.kernel, f"it calls {', '.join(lacking)}, which is not there without Python")
    return code, externals


def _add_entry(module: Any, target: Any, callee: Any, kernel: ArrayKernel, symbol: str) -> None:
    """Add the function `symbol`, which makes the arrays and calls the kernel."""
    convention = ir.FunctionType(INT, (WORD.as_pointer(), BYTE.as_pointer().as_pointer(), WORD))
    entry = ir.Function(module, convention, symbol)
    build = ir.IRBuilder(entry.append_basic_block())
    block = build.inttoptr(entry.args[2], WORD.as_pointer())

    def read(number: int) -> Any:
        return build.load(build.gep(block, [WORD(number)]))

    first = build.mul(read(TILE_WORD), read(STEP_WORD))
    left = build.sub(read(ROWS_WORD), first)
    count = build.select(build.icmp_signed("<", read(STEP_WORD), left), read(STEP_WORD), left)
    given: list[Any] = []
    at = FIRST_ARRAY_WORD
    for array, typed in zip(kernel.arrays, callee.argtypes):
        shape = [read(at + 1 + i) for i in range(array.ndim)]
        itemsize = target.get_abi_sizeof(target.get_data_type(typed.dtype))
        strides: list[Any] = [WORD(itemsize)]
        for length in reversed(shape[1:]):
            strides.insert(0, build.mul(length, strides[0]))
        address = read(at)
        if array.rows:
            address = build.add(address, build.mul(first, strides[0]))
            shape[0] = count
        made = make_array(typed)(target, build)
        data = build.inttoptr(address, target.get_data_type(typed.dtype).as_pointer())
        populate_array(made, data, shape, strides[: array.ndim], itemsize, None)
        given.append(made._getvalue())
        at += array.words
    given += [None] * len(kernel.options)  # constants of the function itself
    function = target.declare_function(module, callee)
    status, _ = target.call_conv.call_function(build, function, callee.restype, callee.argtypes, given)
    build.store(build.select(status.is_error, read(CODE_WORD), WORD(0)), entry.args[0])
    build.ret(INT(0))


# ---- the function as Numba compiles it


def _with_options(function: FunctionType, options: Mapping[str, Any]) -> tuple[FunctionType, tuple[Any, ...]]:
    """A function whose options are the defaults of its last arguments, which Numba knows as constants; and these."""
    made = positional(function)
    names = made.__code__.co_varnames[: made.__code__.co_argcount]
    made.__defaults__ = tuple(options[name] for name in names if name in options)
    return made, made.__defaults__


@cache
def _jitted(function: FunctionType, checked: bool) -> Any:
    """A function that kernels call."""
    options: Any = {"error_model": "numpy", "forceinline": True, "boundscheck": checked, "_nrt": False}
    return njit(**options)(positional(calling(function, partial(_jitted, checked=checked))))
