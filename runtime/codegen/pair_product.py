"""Register tiles of products of bfloat16, by the instruction that multiplies pairs: `vdpbf16ps` of AVX-512.

A pair is two neighbours along a sum, in the 32 bits of a lane. Operands come as float32 that are numbers of bfloat16,
whose upper halves are copied to panels: `pair_columns` makes pairs of two rows, and `pair_row` of the elements of
one. An odd number of terms ends with a zero. `pair_product` makes functions for kernels that compute

    c[r] = sum over pairs k < n of a[r, k] * b[k], beginning at 0 for each call,

and add it to c where they shall. The instruction takes subnormal numbers for zeros, and makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_u16
from .lanes import lanes_below
from .natives import INT, WORD, counted_loop, declared, native
from .tile_product import ROWS_A_POINTER

_BIT, _HALF, _REAL = ir.IntType(1), ir.IntType(16), ir.FloatType()
PAIR_LANES = 16
"""Lanes of the instruction: pairs that it multiplies, and sums that it adds them to."""
_SUMS = ir.VectorType(_REAL, PAIR_LANES)
_PAIRS = ir.VectorType(INT, PAIR_LANES)
_HALVES = ir.VectorType(_HALF, PAIR_LANES)
_MASK = ir.VectorType(_BIT, PAIR_LANES)
_UPPER = 0xFFFF0000


def _constant(typed: Any, number: int) -> Any:
    return ir.Constant(typed, [number] * PAIR_LANES)


def _repeated(builder: Any, value: Any, typed: Any) -> Any:
    nothing = ir.Constant(typed, ir.Undefined)
    value = builder.insert_element(nothing, value, INT(0))
    return builder.shuffle_vector(value, nothing, _constant(ir.VectorType(INT, PAIR_LANES), 0))


def _masked(builder: Any, typed: Any, name: str) -> tuple[Any, Any]:
    """The functions that load and store some lanes."""
    pointer = typed.as_pointer()
    load = ir.FunctionType(typed, (pointer, INT, _MASK, typed))
    store = ir.FunctionType(ir.VoidType(), (typed, pointer, INT, _MASK))
    return (
        declared(builder.module, f"llvm.masked.load.{name}.p0{name}", load),
        declared(builder.module, f"llvm.masked.store.{name}.p0{name}", store),
    )


def _pair_columns(builder: Any, x: Any, y: Any, both: Any, target: Any, n: Any) -> None:
    load, store = _masked(builder, _PAIRS, f"v{PAIR_LANES}i32")
    zero = _constant(_PAIRS, 0)
    upper = builder.select(builder.icmp_signed("!=", both, WORD(0)), _constant(_PAIRS, _UPPER), zero)
    vectors = builder.sdiv(builder.add(n, WORD(PAIR_LANES - 1)), WORD(PAIR_LANES))
    with counted_loop(builder, vectors) as i:
        some = lanes_below(builder, builder.sub(n, builder.mul(i, WORD(PAIR_LANES))), PAIR_LANES)
        ahead = builder.mul(i, WORD(4 * PAIR_LANES))
        first, second, place = (builder.inttoptr(builder.add(p, ahead), _PAIRS.as_pointer()) for p in (x, y, target))
        low = builder.lshr(builder.call(load, (first, INT(4), some, zero)), _constant(_PAIRS, 16))
        high = builder.and_(builder.call(load, (second, INT(4), some, zero)), upper)
        builder.call(store, (builder.or_(low, high), place, INT(4), some))


def plain_pair_columns(halves: Callable[[int, int], Any]) -> Callable[..., None]:
    """The same in Python, on the halves of elements that `halves(address, n)` gives."""

    def columns(x: int, y: int, both: int, target: int, n: int) -> None:
        low, high, pairs = halves(x, 2 * n), halves(y, 2 * n), halves(target, 2 * n)
        for i in range(n):
            pairs[2 * i], pairs[2 * i + 1] = low[2 * i + 1], high[2 * i + 1] if both else np.uint16(0)

    columns.__doc__ = "Pairs of the `n` elements of rows x and y; instead of y's there are zeros unless `both` exist."
    return columns


pair_columns = native(_pair_columns, "none", *["i64"] * 5)(plain_pair_columns(array_u16))


def _pair_row(builder: Any, x: Any, target: Any, n: Any) -> None:
    load, _ = _masked(builder, _PAIRS, f"v{PAIR_LANES}i32")
    _, store = _masked(builder, _HALVES, f"v{PAIR_LANES}i16")
    zero = _constant(_PAIRS, 0)
    even = builder.and_(builder.add(n, WORD(1)), WORD(-2))
    vectors = builder.sdiv(builder.add(n, WORD(PAIR_LANES - 1)), WORD(PAIR_LANES))
    with counted_loop(builder, vectors) as i:
        before = builder.mul(i, WORD(PAIR_LANES))
        some, filled = (lanes_below(builder, builder.sub(length, before), PAIR_LANES) for length in (n, even))
        source = builder.inttoptr(builder.add(x, builder.mul(before, WORD(4))), _PAIRS.as_pointer())
        place = builder.inttoptr(builder.add(target, builder.mul(before, WORD(2))), _HALVES.as_pointer())
        upper = builder.lshr(builder.call(load, (source, INT(4), some, zero)), _constant(_PAIRS, 16))
        builder.call(store, (builder.trunc(upper, _HALVES), place, INT(2), filled))


def plain_pair_row(halves: Callable[[int, int], Any]) -> Callable[..., None]:
    """The same in Python, on the halves of elements that `halves(address, n)` gives."""

    def row(x: int, target: int, n: int) -> None:
        source, pairs = halves(x, 2 * n), halves(target, n + n % 2)
        for i in range(n + n % 2):
            pairs[i] = source[2 * i + 1] if i < n else np.uint16(0)

    row.__doc__ = "Pairs of the `n` neighbouring elements of x, behind an odd number of which comes a zero."
    return row


pair_row = native(_pair_row, "none", *["i64"] * 3)(plain_pair_row(array_u16))


def plain_pair_product(
    halves: Callable[[int, int], Any], reals: Callable[[int, int], Any], rows: int
) -> Callable[..., None]:
    """The same in Python, in the order of the instruction, on what `halves` and `reals` give at an address."""

    def number(address: int, i: int) -> np.float32:
        return np.float32(np.array(int(halves(address, i + 1)[i]) << 16, np.uint32).view(np.float32))

    def product(a: int, a_row: int, a_pair: int, b: int, b_pair: int, n: int, c: int, c_row: int, columns: int,
                more: int) -> None:  # fmt: skip
        for r in range(rows):
            target = reals(c + r * c_row, columns)
            for j in range(columns):
                total = np.float32(0)
                for k in range(n):
                    left, right = a + r * a_row + k * a_pair, b + k * b_pair
                    for half in (1, 0):
                        total += number(left, half) * number(right, 2 * j + half)
                target[j] = target[j] + total if more else total

    return product


@cache
def pair_product(rows: int, vectors: int) -> Callable[..., None]:
    """The function for this tile.

    Its words: a, bytes from row to row and from pair to pair of it; b, bytes from pair to pair of it; pairs (1 or
    more); c, bytes from row to row of it, its columns that exist, and whether to add to what it holds.
    """

    def emit(builder: Any, a: Any, a_row: Any, a_pair: Any, b: Any, b_pair: Any, n: Any, c: Any, c_row: Any,
             columns: Any, more: Any) -> None:  # fmt: skip
        multiply = declared(
            builder.module, "llvm.x86.avx512bf16.dpbf16ps.512", ir.FunctionType(_SUMS, (_SUMS, _PAIRS, _PAIRS))
        )
        load_some, store_some = _masked(builder, _SUMS, f"v{PAIR_LANES}f32")
        nothing = ir.Constant(_SUMS, [0.0] * PAIR_LANES)
        offsets = [builder.mul(a_row, WORD(r)) for r in range(min(rows, ROWS_A_POINTER))]
        jumps = [builder.mul(a_row, WORD(r)) for r in range(0, rows, ROWS_A_POINTER)]
        starts = [builder.add(a, jump) for jump in jumps]
        before, head, out = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(head)
        builder.position_at_end(head)
        counter, right, *left = (builder.phi(WORD) for _ in range(2 + len(jumps)))
        sums = [builder.phi(_SUMS) for _ in range(rows * vectors)]
        for phi, first in zip((counter, right, *left, *sums), (WORD(0), b, *starts, *[nothing] * len(sums))):
            phi.add_incoming(first, before)
        of_b: list[Any] = []
        for v in range(vectors):
            at = builder.inttoptr(builder.add(right, WORD(4 * PAIR_LANES * v)), _PAIRS.as_pointer())
            of_b.append(builder.load(at))
            of_b[-1].align = 4
        totals: list[Any] = []
        for r in range(rows):
            at = builder.add(left[r // ROWS_A_POINTER], offsets[r % ROWS_A_POINTER])
            pair = builder.load(builder.inttoptr(at, INT.as_pointer()))
            pair = _repeated(builder, pair, _PAIRS)
            totals += [builder.call(multiply, (sums[r * vectors + v], pair, of_b[v])) for v in range(vectors)]
        following = builder.add(counter, WORD(1))
        after = (following, builder.add(right, b_pair), *(builder.add(p, a_pair) for p in left), *totals)
        for phi, value in zip((counter, right, *left, *sums), after):
            phi.add_incoming(value, head)
        builder.cbranch(builder.icmp_signed("<", following, n), head, out)
        builder.position_at_end(out)
        masks = [lanes_below(builder, builder.sub(columns, WORD(PAIR_LANES * v)), PAIR_LANES) for v in range(vectors)]
        adds = _repeated(builder, builder.icmp_signed("!=", more, WORD(0)), _MASK)
        for i, total in enumerate(totals):
            r, v = divmod(i, vectors)
            address = builder.add(builder.add(c, builder.mul(c_row, WORD(r))), WORD(4 * PAIR_LANES * v))
            place = builder.inttoptr(address, _SUMS.as_pointer())
            old = builder.call(load_some, (place, INT(4), builder.and_(adds, masks[v]), nothing))
            builder.call(store_some, (builder.fadd(old, total), place, INT(4), masks[v]))

    product = plain_pair_product(array_u16, array_f32, rows)
    product.__name__ = product.__qualname__ = f"pairs_{rows}x{vectors}"
    return native(emit, "none", *["i64"] * 10)(product)
