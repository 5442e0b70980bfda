"""Integers where LLVM leaves a result undefined: shifts by any count, floats that no integer holds.

Every function here has one meaning for all operands, that of NumPy on x86-64; see the ops of these names. An
instruction whose operands are out of its range gives poison, from which LLVM may conclude anything, that an index is in
range for example. A `select` behind the instruction takes another value there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir

from ...ir import OPS
from ...ir.types import DTYPE_OF_SHORT
from .natives import INT, llvm_type, native

_INTEGERS = ("u8", "i32", "i64")
_FLOATS = ("f32", "f64")


def emit_whole(builder: Any, x: Any, kind: str) -> Any:
    """A float rounded towards 0 as an integer type; the least integer for NaN and for what the type does not hold.

    A type of 8 bits takes the low ones of an int32.
    """
    target: Any = llvm_type(kind)
    if target.width < INT.width:
        return builder.trunc(emit_whole(builder, x, "i32"), target)
    # The least integer is a float. Of a float that is wider than the integer, some above it less 1 are truncated to it.
    least = -(2.0 ** (target.width - 1))
    wider = x.type == llvm_type("f64") and target.width == INT.width
    above = builder.fcmp_ordered(">" if wider else ">=", x, ir.Constant(x.type, least - 1 if wider else least))
    held = builder.and_(above, builder.fcmp_ordered("<", x, ir.Constant(x.type, -least)))
    return builder.select(held, builder.fptosi(x, target), ir.Constant(target, int(least)))


def _emit_shift_left(builder: Any, x: Any, count: Any) -> Any:
    inside = builder.icmp_unsigned("<", count, ir.Constant(count.type, count.type.width))
    return builder.select(inside, builder.shl(x, count), ir.Constant(x.type, 0))


def _emit_shift_right(builder: Any, x: Any, count: Any) -> Any:
    most = ir.Constant(count.type, count.type.width - 1)
    return builder.ashr(x, builder.select(builder.icmp_unsigned("<", count, most), count, most))


def _emit_unsigned_shift_right(builder: Any, x: Any, count: Any) -> Any:
    inside = builder.icmp_unsigned("<", count, ir.Constant(count.type, count.type.width))
    return builder.select(inside, builder.lshr(x, count), ir.Constant(x.type, 0))


def _declare(name: str, emit: Callable[..., Any], op: str, returns: str, *parameters: str, **attrs: Any) -> Any:
    """The native function that does for one element what an op does."""
    reference = OPS[op].reference

    def function(*operands: Any) -> Any:
        typed = [np.asarray(x, DTYPE_OF_SHORT[kind]) for x, kind in zip(operands, parameters, strict=True)]
        return np.asarray(reference(*typed, **attrs))[()]

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{op} of {', '.join(parameters)} for one element."
    return native(emit, returns, *parameters)(function)


def _declare_conversion(source: str, target: str) -> Any:
    def emit(builder: Any, x: Any) -> Any:
        return emit_whole(builder, x, target)

    return _declare(f"{target}_of_{source}", emit, "cast", target, source, dtype=DTYPE_OF_SHORT[target])


INTEGER_MATH: Mapping[str, Any] = {
    **{f"shift_left_{k}": _declare(f"shift_left_{k}", _emit_shift_left, "shift_left", k, k, k) for k in _INTEGERS},
    **{
        f"shift_right_{k}": _declare(
            f"shift_right_{k}", _emit_unsigned_shift_right if k == "u8" else _emit_shift_right, "shift_right", k, k, k
        )
        for k in _INTEGERS
    },
    **{f"{t}_of_{s}": _declare_conversion(s, t) for s in _FLOATS for t in _INTEGERS},
}
"""`shift_left_i32(x, count)`, `shift_right_u8(x, count)`, `i64_of_f32(x)` and their like, by name."""
