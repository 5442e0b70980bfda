"""A few neighbouring elements copied by vector registers, however many of them a vector holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir

from .intrinsics import array_i32, array_i64
from .natives import native


def plain_tile_copy(array: Callable[[int, int], Any], n: int) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""

    def copy(x: int, y: int) -> None:
        source, target = array(x, n), array(y, n)
        for i in range(n):
            target[i] = source[i]

    return copy


@cache
def tile_copy(itemsize: int, n: int) -> Callable[..., None]:
    """The function that copies `n` elements of 4 or 8 bytes. Its words: source and target."""
    pointer = ir.VectorType(ir.IntType(8 * itemsize), n).as_pointer()

    def emit(builder: Any, x: Any, y: Any) -> None:
        value = builder.load(builder.inttoptr(x, pointer))
        value.align = itemsize
        builder.store(value, builder.inttoptr(y, pointer)).align = itemsize

    copy = plain_tile_copy(array_i32 if itemsize == 4 else array_i64, n)
    copy.__name__ = copy.__qualname__ = f"copy_{itemsize}x{n}"
    return native(emit, "none", "i64", "i64")(copy)
