"""bfloat16 in kernels: in memory the upper half of a float32, in registers a float32 whose lower half is 0.

The conversions are operations on integers, so that the bits are the same on every machine. Processors have instructions
for them too, which may flush subnormal numbers.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from .natives import INT, llvm_type, native

_HALF: Any = llvm_type("u16")
_REAL: Any = llvm_type("f32")


def _as_float32(builder: Any, half: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(half, INT), INT(16)), _REAL)


def _upper_half(builder: Any, x: Any) -> Any:
    """The upper half of the bits of the nearest bfloat16, ties to even; NaN keeps its sign alone, as in `ml_dtypes`."""
    bits = builder.bitcast(x, INT)
    last = builder.and_(builder.lshr(bits, INT(16)), INT(1))
    nearest = builder.lshr(builder.add(bits, builder.add(last, INT(0x7FFF))), INT(16))
    nan = builder.or_(builder.and_(builder.lshr(bits, INT(16)), INT(0x8000)), INT(0x7FC0))
    return builder.select(builder.fcmp_unordered("uno", x, x), nan, nearest)


def _emit_stored(builder: Any, x: Any) -> Any:
    return builder.trunc(_upper_half(builder, x), _HALF)


def _emit_rounded(builder: Any, x: Any) -> Any:
    return builder.bitcast(builder.shl(_upper_half(builder, x), INT(16)), _REAL)


@native(_as_float32, "f32", "u16")
def f32_of_bf16(bits: Any) -> Any:
    """The number that an element of bfloat16 in memory stands for."""
    return np.uint16(bits).view(ml_dtypes.bfloat16).astype(np.float32)


@native(_emit_stored, "u16", "f32")
def bf16_of_f32(x: Any) -> Any:
    """The element of bfloat16 that is nearest to a number, as it lies in memory."""
    return np.float32(x).astype(ml_dtypes.bfloat16).view(np.uint16)


@native(_emit_rounded, "f32", "f32")
def rounded_bf16(x: Any) -> Any:
    """The number of bfloat16 that is nearest to a float32, as a float32."""
    return np.float32(x).astype(ml_dtypes.bfloat16).astype(np.float32)


BFLOAT16_CONVERSIONS = {function.__name__: function for function in (f32_of_bf16, bf16_of_f32, rounded_bf16)}
"""The functions of this file by their names."""
