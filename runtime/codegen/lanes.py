"""Lanes of vectors: which of them are there, and squares of them that change rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from .natives import INT, WORD, declared

_BIT = ir.IntType(1)

BYTES_WITHOUT_MASKS = 16
"""Machines with vectors of so many bytes cannot load a part of one: LLVM would ask for each element whether it is
there, in every term.
"""


def shuffled(builder: Any, x: Any, y: Any, order: Sequence[int]) -> Any:
    """A vector of these lanes of x, and after them of y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def lanes_below(builder: Any, limit: Any, lanes: int) -> Any:
    """The mask of the lanes whose number is below `limit`, a word."""
    wide = ir.VectorType(WORD, lanes)
    spread = builder.insert_element(ir.Constant(wide, ir.Undefined), limit, INT(0))
    spread = shuffled(builder, spread, spread, [0] * lanes)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(lanes))), spread)


def some_lanes(
    builder: Any, dtype: str, lanes: int, left: Any | None
) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    """How a vector of "f32" or "f64" at an address is loaded and stored, of which `left` elements exist, or all (None).

    Lanes without an element are zeros, or repeat the last one where machines cannot mask.
    """
    element, itemsize = (ir.FloatType(), 4) if dtype == "f32" else (ir.DoubleType(), 8)
    vector, mask_type = ir.VectorType(element, lanes), ir.VectorType(_BIT, lanes)
    pointer, name = vector.as_pointer(), f"v{lanes}{dtype}"
    if left is None:

        def load(address: Any) -> Any:
            value = builder.load(builder.inttoptr(address, pointer))
            value.align = itemsize
            return value

        def store(value: Any, address: Any) -> None:
            builder.store(value, builder.inttoptr(address, pointer)).align = itemsize

        return load, store

    def function(what: str, result: Any, *arguments: Any) -> Any:
        return declared(builder.module, what, ir.FunctionType(result, arguments))

    exists = lanes_below(builder, left, lanes)
    load_masked = function(f"llvm.masked.load.{name}.p0{name}", vector, pointer, INT, mask_type, vector)
    store_masked = function(f"llvm.masked.store.{name}.p0{name}", ir.VoidType(), vector, pointer, INT, mask_type)
    nearest: list[Any] = []
    if lanes * itemsize <= BYTES_WITHOUT_MASKS:
        last = builder.sub(left, WORD(1))
        there = [builder.icmp_signed("<", WORD(lane), last) for lane in range(lanes)]
        nearest = [builder.select(inside, WORD(lane), last) for lane, inside in enumerate(there)]

    def load_some(address: Any) -> Any:
        address = builder.inttoptr(address, pointer)
        if not nearest:
            return builder.call(load_masked, (address, INT(itemsize), exists, ir.Constant(vector, [0.0] * lanes)))
        value, elements = ir.Constant(vector, ir.Undefined), builder.bitcast(address, element.as_pointer())
        for lane, index in enumerate(nearest):
            value = builder.insert_element(value, builder.load(builder.gep(elements, [index])), INT(lane))
        return value

    def store_some(value: Any, address: Any) -> None:
        builder.call(store_masked, (value, builder.inttoptr(address, pointer), INT(itemsize), exists))

    return load_some, store_some


def transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """The columns of a square: as many vectors as each has lanes, a power of two.

    Squares of half the size change places across the diagonal, then squares within these, down to elements: a vector
    takes part in log2(n) shuffles of two vectors, where element by element it would take n.
    """
    values, n = list(rows), len(rows)
    half = n // 2
    while half:
        upper = [j if not j & half else n + j - half for j in range(n)]
        lower = [j + half if not j & half else n + j for j in range(n)]
        for i in range(n):
            if not i & half:
                pair = values[i], values[i | half]
                values[i], values[i | half] = shuffled(builder, *pair, upper), shuffled(builder, *pair, lower)
        half //= 2
    return values
