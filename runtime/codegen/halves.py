"""Floats of two bytes in kernels: in memory 16 bits, in registers a float32 that is one of their numbers.

A bfloat16 is the upper half of a float32; a float16 has 5 bits of exponent and 10 of mantissa. The conversions are
operations on integers, so that the bits are the same on every machine. Processors have instructions for them too: those
for bfloat16 flush subnormal numbers; those for float16 give the same bits, and serve where a target has them.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from llvmlite import ir

from .instruction_set import instruction_set
from .natives import CPU, INT, NATIVES, Machine, Native, llvm_type, native

_HALF: Any = llvm_type("u16")
_REAL: Any = llvm_type("f32")


def _bits(builder: Any, x: Any) -> Any:
    return builder.bitcast(x, INT)


def _real(builder: Any, bits: Any) -> Any:
    return builder.bitcast(bits, _REAL)


# ---- bfloat16


def _float32_of_bf16(builder: Any, half: Any) -> Any:
    return _real(builder, builder.shl(builder.zext(half, INT), INT(16)))


def _upper_half(builder: Any, x: Any) -> Any:
    """The upper half of the bits of the nearest bfloat16, ties to even; NaN keeps its sign alone, as in `ml_dtypes`."""
    bits = _bits(builder, x)
    last = builder.and_(builder.lshr(bits, INT(16)), INT(1))
    nearest = builder.lshr(builder.add(bits, builder.add(last, INT(0x7FFF))), INT(16))
    nan = builder.or_(builder.and_(builder.lshr(bits, INT(16)), INT(0x8000)), INT(0x7FC0))
    return builder.select(builder.fcmp_unordered("uno", x, x), nan, nearest)


def _stored_bf16(builder: Any, x: Any) -> Any:
    return builder.trunc(_upper_half(builder, x), _HALF)


def _rounded_bf16(builder: Any, x: Any) -> Any:
    return _real(builder, builder.shl(_upper_half(builder, x), INT(16)))


@native(_float32_of_bf16, "f32", "u16")
def f32_of_bf16(bits: Any) -> Any:
    """The number that an element of bfloat16 in memory stands for."""
    return np.uint16(bits).view(ml_dtypes.bfloat16).astype(np.float32)


@native(_stored_bf16, "u16", "f32")
def bf16_of_f32(x: Any) -> Any:
    """The element of bfloat16 that is nearest to a number, as it lies in memory."""
    return np.float32(x).astype(ml_dtypes.bfloat16).view(np.uint16)


@native(_rounded_bf16, "f32", "f32")
def rounded_bf16(x: Any) -> Any:
    """The number of bfloat16 that is nearest to a float32, as a float32."""
    return np.float32(x).astype(ml_dtypes.bfloat16).astype(np.float32)


# ---- float16, as in Giesen's "Float->half variants" (2012)

_MORE_EXPONENT = (127 - 15) << 23
_FIRST_NORMAL = 113 << 23
"""The bits of the least normal number of float16, as a float32."""


def _float32_of_f16(builder: Any, half: Any) -> Any:
    bits = builder.zext(half, INT)
    moved = builder.shl(builder.and_(bits, INT(0x7FFF)), INT(13))
    exponent = builder.and_(moved, INT(0x1F << 23))
    normal = builder.add(moved, INT(_MORE_EXPONENT))
    endless = builder.add(normal, INT(_MORE_EXPONENT))
    first = _real(builder, INT(_FIRST_NORMAL))
    small = builder.fsub(_real(builder, builder.add(moved, INT(_FIRST_NORMAL))), first)
    size = builder.select(builder.icmp_unsigned("==", exponent, INT(0x1F << 23)), endless, normal)
    size = builder.select(builder.icmp_unsigned("==", exponent, INT(0)), _bits(builder, small), size)
    return _real(builder, builder.or_(size, builder.shl(builder.and_(bits, INT(0x8000)), INT(16))))


def _nearest_f16(builder: Any, x: Any) -> Any:
    """The bits of the nearest float16, ties to even; of NaN its sign alone stays."""
    bits = _bits(builder, x)
    size = builder.and_(bits, INT(0x7FFFFFFF))
    last = builder.and_(builder.lshr(size, INT(13)), INT(1))
    normal = builder.lshr(builder.add(size, builder.add(last, INT(0xFFF - _MORE_EXPONENT))), INT(13))
    half = INT(126 << 23)  # the bits of 0.5, whose last place is that of a subnormal float16
    small = builder.sub(_bits(builder, builder.fadd(_real(builder, size), _real(builder, half))), half)
    found = builder.select(builder.icmp_unsigned("<", size, INT(_FIRST_NORMAL)), small, normal)
    found = builder.select(builder.icmp_unsigned(">=", size, INT((127 + 16) << 23)), INT(0x7C00), found)
    found = builder.select(builder.icmp_unsigned(">", size, INT(0x7F800000)), INT(0x7E00), found)
    return builder.or_(found, builder.and_(builder.lshr(bits, INT(16)), INT(0x8000)))


def _stored_f16(builder: Any, x: Any) -> Any:
    return builder.trunc(_nearest_f16(builder, x), _HALF)


def _rounded_f16(builder: Any, x: Any) -> Any:
    return _float32_of_f16(builder, _stored_f16(builder, x))


@native(_float32_of_f16, "f32", "u16")
def f32_of_f16(bits: Any) -> Any:
    """The number that an element of float16 in memory stands for."""
    return np.uint16(bits).view(np.float16).astype(np.float32)


@native(_stored_f16, "u16", "f32")
def f16_of_f32(x: Any) -> Any:
    """The element of float16 that is nearest to a number, as it lies in memory."""
    with np.errstate(over="ignore"):
        return np.float32(x).astype(np.float16).view(np.uint16)


@native(_rounded_f16, "f32", "f32")
def rounded_f16(x: Any) -> Any:
    """The number of float16 that is nearest to a float32, as a float32."""
    with np.errstate(over="ignore"):
        return np.float32(x).astype(np.float16).astype(np.float32)


# ---- float16 by instructions

_FLOAT16: Any = ir.HalfType()


def _float32_by_instruction(builder: Any, half: Any) -> Any:
    return builder.fpext(builder.bitcast(half, _FLOAT16), _REAL)


def _f16_by_instruction(builder: Any, x: Any) -> Any:
    bits = builder.bitcast(builder.fptrunc(x, _FLOAT16), _HALF)
    nan = builder.or_(builder.and_(bits, _HALF(0x8000)), _HALF(0x7E00))
    return builder.select(builder.fcmp_unordered("uno", x, x), nan, bits)


def _rounded_by_instruction(builder: Any, x: Any) -> Any:
    return _float32_by_instruction(builder, _f16_by_instruction(builder, x))


_BY_INSTRUCTION = {
    f32_of_f16: _float32_by_instruction,
    f16_of_f32: _f16_by_instruction,
    rounded_f16: _rounded_by_instruction,
}
_CONVERTS = Machine(
    "a CPU that converts float16",
    {function: Native(emit, NATIVES[function].typed) for function, emit in _BY_INSTRUCTION.items()},
)


def cpu_machine(target: str) -> Machine:
    """The machine whose native functions kernels for a CPU target call."""
    return _CONVERTS if instruction_set(target).converts_f16 else CPU


HALF_CONVERSIONS = {
    function.__name__: function
    for function in (f32_of_bf16, bf16_of_f32, rounded_bf16, f32_of_f16, f16_of_f32, rounded_f16)
}
"""The functions of this file by their names."""
