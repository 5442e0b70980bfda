"""Register tiles: the innermost loops of products and convolutions, a small matrix of sums held in vector registers.

`tile_product` makes functions for kernels. One computes, for `rows` rows r of `vectors` vectors of `lanes` elements,

    c[r] = sum over k2 < n2, k1 < n1, k0 < n0 of a[r, k2, k1, k0] * b[k2, k1, k0]

where a is one element for all lanes (or a row of vectors like b, if `pairwise`) and b a row of vectors, each found by
byte strides. Every element of c is one chain of fused multiply-adds in the order of k2, k1, k0, so that its bits do
not depend on the shape of the tile, nor on where the sum was interrupted (`accumulate`). `sectioned` tiles add a chain
of its own to c instead, which keeps long sums exact: their errors grow with the longest chain and the number of chains.
Those that fetch "left" operands `ahead` prefetch elements of a: of later terms, or of the rows behind this tile's, and
then c too. Those that fetch a "panel" ahead prefetch also what is copied to the panel of b next.

The rows of a tile come in runs of `run`. Elements of a that belong to the rows of a run are neighbours; the bytes from
row to row of a are those from run to run.

Tiles of a `line` have the columns of a kernel unrolled: k0 if `pairwise`, else k1. Column k of row r lies at
`r * stride + k * dilation` columns, and for each column there are the rows that meet it, from one up to another. A
pairwise tile of a line loads each column of a once for all rows.

Registers are allocated by the shape of the tile: `rows * vectors` sums, `vectors` of b, and one that repeats an element
of a. The sums are phis of the loops, so that LLVM keeps them in registers; a shape that needs one register too many
would spill a sum in every term. Which shapes fit a machine is said by its `Target`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64
from .lanes import some_lanes
from .natives import BYTE, INT, WORD, declared, native

Line = tuple[int, int, tuple[tuple[int, int], ...]]
"""Stride, dilation, and the first row and the one after the last that meet each column of the kernel."""

# Rows that share offsets from one pointer of a. A row has an offset, a pointer serves so many rows: with an offset for
# each row, general registers run out and LLVM spills them inside of the innermost loop.
ROWS_A_POINTER = 7
TERMS_AHEAD = 12
"""Terms ahead of which a row's element is fetched. Those of a transposed operand lie pages apart: no prefetcher of the
processor follows a stride across pages."""
# Terms in which the rows behind those of a tile are fetched, a row in each: no more than lie in a line.
_ROWS_IN_TURN = 8


def plain_tile_product(
    array: Callable[[int, int], Any],
    itemsize: int,
    lanes: int,
    rows: int,
    vectors: int,
    tail: bool = False,
    pairwise: bool = False,
    sectioned: bool = False,
    line: Line | None = None,
    run: int = 1,
) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""
    zero = np.dtype(f"f{itemsize}").type(0)

    def product(a: int, a_row: int, b: int, c: int, c_row: int, n2: int, a2: int, b2: int, n1: int, a1: int, b1: int,
                n0: int, a0: int, b0: int, columns: int, accumulate: int, *ahead: int) -> None:  # fmt: skip
        for r in range(rows):
            target = array(c + r * c_row, columns)
            for j in range(columns if tail else lanes * vectors):
                total = target[j] if accumulate and not sectioned else zero
                for k2 in range(n2):
                    for k1 in range(n1):
                        for k0 in range(n0):
                            if line is not None and r not in range(*line[2][k0 if pairwise else k1]):
                                continue
                            at = a + r // run * a_row + r % run * itemsize + k2 * a2 + k1 * a1 + k0 * a0
                            at += itemsize * j if pairwise else 0
                            other = b + k2 * b2 + k1 * b1 + k0 * b0 + itemsize * j
                            total = total + array(at, 1)[0] * array(other, 1)[0]
                target[j] = target[j] + total if accumulate and sectioned else total

    return product


@cache
def tile_product(
    dtype: str,
    lanes: int,
    rows: int,
    vectors: int,
    tail: bool = False,
    pairwise: bool = False,
    sectioned: bool = False,
    ahead: Literal["", "left", "panel"] = "",
    line: Line | None = None,
    run: int = 1,
) -> Callable[..., None]:
    """The function for this tile of "f32" or "f64".

    Its words: a, bytes from run to run of its rows, b, c, bytes from row to row of c, then for the outer, the middle
    and the inner sum: terms (1 or more), bytes in a, bytes in b; then the columns of c that exist, which `tail` tiles
    look at, and whether to add to what c holds.

    Those that fetch ahead have two words more: how many bytes behind a term's element of a the first element to fetch
    lies, and bytes from there to those of the next terms, or 0 where each fetches one so far ahead of its own. For a
    panel there are two more: the first of as many rows as b has lanes, whose next elements lie along the sum, and bytes
    from row to row.
    """
    element = ir.FloatType() if dtype == "f32" else ir.DoubleType()
    itemsize = 4 if dtype == "f32" else 8
    vector = ir.VectorType(element, lanes)
    name = f"v{lanes}{dtype}"
    zero = ir.Constant(vector, [0.0] * lanes)
    nothing = ir.Constant(vector, ir.Undefined)

    def emit(builder: Any, a: Any, a_row: Any, b: Any, c: Any, c_row: Any, n2: Any, a2: Any, b2: Any, n1: Any, a1: Any,
             b1: Any, n0: Any, a0: Any, b0: Any, columns: Any, accumulate: Any, *to_fetch: Any) -> None:  # fmt: skip
        def function(what: str, result: Any, *arguments: Any) -> Any:
            return declared(builder.module, what, ir.FunctionType(result, arguments))

        fma = function(f"llvm.fma.{name}", vector, vector, vector, vector)
        whole = some_lanes(builder, dtype, lanes, None)
        left = builder.sub(columns, WORD(lanes * (vectors - 1))) if tail else None
        last = some_lanes(builder, dtype, lanes, left)

        def at(address: Any, v: int) -> Any:
            return builder.add(address, WORD(lanes * itemsize * v)) if v else address

        def load(address: Any, v: int) -> Any:
            return (last if v == vectors - 1 else whole)[0](at(address, v))

        def store(value: Any, address: Any, v: int) -> None:
            (last if v == vectors - 1 else whole)[1](value, at(address, v))

        def repeat(address: Any) -> Any:
            value = builder.load(builder.inttoptr(address, element.as_pointer()))
            value = builder.insert_element(nothing, value, INT(0))
            return builder.shuffle_vector(value, nothing, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))

        def loop(n: Any, pointers: list[Any], steps: list[Any], sums: list[Any], body: Callable[..., Any]) -> list[Any]:
            if isinstance(n, ir.Constant) and n.constant == 1:  # LLVM would take its time to see that there is no loop
                return body(pointers, sums)
            before = builder.block
            head = builder.append_basic_block()
            builder.branch(head)
            builder.position_at_end(head)
            counter, *moving = [builder.phi(WORD) for _ in range(1 + len(pointers))]
            running = [builder.phi(vector) for _ in sums]
            for phi, first in zip((counter, *moving, *running), (WORD(0), *pointers, *sums)):
                phi.add_incoming(first, before)
            after = body(moving, running)
            last = builder.block
            following = builder.add(counter, WORD(1))
            counter.add_incoming(following, last)
            for phi, step in zip(moving, steps):
                phi.add_incoming(builder.add(phi, step), last)
            for phi, value in zip(running, after):
                phi.add_incoming(value, last)
            out = builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("<", following, n), head, out)
            builder.position_at_end(out)
            return after

        def either(condition: Any, make: Callable[[], list[Any]], others: list[Any]) -> list[Any]:
            """What `make` gives where the condition holds, else `others`."""
            before = builder.block
            making, after = builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(condition, making, after)
            builder.position_at_end(making)
            made = make()
            builder.branch(after)
            builder.position_at_end(after)
            phis = [builder.phi(vector) for _ in others]
            for phi, value, other in zip(phis, made, others):
                phi.add_incoming(value, making)
                phi.add_incoming(other, before)
            return phis

        runs = rows // run
        offsets = [builder.mul(a_row, WORD(i)) for i in range(min(runs, ROWS_A_POINTER))]
        jumps = [builder.mul(a_row, WORD(i * ROWS_A_POINTER)) for i in range(-(-runs // ROWS_A_POINTER))]

        def pointers_of(sums: list[Any]) -> int:
            """Pointers of a that the rows of these sums need."""
            return -(-len(sums) // vectors // run // ROWS_A_POINTER)

        def fetch(address: Any) -> None:
            address = builder.inttoptr(address, BYTE.as_pointer())
            prefetch = function("llvm.prefetch.p0", ir.VoidType(), address.type, INT, INT, INT)
            builder.call(prefetch, (address, INT(0), INT(3), INT(1)))  # data to be read, and often

        def innermost(pointers: list[Any], sums: list[Any]) -> list[Any]:
            *of_a, of_b = pointers[: pointers_of(sums) + 1]
            right = [load(of_b, v) for v in range(vectors)]
            if ahead:
                row = builder.and_(pointers[-1], WORD(_ROWS_IN_TURN - 1))
                fetch(builder.add(of_a[0], builder.add(to_fetch[0], builder.mul(to_fetch[1], row))))
            if ahead == "panel":
                # A vector of each row, then the next one: the copy reads squares in this order.
                row = builder.and_(pointers[-1], WORD(lanes - 1))
                along = builder.mul(builder.sub(pointers[-1], row), WORD(itemsize))
                fetch(builder.add(builder.add(to_fetch[2], along), builder.mul(to_fetch[3], row)))
            result: list[Any] = []
            for r in range(len(sums) // vectors):
                number, beside = divmod(r, run)
                i = number % ROWS_A_POINTER
                start = of_a[number // ROWS_A_POINTER]
                start = builder.add(start, offsets[i]) if i else start
                start = builder.add(start, WORD(itemsize * beside)) if beside else start
                left = [load(start, v) for v in range(vectors)] if pairwise else [repeat(start)] * vectors
                result += [builder.call(fma, (left[v], right[v], sums[r * vectors + v])) for v in range(vectors)]
            return result

        def middle(pointers: list[Any], sums: list[Any]) -> list[Any]:
            of_a = [builder.add(pointers[0], jump) for jump in jumps[: pointers_of(sums)]]
            term = [WORD(0)] * bool(ahead)
            steps = [a0] * len(of_a) + [b0] + [WORD(1)] * len(term)
            return loop(n0, [*of_a, pointers[1], *term], steps, sums, innermost)

        def columns_of_line(pointers: list[Any], sums: list[Any]) -> list[Any]:
            assert line is not None
            of_a, of_b = pointers
            after = list(sums)
            for k, (low, high) in enumerate(line[2]):
                if low < high:
                    start = builder.add(of_a, builder.add(builder.mul(a_row, WORD(low)), builder.mul(a1, WORD(k))))
                    rows_met = slice(low * vectors, high * vectors)
                    after[rows_met] = middle([start, builder.add(of_b, builder.mul(b1, WORD(k)))], after[rows_met])
            return after

        def pairs_of_line(pointers: list[Any], sums: list[Any]) -> list[Any]:
            assert line is not None
            of_a, of_b = pointers
            stride, dilation, met = line
            after = list(sums)
            right = [[load(builder.add(of_b, builder.mul(b0, WORD(k))), v) for v in range(vectors)]
                     for k in range(len(met))]  # fmt: skip
            meetings: dict[int, list[tuple[int, int]]] = {}
            for k, (low, high) in enumerate(met):
                for r in range(low, high):
                    meetings.setdefault(r * stride + k * dilation, []).append((r, k))
            # From column to column one pointer moves on: an offset for each would leave no general register.
            step, here = builder.sdiv(a0, WORD(dilation)), 0
            for column in sorted(meetings):
                of_a = builder.add(of_a, builder.mul(step, WORD(column - here)))
                here = column
                left = [load(of_a, v) for v in range(vectors)]
                for r, k in meetings[column]:
                    for v in range(vectors):
                        after[r * vectors + v] = builder.call(fma, (left[v], right[k][v], after[r * vectors + v]))
            return after

        def outer(pointers: list[Any], sums: list[Any]) -> list[Any]:
            if line is not None and not pairwise:
                return columns_of_line(pointers, sums)
            return loop(n1, pointers, [a1, b1], sums, middle if line is None else pairs_of_line)

        places = [(builder.add(c, builder.mul(c_row, WORD(r))), v) for r in range(rows) for v in range(vectors)]
        if ahead:
            with builder.if_then(builder.icmp_signed("!=", to_fetch[1], WORD(0))):
                for row, v in places:
                    fetch(builder.add(row, WORD(lanes * itemsize * v)))
        adds = builder.icmp_signed("!=", accumulate, WORD(0))
        zeros = [zero] * len(places)
        if sectioned:
            totals = loop(n2, [a, b], [a2, b2], zeros, outer)
        else:
            found = either(adds, lambda: [load(*place) for place in places], zeros)
            totals = loop(n2, [a, b], [a2, b2], found, outer)
        if sectioned:
            totals = either(adds, lambda: [builder.fadd(load(*p), t) for p, t in zip(places, totals)], totals)
        for value, place in zip(totals, places):
            store(value, *place)

    array = array_f32 if dtype == "f32" else array_f64
    product = plain_tile_product(array, itemsize, lanes, rows, vectors, tail, pairwise, sectioned, line, run)
    variant = "t" * tail + "p" * pairwise + "s" * sectioned + ahead[:1] + f"r{run}" * (run > 1)
    if line is not None:
        variant += "_" + "_".join(map(str, (*line[:2], *(number for rows_met in line[2] for number in rows_met))))
    words = 16 + {"": 0, "left": 2, "panel": 4}[ahead]
    product.__name__ = product.__qualname__ = f"tile_{dtype}x{lanes}_{rows}x{vectors}{variant}"
    return native(emit, "none", *["i64"] * words)(product)
