"""Squares of a convolution's weights, transposed in registers between the order of the weight and that of tiles.

In the weight the places of the kernel, and often channels in, follow one another in memory, for each channel out. Tiles
have vectors of channels out, one for each place and channel in. A column of a square is one of the latter: column k is
place `(place + k) % places` of the channel `(place + k) // places` channels behind the first. Its vector lies where a
table of words says for the place, and `of_run` bytes on for each channel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64, word
from .lanes import lanes_below, transposed
from .natives import INT, WORD, declared, native

_BIT = ir.IntType(1)

Arrays = Callable[[int, int], Any]
Words = Callable[[Any, int], int]


def plain_pack_square(array: Arrays, words: Words, itemsize: int, lanes: int) -> Callable[..., None]:
    """The same as `pack_square` in Python, on what `array(address, n)` and `words(table, i)` give."""

    zero = np.dtype(f"f{itemsize}").type(0)

    def pack(x: int, x_row: int, rows: int, columns: int, table: Any, places: int, place: int, y: int,
             of_run: int) -> None:  # fmt: skip
        for k in range(columns):
            target = array(y + words(table, (place + k) % places) + (place + k) // places * of_run, lanes)
            for lane in range(lanes):
                target[lane] = array(x + lane * x_row, columns)[k] if lane < rows else zero

    return pack


def plain_unpack_square(array: Arrays, words: Words) -> Callable[..., None]:
    """The same as `unpack_square` in Python, on what `array(address, n)` and `words(table, i)` give."""

    def unpack(x: int, part: int, parts: int, table: Any, places: int, place: int, of_run: int, y: int, y_row: int,
               rows: int, columns: int, adds: int) -> None:  # fmt: skip
        for k in range(columns):
            at = x + words(table, (place + k) % places) + (place + k) // places * of_run
            for row in range(rows):
                total = array(at, rows)[row]
                for p in range(1, parts):
                    total = total + array(at + p * part, rows)[row]
                target = array(y + row * y_row, columns)
                target[k] = target[k] + total if adds else total

    return unpack


class _Square:
    """What both functions emit of a square of `lanes` vectors, `whole` or partly there."""

    def __init__(self, builder: Any, dtype: str, lanes: int, whole: bool) -> None:
        self.builder, self.lanes, self.whole = builder, lanes, whole
        self.itemsize = 4 if dtype == "f32" else 8
        self.vector = ir.VectorType(ir.FloatType() if dtype == "f32" else ir.DoubleType(), lanes)
        self.pointer, self.mask = self.vector.as_pointer(), ir.VectorType(_BIT, lanes)
        self.name, self.zero = f"v{lanes}{dtype}", ir.Constant(self.vector, [0.0] * lanes)

    def function(self, what: str, result: Any, *arguments: Any) -> Any:
        return declared(self.builder.module, what, ir.FunctionType(result, arguments))

    def row(self, base: Any, step: Any, i: int) -> Any:
        return self.builder.add(base, self.builder.mul(step, WORD(i)))

    def mask_of(self, i: int, count: Any, mask: Any) -> Any:
        """The mask of row `i` of `count`."""
        there = self.builder.icmp_signed("<", WORD(i), count)
        return self.builder.select(there, mask, ir.Constant(self.mask, [0] * self.lanes))

    def load(self, address: Any, mask: Any = None) -> Any:
        where = self.builder.inttoptr(address, self.pointer)
        if mask is None:
            value = self.builder.load(where)
            value.align = self.itemsize
            return value
        some = self.function(
            f"llvm.masked.load.{self.name}.p0{self.name}", self.vector, self.pointer, INT, self.mask, self.vector
        )
        return self.builder.call(some, (where, INT(self.itemsize), mask, self.zero))

    def store(self, value: Any, address: Any, mask: Any = None) -> None:
        where = self.builder.inttoptr(address, self.pointer)
        if mask is None:
            self.builder.store(value, where).align = self.itemsize
            return
        some = self.function(
            f"llvm.masked.store.{self.name}.p0{self.name}", ir.VoidType(), self.vector, self.pointer, INT, self.mask
        )
        self.builder.call(some, (value, where, INT(self.itemsize), mask))

    def where(self, condition: Any, make: Callable[[], None]) -> None:
        """`make` where the condition holds."""
        making, after = self.builder.append_basic_block(), self.builder.append_basic_block()
        self.builder.cbranch(condition, making, after)
        self.builder.position_at_end(making)
        make()
        self.builder.branch(after)
        self.builder.position_at_end(after)

    def columns(self, base: Any, table: Any, places: Any, place: Any, of_run: Any, count: Any) -> list[Any]:
        """Where the vector of each column lies; where a column is not there, that of the first."""
        b = self.builder
        words = b.inttoptr(table, WORD.as_pointer())
        result: list[Any] = []
        for k in range(self.lanes):
            address = b.add(base, b.load(b.gep(words, [place])))
            if k and not self.whole:
                address = b.select(b.icmp_signed("<", WORD(k), count), address, result[0])
            result.append(address)
            following = b.add(place, WORD(1))
            ends = b.icmp_signed("==", following, places)
            place = b.select(ends, WORD(0), following)
            base = b.select(ends, b.add(base, of_run), base)
        return result


@cache
def pack_square(dtype: str, lanes: int, whole: bool) -> Callable[..., None]:
    """The function that packs a square of weights of "f32" or "f64".

    Its words: source, bytes from channel out to channel out, channels out and columns, at most `lanes` and exactly as
    many if `whole`; the address of the table, places, place of the first column; target, bytes from run to run.
    """

    def emit(builder: Any, x: Any, x_row: Any, rows: Any, columns: Any, table: Any, places: Any, place: Any, y: Any,
             of_run: Any) -> None:  # fmt: skip
        square = _Square(builder, dtype, lanes, whole)
        present = None if whole else lanes_below(builder, columns, lanes)
        masks = [None if whole else square.mask_of(i, rows, present) for i in range(lanes)]
        made = transposed(builder, [square.load(square.row(x, x_row, i), mask) for i, mask in enumerate(masks)])
        for k, address in enumerate(square.columns(y, table, places, place, of_run, columns)):
            if whole or k == 0:
                square.store(made[k], address)
            else:
                there = builder.icmp_signed("<", WORD(k), columns)
                square.where(there, lambda value=made[k], to=address: square.store(value, to))

    array = array_f32 if dtype == "f32" else array_f64
    pack = plain_pack_square(array, word, 4 if dtype == "f32" else 8, lanes)
    pack.__name__ = pack.__qualname__ = f"pack_{dtype}x{lanes}_{'whole' if whole else 'part'}"
    return native(emit, "none", *["i64"] * 9)(pack)


@cache
def unpack_square(dtype: str, lanes: int, whole: bool) -> Callable[..., None]:
    """The function that adds up the parts of a square of the gradient of weights of "f32" or "f64", in their order.

    Its words: the first part, bytes from part to part, parts; the address of the table, places, place of the first
    column, bytes from run to run; target, bytes from channel out to channel out, channels out and columns, at most
    `lanes` and exactly as many if `whole`; whether to add to what the target holds.
    """

    def emit(builder: Any, x: Any, part: Any, parts: Any, table: Any, places: Any, place: Any, of_run: Any, y: Any,
             y_row: Any, rows: Any, columns: Any, adds: Any) -> None:  # fmt: skip
        square = _Square(builder, dtype, lanes, whole)
        addresses = square.columns(x, table, places, place, of_run, columns)
        first = [square.load(address) for address in addresses]
        before, head, out = builder.block, builder.append_basic_block(), builder.append_basic_block()
        several = builder.icmp_signed(">", parts, WORD(1))
        builder.cbranch(several, head, out)
        builder.position_at_end(head)
        number, offset = builder.phi(WORD), builder.phi(WORD)
        sums = [builder.phi(square.vector) for _ in first]
        added = [builder.fadd(s, square.load(builder.add(at, offset))) for s, at in zip(sums, addresses)]
        following = builder.add(number, WORD(1))
        for phi, begin, value in zip((number, offset, *sums), (WORD(1), part, *first),
                                     (following, builder.add(offset, part), *added)):  # fmt: skip
            phi.add_incoming(begin, before)
            phi.add_incoming(value, head)
        builder.cbranch(builder.icmp_signed("<", following, parts), head, out)
        builder.position_at_end(out)
        totals: list[Any] = []
        for one, all_of_it in zip(first, added):
            totals.append(builder.phi(square.vector))
            totals[-1].add_incoming(one, before)
            totals[-1].add_incoming(all_of_it, head)
        made = transposed(builder, totals)
        present = None if whole else lanes_below(builder, columns, lanes)
        accumulate = builder.icmp_signed("!=", adds, WORD(0))

        def put(add: bool) -> None:
            for i, value in enumerate(made):
                mask, to = None if whole else square.mask_of(i, rows, present), square.row(y, y_row, i)
                square.store(builder.fadd(square.load(to, mask), value) if add else value, to, mask)

        square.where(accumulate, lambda: put(True))
        square.where(builder.not_(accumulate), lambda: put(False))

    array = array_f32 if dtype == "f32" else array_f64
    unpack = plain_unpack_square(array, word)
    unpack.__name__ = unpack.__qualname__ = f"unpack_{dtype}x{lanes}_{'whole' if whole else 'part'}"
    return native(emit, "none", *["i64"] * 12)(unpack)
