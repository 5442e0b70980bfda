"""Column tiles: a few columns of a product for neighbouring rows, whose vectors lie along the rows.

A register tile whose right operand has few columns leaves lanes of its vectors idle. The vectors of a column tile hold
an element of as many rows each, so all lanes are at work, however few columns there are. `column_product` makes
functions for kernels. One computes, for `lanes * vectors` rows r and `columns` columns s,

    c[r, s] = sum over l < terms of a[r, l] * b[l, s]

in a chain of fused multiply-adds in the order of l for each element, with the bits of a `sectioned` register tile. A
left operand whose rows are dense is read in squares, which are transposed in registers; one that is `turned`, whose
columns are dense, as it lies. The result is transposed in registers before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64
from .lanes import lanes_below, shuffled, store_or_add, transposed
from .natives import INT, WORD, counted_loop, declared, native, stack_slot


def plain_column_product(
    array: Callable[[int, int], Any], itemsize: int, most_rows: int, columns: int, whole: bool, turned: bool
) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""
    zero = np.dtype(f"f{itemsize}").type(0)

    def product(a: int, a_step: int, b: int, b_row: int, b_column: int, c: int, c_row: int, terms: int, rows: int,
                accumulate: int) -> None:  # fmt: skip
        of_row, of_term = (itemsize, a_step) if turned else (a_step, itemsize)
        for r in range(most_rows if whole else rows):
            target = array(c + r * c_row, columns)
            for s in range(columns):
                total = zero
                for i in range(terms):
                    left, right = array(a + r * of_row + i * of_term, 1), array(b + i * b_row + s * b_column, 1)
                    total = total + left[0] * right[0]
                target[s] = target[s] + total if accumulate else total

    return product


@cache
def column_product(
    dtype: str, lanes: int, vectors: int, columns: int, whole: bool, turned: bool, dense_rows: bool
) -> Callable[..., None]:
    """The function for this tile of "f32" or "f64".

    Its words: a, bytes from row to row of a, or from column to column if `turned`, b, bytes from row to row and from
    column to column of b, of which one is the bytes of an element, c, bytes from row to row of c, terms, rows (as many
    as the vectors hold if `whole`, or 1 or more), and whether to add to what c holds. `dense_rows` are those of b.
    """
    element = ir.FloatType() if dtype == "f32" else ir.DoubleType()
    itemsize = 4 if dtype == "f32" else 8
    vector, mask_type = ir.VectorType(element, lanes), ir.VectorType(ir.IntType(1), lanes)
    name = f"v{lanes}{dtype}"
    zero, nothing = ir.Constant(vector, [0.0] * lanes), ir.Constant(vector, ir.Undefined)

    def emit(builder: Any, a: Any, a_step: Any, b: Any, b_row: Any, b_column: Any, c: Any, c_row: Any, terms: Any,
             rows: Any, accumulate: Any) -> None:  # fmt: skip
        pointer = vector.as_pointer()
        fma = declared(builder.module, f"llvm.fma.{name}", ir.FunctionType(vector, [vector] * 3))
        typed = ir.FunctionType(vector, [pointer, INT, mask_type, vector])
        load_masked = declared(builder.module, f"llvm.masked.load.{name}.p0{name}", typed)
        slots = [[stack_slot(builder, vector) for _ in range(columns)] for _ in range(vectors)]
        for slot in (slot for of_vector in slots for slot in of_vector):
            builder.store(zero, slot)

        def times(value: Any, number: int) -> Any:
            return builder.mul(value, WORD(number))

        def row_of(base: Any, step: Any, i: int) -> Any:
            """The address of row i, or of the last one."""
            if whole:
                return builder.add(base, times(step, i))
            last = builder.sub(rows, WORD(1))
            there = builder.select(builder.icmp_signed("<", WORD(i), last), WORD(i), last)
            return builder.add(base, builder.mul(step, there))

        def load(address: Any) -> Any:
            value = builder.load(builder.inttoptr(address, pointer))
            value.align = itemsize
            return value

        def load_some(exists: Any) -> Callable[[Any], Any]:
            return lambda address: builder.call(
                load_masked, (builder.inttoptr(address, pointer), INT(itemsize), exists, zero)
            )

        def repeat(address: Any) -> Any:
            value = builder.load(builder.inttoptr(address, element.as_pointer()))
            value = builder.insert_element(nothing, value, INT(0))
            return shuffled(builder, value, nothing, [0] * lanes)

        def add(v: int, of_term: Any, of_b: Any) -> None:
            """A term of a vector of rows, to their sums. LLVM holds the slots in registers."""
            for s, slot in enumerate(slots[v]):
                right = repeat(builder.add(of_b, WORD(itemsize * s) if dense_rows else times(b_column, s)))
                builder.store(builder.call(fma, (of_term, right, builder.load(slot))), slot)

        def term_of(of_b: Any, i: int) -> Any:
            return builder.add(of_b, times(b_row, i) if dense_rows else WORD(itemsize * i))

        if turned:
            exists = [lanes_below(builder, builder.sub(rows, WORD(lanes * v)), lanes) for v in range(vectors)]
            with counted_loop(builder, terms) as index:
                start = builder.add(a, builder.mul(index, a_step))
                of_b = builder.add(b, builder.mul(index, b_row if dense_rows else WORD(itemsize)))
                for v in range(vectors):
                    of_term = (load if whole else load_some(exists[v]))(builder.add(start, WORD(lanes * itemsize * v)))
                    add(v, of_term, of_b)
        else:
            lines = [[row_of(a, a_step, lanes * v + i) for i in range(lanes)] for v in range(vectors)]
            squares = builder.sdiv(terms, WORD(lanes))
            left = builder.sub(terms, times(squares, lanes))
            step_of_b = times(b_row, lanes) if dense_rows else WORD(lanes * itemsize)

            with counted_loop(builder, squares) as index:
                of_b = builder.add(b, builder.mul(index, step_of_b))
                offset = times(index, lanes * itemsize)
                for v, of_vector in enumerate(lines):
                    found = transposed(builder, [load(builder.add(line, offset)) for line in of_vector])
                    for i, value in enumerate(found):
                        add(v, value, term_of(of_b, i))
            with builder.if_then(builder.icmp_signed("!=", left, WORD(0))):
                of_b = builder.add(b, builder.mul(squares, step_of_b))
                offset, load_left = times(squares, lanes * itemsize), load_some(lanes_below(builder, left, lanes))
                for v, of_vector in enumerate(lines):
                    found = transposed(builder, [load_left(builder.add(line, offset)) for line in of_vector])
                    for i, value in enumerate(found[:-1]):
                        with builder.if_then(builder.icmp_signed("<", WORD(i), left)):
                            add(v, value, term_of(of_b, i))

        adds = builder.icmp_signed("!=", accumulate, WORD(0))
        for v in range(vectors):
            sums = [builder.load(slot) for slot in slots[v]] + [nothing] * (lanes - columns)
            for i, value in enumerate(transposed(builder, sums)):
                row = lanes * v + i
                there = ir.IntType(1)(1) if whole else builder.icmp_signed("<", WORD(row), rows)
                with builder.if_then(there):
                    shown = shuffled(builder, value, nothing, range(columns))
                    store_or_add(builder, builder.add(c, times(c_row, row)), shown, adds, itemsize)

    array = array_f32 if dtype == "f32" else array_f64
    product = plain_column_product(array, itemsize, lanes * vectors, columns, whole, turned)
    variant = "w" * whole + "t" * turned + "r" * dense_rows
    product.__name__ = product.__qualname__ = f"columns_{dtype}x{lanes}_{vectors}x{columns}{variant}"
    return native(emit, "none", *["i64"] * 10)(product)
