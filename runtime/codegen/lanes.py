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


_BLOCK_BYTES = 16
"""Shuffles with instructions of their own move elements within so many bytes, or blocks of them as a whole."""


def shuffled(builder: Any, x: Any, y: Any, order: Sequence[int]) -> Any:
    """A vector of these lanes of x, and after them of y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def store_or_add(builder: Any, address: Any, value: Any, adds: Any, itemsize: int) -> None:
    """Stores a vector of elements of `itemsize` bytes at an address, or adds it to what is there if `adds`, a bit."""
    target = builder.inttoptr(address, value.type.as_pointer())
    with builder.if_else(adds) as (then, otherwise):
        with then:
            before = builder.load(target)
            before.align = itemsize
            builder.store(builder.fadd(before, value), target).align = itemsize
        with otherwise:
            builder.store(value, target).align = itemsize


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

    Rows are interleaved in blocks of 16 bytes, pairs of them and then pairs of these, and whole blocks at last: a
    vector takes part in log2(n) shuffles of two vectors, where element by element it would take n. Each is one that
    processors have an instruction for, without a vector that says where an element goes.
    """
    values, n = list(rows), len(rows)
    of_block = max(1, min(n, _BLOCK_BYTES // _bytes_of(values[0].type.element)))
    # The column of each lane; all rows have the same at first.
    held = [list(range(n)) for _ in rows]
    step = 1
    while step < n:
        if step < of_block:  # chunks of `step` elements in turn, of the lower or the upper half of each block
            half = [j // of_block * of_block + j % of_block // (2 * step) * step + j % step for j in range(n)]
            lower = [at + n * (j // step % 2) for j, at in enumerate(half)]
            upper = [at + of_block // 2 for at in lower]
        else:  # every other block, of one vector and then of the other
            blocks = [2 * i * of_block for i in range(n // of_block)]
            lower = [block + j for block in blocks for j in range(of_block)]
            upper = [at + of_block for at in lower]
        for i in range(n):
            if not i & step:
                pair, columns = (values[i], values[i | step]), held[i] + held[i | step]
                values[i], values[i | step] = shuffled(builder, *pair, lower), shuffled(builder, *pair, upper)
                held[i], held[i | step] = [columns[j] for j in lower], [columns[j] for j in upper]
        step *= 2
    return [values[i] for i in sorted(range(n), key=lambda i: held[i][0])]


def _bytes_of(element: Any) -> int:
    """Bytes of an element of a vector."""
    return 4 if element == ir.FloatType() else 8 if element == ir.DoubleType() else element.width // 8
