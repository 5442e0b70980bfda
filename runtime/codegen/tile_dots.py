"""Tiles of dot products: a few rows times a few columns that both lie along the terms of the sum, in vector registers.

`tile_dots` makes functions for kernels. One computes, for `rows` rows r and `columns` columns s,

    c[r, s] = sum over i < terms of a[r, i] * b[s, i]

whose lane j is a chain of fused multiply-adds of the terms j, j + lanes, j + 2 lanes, ...; terms that are missing in
the last vector are zeros. The lanes are added up by halves, as a tree. So the bits of an element depend on the lanes,
not on the shape of the tile.

Where columns are `interleaved`, they are not dense: a term of all of them is next to the following term. Vectors of
each column are made of these in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64
from .lanes import lanes_below, shuffled, store_or_add
from .natives import INT, WORD, counted_loop, declared, native, stack_slot


def plain_tile_dots(
    array: Callable[[int, int], Any], itemsize: int, rows: int, columns: int, interleaved: bool
) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""
    zero = np.dtype(f"f{itemsize}").type(0)

    def dots(a: int, a_row: int, b: int, b_row: int, c: int, c_row: int, terms: int, accumulate: int) -> None:
        for r in range(rows):
            target, left = array(c + r * c_row, columns), array(a + r * a_row, terms)
            for s in range(columns):
                right, total = array(b + itemsize * s if interleaved else b + s * b_row, columns * terms), zero
                for i in range(terms):
                    total = total + left[i] * right[i * columns if interleaved else i]
                target[s] = target[s] + total if accumulate else total

    return dots


@cache
def tile_dots(dtype: str, lanes: int, rows: int, columns: int, interleaved: bool = False) -> Callable[..., None]:
    """The function for this tile of "f32" or "f64".

    Its words: a, bytes from row to row of a, b, bytes from column to column of b (unless they are `interleaved`), c,
    bytes from row to row of c, terms, and whether to add to what c holds.
    """
    element = ir.FloatType() if dtype == "f32" else ir.DoubleType()
    itemsize = 4 if dtype == "f32" else 8
    vector, mask_type = ir.VectorType(element, lanes), ir.VectorType(ir.IntType(1), lanes)
    name = f"v{lanes}{dtype}"
    zero = ir.Constant(vector, [0.0] * lanes)

    def emit(
        builder: Any, a: Any, a_row: Any, b: Any, b_row: Any, c: Any, c_row: Any, terms: Any, accumulate: Any
    ) -> None:
        pointer = vector.as_pointer()
        fma = declared(builder.module, f"llvm.fma.{name}", ir.FunctionType(vector, [vector] * 3))
        typed = ir.FunctionType(vector, [pointer, INT, mask_type, vector])
        load_some = declared(builder.module, f"llvm.masked.load.{name}.p0{name}", typed)
        whole = builder.sdiv(terms, WORD(lanes))
        left = builder.sub(terms, builder.mul(whole, WORD(lanes)))
        exists = lanes_below(builder, left, lanes)
        in_b = [exists] * columns
        if interleaved:
            left_of_all = builder.mul(left, WORD(columns))
            in_b = [lanes_below(builder, builder.sub(left_of_all, WORD(lanes * i)), lanes) for i in range(columns)]
        lines_of_a = [builder.add(a, builder.mul(a_row, WORD(r))) for r in range(rows)]
        lines_of_b = [builder.add(b, builder.mul(b_row, WORD(s))) for s in range(columns)]
        slots = [stack_slot(builder, vector) for _ in range(rows * columns)]
        for slot in slots:
            builder.store(zero, slot)

        def vectors_of_b(offset: Any, load: Callable[[Any, int], Any]) -> list[Any]:
            if not interleaved:
                return [load(builder.add(line, offset), s) for s, line in enumerate(lines_of_b)]
            start = builder.add(b, builder.mul(offset, WORD(columns)))
            found = [load(builder.add(start, WORD(lanes * itemsize * s)), s) for s in range(columns)]
            return _every(builder, found)

        def add(offset: Any, load: Callable[[Any, int], Any], load_of_a: Callable[[Any], Any]) -> None:
            """The terms of a vector, to the sums. LLVM holds their slots in registers."""
            right = vectors_of_b(offset, load)
            for r, line in enumerate(lines_of_a):
                of_row = load_of_a(builder.add(line, offset))
                for s in range(columns):
                    slot = slots[r * columns + s]
                    builder.store(builder.call(fma, (of_row, right[s], builder.load(slot))), slot)

        def load(address: Any) -> Any:
            value = builder.load(builder.inttoptr(address, pointer))
            value.align = itemsize
            return value

        def load_left(address: Any, there: Any) -> Any:
            return builder.call(load_some, (builder.inttoptr(address, pointer), INT(itemsize), there, zero))

        with counted_loop(builder, whole) as index:
            add(builder.mul(index, WORD(lanes * itemsize)), lambda address, _: load(address), load)
        with builder.if_then(builder.icmp_signed("!=", left, WORD(0))):
            last = builder.mul(whole, WORD(lanes * itemsize))
            add(last, lambda address, s: load_left(address, in_b[s]), lambda address: load_left(address, exists))
        adds = builder.icmp_signed("!=", accumulate, WORD(0))
        totals_of_all = _lane_sums(builder, [builder.load(slot) for slot in slots], lanes)
        for r in range(rows):
            totals = _neighbours(builder, totals_of_all, r * columns, columns)
            store_or_add(builder, builder.add(c, builder.mul(c_row, WORD(r))), totals, adds, itemsize)

    array = array_f32 if dtype == "f32" else array_f64
    dots = plain_tile_dots(array, itemsize, rows, columns, interleaved)
    dots.__name__ = dots.__qualname__ = f"dots_{dtype}x{lanes}_{rows}x{columns}{'i' * interleaved}"
    return native(emit, "none", *["i64"] * 8)(dots)


def _every(builder: Any, vectors: list[Any]) -> list[Any]:
    """The elements of vectors in which `len(vectors)` columns are interleaved, each column in a vector of its own."""
    n, lanes = len(vectors), vectors[0].type.count
    joined = vectors[0]
    for vector in vectors[1:]:
        wide = shuffled(builder, vector, vector, [min(i, lanes - 1) for i in range(joined.type.count)])
        joined = shuffled(builder, joined, wide, range(joined.type.count + lanes))
    return [shuffled(builder, joined, joined, range(i, lanes * n, n)) for i in range(n)]


def _neighbours(builder: Any, vectors: list[Any], first: int, count: int) -> Any:
    """So many elements that follow each other in vectors, from the `first` on."""
    lanes = vectors[0].type.count
    if first // lanes == (first + count - 1) // lanes:
        vector = vectors[first // lanes]
        return shuffled(builder, vector, vector, range(first % lanes, first % lanes + count))
    found = ir.Constant(ir.VectorType(vectors[0].type.element, count), ir.Undefined)
    for i in range(count):
        element = builder.extract_element(vectors[(first + i) // lanes], INT((first + i) % lanes))
        found = builder.insert_element(found, element, INT(i))
    return found


def _lane_sums(builder: Any, sums: list[Any], lanes: int) -> list[Any]:
    """Vectors whose elements are the sums of the lanes of each of `sums`, in this order.

    A vector holds blocks, one for each sum. Two vectors become one of twice as many blocks, of half the size: a lower
    half of each block is added to its upper half. So all sums together take about one addition each.
    """
    size = lanes
    while size > 1:
        half = size // 2
        pairs = [(sums[i], sums[min(i + 1, len(sums) - 1)]) for i in range(0, len(sums), 2)]
        lower = [block * size + i for block in range(2 * lanes // size) for i in range(half)]
        places = ir.VectorType(INT, lanes)
        order, other = ir.Constant(places, lower), ir.Constant(places, [i + half for i in lower])
        sums = [builder.fadd(builder.shuffle_vector(*p, order), builder.shuffle_vector(*p, other)) for p in pairs]
        size = half
    return sums
