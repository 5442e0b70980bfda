"""Intrinsics of kernels and of the driver: memory behind addresses, atomics, calls by address, matrix products.

Every name here is an ordinary Python function that works on real addresses, so a kernel can be run in Python on the
same argument block; in machine code it is a few LLVM instructions instead.

A kernel's arrays are *typed pointers*: they are indexed, `a[i]`, and nothing else (no length, no slices, no negative
index, whose wraparound would keep `for i in range(lo, hi)` from being vectorized).
"""

import ctypes
import platform
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from .natives import BYTE, INT, NATIVES, WORD, Native, Signature, counted_loop, declared, llvm_type, native, stack_slot

_BYTE_POINTER = BYTE.as_pointer()


def _pointer(builder: Any, address: Any, to: Any = WORD) -> Any:
    return builder.inttoptr(address, to.as_pointer())


# ---- memory behind an address


ARRAY_DTYPES = {
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "bf16": "uint16",
    "f16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "bool": "bool",
}
"""The suffix of each `array_*`, and the dtype of its elements in memory: of two-byte floats their bits."""


def _declare_array(suffix: str) -> Callable[[int, int], Any]:
    dtype = ARRAY_DTYPES[suffix]
    c_type: Any = np.ctypeslib.as_ctypes_type(dtype)

    def array(address: int, n: int) -> Any:
        if n <= 0:
            return np.empty(0, dtype)
        return np.ctypeslib.as_array((c_type * n).from_address(address))

    array.__name__ = array.__qualname__ = f"array_{suffix}"
    array.__doc__ = f"The `n` elements of {dtype} at `address`: a typed pointer, or in Python a NumPy array."
    kind = "u16*" if suffix in ("bf16", "f16") else f"{suffix}*"
    pointer = llvm_type(kind)

    def emit(builder: Any, address: Any, n: Any) -> Any:
        return builder.inttoptr(address, pointer)

    return native(emit, kind, "i64", "i64")(array)


array_f32 = _declare_array("f32")
array_f64 = _declare_array("f64")
array_i8 = _declare_array("i8")
array_i32 = _declare_array("i32")
array_i64 = _declare_array("i64")
array_u8 = _declare_array("u8")
array_u16 = _declare_array("u16")
array_bf16 = _declare_array("bf16")
array_f16 = _declare_array("f16")
array_u32 = _declare_array("u32")
array_u64 = _declare_array("u64")
array_bool = _declare_array("bool")

parallel_range = range
"""A range whose iterations read no element that another one writes."""

masked_range = range
"""The same, over which a loop is vectorized to its end, under masks, instead of leaving a scalar remainder."""


def window(array: Any, start: int, n: int) -> Any:
    """The `n` elements of a 1-D array from `start` on, all inside it. A loop over `range(n)` of it vectorizes."""
    return array[start : start + n]


def _emit_window(builder: Any, pointer: Any, start: Any, n: Any) -> Any:
    return builder.gep(pointer, [start], inbounds=True)


def _type_of_window(arguments: tuple[str, ...]) -> Signature | None:
    fits = len(arguments) == 3 and arguments[0].endswith("*")
    return (arguments[0], (arguments[0], "i64", "i64")) if fits else None


NATIVES[window] = Native(_emit_window, _type_of_window)


# ---- words of a block


def _emit_word(builder: Any, address: Any, i: Any) -> Any:
    return builder.load(builder.gep(_pointer(builder, address), [i]))


def _emit_set_word(builder: Any, address: Any, i: Any, value: Any) -> None:
    builder.store(value, builder.gep(_pointer(builder, address), [i]))


@native(_emit_word, "i64", "i64", "i64")
def word(address: int, i: int) -> int:
    """Word `i` (int64) of the block at `address`."""
    return ctypes.c_int64.from_address(address + 8 * i).value


@native(_emit_set_word, "none", "i64", "i64", "i64")
def set_word(address: int, i: int, value: int) -> None:
    """Stores word `i` (int64) of the block at `address`."""
    ctypes.c_int64.from_address(address + 8 * i).value = value


def _emit_zero_bytes(builder: Any, address: Any, n: Any) -> None:
    flag = ir.IntType(1)
    typed = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, BYTE, WORD, flag])
    clear = declared(builder.module, "llvm.memset.p0.i64", typed)
    builder.call(clear, [builder.inttoptr(address, _BYTE_POINTER), BYTE(0), n, flag(0)])


@native(_emit_zero_bytes, "none", "i64", "i64")
def zero_bytes(address: int, n: int) -> None:
    """Stores zeros in `n` bytes from `address` on."""
    ctypes.memset(address, 0, n)


def _emit_real_f32(builder: Any, bits: Any) -> Any:
    return builder.bitcast(builder.trunc(bits, INT), llvm_type("f32"))


def _emit_real_f64(builder: Any, bits: Any) -> Any:
    return builder.bitcast(bits, llvm_type("f64"))


@native(_emit_real_f32, "f32", "i64")
def real_f32(bits: int) -> Any:
    """The float32 that has these bits."""
    return np.int32(bits).view(np.float32)


@native(_emit_real_f64, "f64", "i64")
def real_f64(bits: int) -> Any:
    """The float64 that has these bits."""
    return np.int64(bits).view(np.float64)


# ---- products and sums that are rounded once


def _emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fma(a, b, c)


@native(_emit_fma, "f32", "f32", "f32", "f32")
def fma_f32(a: float, b: float, c: float) -> Any:
    """a * b + c in float32, rounded once; in Python nearly always, as the sum is rounded to float64 before."""
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


@native(_emit_fma, "f64", "f64", "f64", "f64")
def fma_f64(a: float, b: float, c: float) -> Any:
    """a * b + c in float64, rounded once; in Python twice."""
    return np.float64(a) * np.float64(b) + np.float64(c)


# ---- atomics, all of them sequentially consistent (atomic only in machine code)


def _emit_atomic_load(builder: Any, address: Any) -> Any:
    return builder.load_atomic(_pointer(builder, address), "seq_cst", 8)


def _emit_atomic_store(builder: Any, address: Any, value: Any) -> None:
    builder.store_atomic(value, _pointer(builder, address), "seq_cst", 8)


def _emit_atomic_add(builder: Any, address: Any, value: Any) -> Any:
    return builder.atomic_rmw("add", _pointer(builder, address), value, "seq_cst")


def _emit_compare_exchange(builder: Any, address: Any, expected: Any, value: Any) -> Any:
    outcome = builder.cmpxchg(_pointer(builder, address), expected, value, "seq_cst", "seq_cst")
    return builder.extract_value(outcome, 1)


def _emit_pause(builder: Any) -> None:
    # As intrinsics, because inline assembly would need LLVM's assembly parser.
    if platform.machine().lower() in ("x86_64", "amd64"):
        hint = builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), ()))
        builder.call(hint, ())
    elif platform.machine().lower() in ("arm64", "aarch64"):
        hint = builder.module.declare_intrinsic("llvm.aarch64.hint", (), ir.FunctionType(ir.VoidType(), (INT,)))
        builder.call(hint, (INT(1),))


@native(_emit_atomic_load, "i64", "i64")
def atomic_load(address: int) -> int:
    """The word at `address`."""
    return word(address, 0)


@native(_emit_atomic_store, "none", "i64", "i64")
def atomic_store(address: int, value: int) -> None:
    """Stores the word at `address`."""
    set_word(address, 0, value)


@native(_emit_atomic_add, "i64", "i64", "i64")
def atomic_add(address: int, value: int) -> int:
    """Adds to the word at `address`; returns what stood there before."""
    before = word(address, 0)
    set_word(address, 0, before + value)
    return before


@native(_emit_compare_exchange, "bool", "i64", "i64", "i64")
def compare_exchange(address: int, expected: int, value: int) -> bool:
    """Stores `value` at `address` if `expected` stands there; whether it did."""
    if word(address, 0) != expected:
        return False
    set_word(address, 0, value)
    return True


@native(_emit_pause, "none")
def pause() -> None:
    """Tells the processor that this thread waits in a loop."""


# ---- calls by address

RAISED = 2**31 - 1
"""The code of a kernel that raised instead of returning one."""


def _emit_call_kernel(builder: Any, kernel: Any, block: Any) -> Any:
    code, exception = stack_slot(builder, WORD), stack_slot(builder, _BYTE_POINTER)
    convention = ir.FunctionType(INT, (WORD.as_pointer(), _BYTE_POINTER.as_pointer(), WORD))
    status = builder.call(_pointer(builder, kernel, convention), (code, exception, block))
    return builder.select(builder.icmp_signed("==", status, INT(0)), builder.load(code), WORD(RAISED))


@native(_emit_call_kernel, "i64", "i64", "i64")
def call_kernel(kernel: int, block: int) -> int:
    """Calls the kernel at address `kernel` with the words at `block`: its code, or RAISED."""
    convention = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    code, exception = ctypes.c_int64(), ctypes.c_void_p()
    status = convention(kernel)(ctypes.addressof(code), ctypes.addressof(exception), block)
    return code.value if status == 0 else RAISED


def _emit_call_getter(builder: Any, function: Any) -> Any:
    return builder.sext(builder.call(_pointer(builder, function, ir.FunctionType(INT, ())), ()), WORD)


def _emit_call_setter(builder: Any, function: Any, value: Any) -> None:
    setter = _pointer(builder, function, ir.FunctionType(ir.VoidType(), (INT,)))
    builder.call(setter, (builder.trunc(value, INT),))


@native(_emit_call_getter, "i64", "i64")
def call_getter(function: int) -> int:
    """Calls the C function `int function(void)` at an address."""
    return ctypes.CFUNCTYPE(ctypes.c_int)(function)()


@native(_emit_call_setter, "none", "i64", "i64")
def call_setter(function: int, value: int) -> None:
    """Calls the C function `void function(int)` at an address."""
    ctypes.CFUNCTYPE(None, ctypes.c_int)(function)(value)


# ---- matrix products


def _declare_gemm(name: str, real: Any, c_real: Any, number: str) -> Callable[..., None]:
    """A row-major gemm over a column-major one: C^T = op(B)^T op(A)^T is the same memory with A and B swapped."""
    bytes_of = ctypes.sizeof(c_real)

    def emit(builder: Any, fn: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any, b: Any,
             ldb: Any, beta: Any, c: Any, ldc: Any) -> None:  # fmt: skip
        def slot(value: Any) -> Any:
            memory = stack_slot(builder, value.type)
            builder.store(value, memory)
            return builder.bitcast(memory, _BYTE_POINTER)

        def integer(value: Any) -> Any:
            return slot(builder.trunc(value, INT))

        def leading(value: Any) -> Any:  # BLAS wants at least 1, also of an empty matrix
            positive = builder.icmp_signed(">", value, WORD(1))
            return integer(builder.select(positive, value, WORD(1)))

        def transposed(flag: Any) -> Any:
            none = builder.icmp_signed("==", flag, WORD(0))
            return slot(builder.select(none, BYTE(ord("N")), BYTE(ord("T"))))

        def positive(value: Any) -> Any:
            return builder.icmp_signed(">", value, WORD(0))

        with builder.if_then(builder.and_(positive(m), positive(n))), builder.if_else(positive(k)) as (some, none):
            with some:
                function = _pointer(builder, fn, ir.FunctionType(ir.VoidType(), [_BYTE_POINTER] * 13))
                matrix = [builder.inttoptr(address, _BYTE_POINTER) for address in (a, b, c)]
                builder.call(
                    function,
                    [transposed(tb), transposed(ta), integer(n), integer(m), integer(k), slot(alpha),
                     matrix[1], leading(ldb), matrix[0], leading(lda), slot(beta), matrix[2], leading(ldc)],
                )  # fmt: skip
            with none, counted_loop(builder, m) as row, counted_loop(builder, n) as column:
                # An empty sum. Libraries differ on it, where they forward a product with one column to gemv.
                index = builder.add(builder.mul(row, ldc), column)
                place = builder.gep(_pointer(builder, c, real), [index])
                keep = builder.fcmp_ordered("!=", beta, real(0.0))
                builder.store(builder.select(keep, builder.fmul(beta, builder.load(place)), real(0.0)), place)

    @native(emit, "none", *["i64"] * 6, number, *["i64"] * 4, number, *["i64"] * 2)
    def gemm(fn: int, ta: int, tb: int, m: int, n: int, k: int, alpha: float, a_ptr: int, lda: int, b_ptr: int,
             ldb: int, beta: float, c_ptr: int, ldc: int) -> None:  # fmt: skip
        if m <= 0 or n <= 0:
            return
        if k <= 0:
            for row in range(m):
                values = np.ctypeslib.as_array((c_real * n).from_address(c_ptr + bytes_of * row * ldc))
                values[:] = values * beta if beta else 0
            return
        words = [ctypes.c_int32(value) for value in (n, m, k, max(ldb, 1), max(lda, 1), max(ldc, 1))]
        flags = [ctypes.c_char(b"T" if flag else b"N") for flag in (tb, ta)]
        reals = [c_real(alpha), c_real(beta)]
        at = [[ctypes.addressof(value) for value in values] for values in (words, flags, reals)]
        (n_, m_, k_, ldb_, lda_, ldc_), (tb_, ta_), (alpha_, beta_) = at
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(fn)
        function(tb_, ta_, n_, m_, k_, alpha_, b_ptr, ldb_, a_ptr, lda_, beta_, c_ptr, ldc_)

    gemm.__name__ = gemm.__qualname__ = name
    gemm.__doc__ = (
        f"C = alpha op(A) op(B) + beta C in {np.dtype(c_real)}, row-major; op(A) (m, k), op(B) (k, n), C (m, n).\n\n"
        "`fn` is the address of BLAS's function; `ta` and `tb` are 0, or 1 if the matrix in memory is the transpose;\n"
        "`lda`, `ldb`, `ldc` are the elements from one row in memory to the next. With beta = 0, C is only written."
    )
    return gemm


gemm_f32 = _declare_gemm("gemm_f32", ir.FloatType(), ctypes.c_float, "f32")
gemm_f64 = _declare_gemm("gemm_f64", ir.DoubleType(), ctypes.c_double, "f64")


def _declare_gemv(name: str, real: Any, c_real: Any) -> Callable[..., None]:
    def emit(builder: Any, fn: Any, transposed: Any, rows: Any, columns: Any, matrix: Any, leading: Any, x: Any,
             step: Any, y: Any) -> None:  # fmt: skip
        def slot(value: Any) -> Any:
            memory = stack_slot(builder, value.type)
            builder.store(value, memory)
            return builder.bitcast(memory, _BYTE_POINTER)

        flag = builder.select(builder.icmp_signed("==", transposed, WORD(0)), BYTE(ord("N")), BYTE(ord("T")))
        m, n, lda, incx = (slot(builder.trunc(value, INT)) for value in (rows, columns, leading, step))
        at_matrix, at_x, at_y = (builder.inttoptr(address, _BYTE_POINTER) for address in (matrix, x, y))
        one, incy = slot(real(1.0)), slot(INT(1))
        function = _pointer(builder, fn, ir.FunctionType(ir.VoidType(), [_BYTE_POINTER] * 11))
        builder.call(function, [slot(flag), m, n, one, at_matrix, lda, at_x, incx, one, at_y, incy])

    @native(emit, "none", *["i64"] * 9)
    def gemv(fn: int, transposed: int, rows: int, columns: int, matrix: int, leading: int, x: int, step: int,
             y: int) -> None:  # fmt: skip
        integers = [ctypes.c_int32(value) for value in (rows, columns, leading, step, 1)]
        m, n, lda, incx, incy = map(ctypes.addressof, integers)
        flag, one = ctypes.c_char(b"T" if transposed else b"N"), c_real(1.0)
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 11)(fn)
        at_flag, at_one = ctypes.addressof(flag), ctypes.addressof(one)
        function(at_flag, m, n, at_one, matrix, lda, x, incx, at_one, y, incy)

    gemv.__name__ = gemv.__qualname__ = name
    gemv.__doc__ = (
        f"y += op(A) x in {np.dtype(c_real)}; A (rows, columns) is column-major.\n\n"
        "`fn` is the address of BLAS's function; `transposed` is 0, or 1 for A's transpose; the next column of A is\n"
        "`leading` elements on, the next element of x `step`."
    )
    return gemv


gemv_f32 = _declare_gemv("gemv_f32", ir.FloatType(), ctypes.c_float)
gemv_f64 = _declare_gemv("gemv_f64", ir.DoubleType(), ctypes.c_double)
