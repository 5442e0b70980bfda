"""A square of elements transposed in registers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir

from .intrinsics import array_i32, array_i64
from .lanes import lanes_below, transposed
from .natives import INT, WORD, declared, native

_BIT = ir.IntType(1)


def plain_tile_transpose(array: Callable[[int, int], Any], itemsize: int) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""

    def transpose(x: int, x_row: int, y: int, y_row: int, rows: int, columns: int) -> None:
        for r in range(rows):
            source = array(x + r * x_row, columns)
            for c in range(columns):
                array(y + c * y_row, rows)[r] = source[c]

    return transpose


@cache
def tile_transpose(itemsize: int, lanes: int, whole: bool) -> Callable[..., None]:
    """The function for elements of 4 or 8 bytes.

    Its words: source, bytes from row to row, target, bytes from row to row, rows and columns of the source: at most
    `lanes`, the elements of a vector, and exactly as many if `whole`.
    """
    n = lanes
    element = ir.IntType(8 * itemsize)
    vector, mask_type = ir.VectorType(element, n), ir.VectorType(_BIT, n)
    name = f"v{n}i{8 * itemsize}"
    zero = ir.Constant(vector, [0] * n)

    def emit(builder: Any, x: Any, x_row: Any, y: Any, y_row: Any, rows: Any, columns: Any) -> None:
        def function(what: str, result: Any, *arguments: Any) -> Any:
            return declared(builder.module, what, ir.FunctionType(result, arguments))

        pointer = vector.as_pointer()
        load_some = function(f"llvm.masked.load.{name}.p0{name}", vector, pointer, INT, mask_type, vector)
        store_some = function(f"llvm.masked.store.{name}.p0{name}", ir.VoidType(), vector, pointer, INT, mask_type)

        def at(address: Any, row: Any, i: int) -> Any:
            return builder.inttoptr(builder.add(address, builder.mul(row, WORD(i))), pointer)

        present, wanted = (None, None) if whole else (lanes_below(builder, columns, n), lanes_below(builder, rows, n))
        nothing = ir.Constant(mask_type, [0] * n)

        def mask_of(i: int, count: Any, mask: Any) -> Any:
            """The mask of row `i` of `count`."""
            return builder.select(builder.icmp_signed("<", WORD(i), count), mask, nothing)

        def load(i: int) -> Any:
            if whole:
                value = builder.load(at(x, x_row, i))
                value.align = itemsize
                return value
            return builder.call(load_some, (at(x, x_row, i), INT(itemsize), mask_of(i, rows, present), zero))

        for i, value in enumerate(transposed(builder, [load(i) for i in range(n)])):
            if whole:
                builder.store(value, at(y, y_row, i)).align = itemsize
            else:
                builder.call(store_some, (value, at(y, y_row, i), INT(itemsize), mask_of(i, columns, wanted)))

    transpose = plain_tile_transpose(array_i32 if itemsize == 4 else array_i64, itemsize)
    transpose.__name__ = transpose.__qualname__ = f"transpose_{itemsize}x{lanes}_{'whole' if whole else 'part'}"
    return native(emit, "none", *["i64"] * 6)(transpose)
