"""Register tiles of convolutions in groups of few channels: a vector holds the channels of several groups.

A lane is a channel out of a group, and meets each of the `inner` channels into its group, one after the other: those of
all lanes lie side by side, and shuffles bring each to the lanes that meet it. `group_product` makes functions for
kernels. One computes for rows r

    c[r, lane] = sum over k = (k2, k1, k0) and j < inner of a[r, k, group * inner + j] * b[k, j, lane]

or, if `apart`, a row of c for each j, with a b that is the same for all of them, as a weight gradient has. Each element
of c is one chain of fused multiply-adds in the order of k2, k1, k0, j, as in `tile_product`, of which `sectioned` is
too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64
from .lanes import BYTES_WITHOUT_MASKS, lanes_below, shuffled
from .natives import INT, WORD, declared, native

_BIT = ir.IntType(1)

Group = tuple[int, int, int]
"""Groups of a vector, channels into each and out of each."""


def plain_group_product(
    array: Callable[[int, int], Any],
    itemsize: int,
    lanes: int,
    rows: int,
    group: Group,
    tail: bool,
    apart: bool,
    sectioned: bool,
) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""
    groups, inner, outer = group
    zero = np.dtype(f"f{itemsize}").type(0)

    def product(a: int, a_row: int, b: int, c: int, c_row: int, n2: int, a2: int, b2: int, n1: int, a1: int, b1: int,
                n0: int, a0: int, b0: int, columns: int, accumulate: int) -> None:  # fmt: skip
        there = columns if tail else groups * outer
        for r in range(rows):
            for first in range(inner if apart else 1):
                target = array(c + (r * inner + first if apart else r) * c_row, there)
                for lane in range(there):
                    total = target[lane] if accumulate and not sectioned else zero
                    for k2 in range(n2):
                        for k1 in range(n1):
                            for k0 in range(n0):
                                at = a + r * a_row + k2 * a2 + k1 * a1 + k0 * a0 + itemsize * (lane // outer) * inner
                                other = b + k2 * b2 + k1 * b1 + k0 * b0 + itemsize * lane
                                for j in (first,) if apart else range(inner):
                                    weight = other if apart else other + itemsize * lanes * j
                                    total = total + array(at + itemsize * j, 1)[0] * array(weight, 1)[0]
                    target[lane] = target[lane] + total if accumulate and sectioned else total

    return product


@cache
def group_product(
    dtype: str, lanes: int, rows: int, group: Group, tail: bool, apart: bool, sectioned: bool
) -> Callable[..., None]:
    """The function for this tile of "f32" or "f64", of one vector.

    Its words are those of `tile_product`; rows of c are `c_row` apart, those of the channels of a group next to each
    other. If not `apart` rows of b are whole vectors, `inner` of them for each term.
    """
    groups, inner, outer = group
    element = ir.FloatType() if dtype == "f32" else ir.DoubleType()
    itemsize = 4 if dtype == "f32" else 8
    vector, mask_type = ir.VectorType(element, lanes), ir.VectorType(_BIT, lanes)
    name = f"v{lanes}{dtype}"
    zero, nothing = ir.Constant(vector, [0.0] * lanes), ir.Constant(vector, ir.Undefined)
    masked = lanes * itemsize > BYTES_WITHOUT_MASKS

    def emit(builder: Any, a: Any, a_row: Any, b: Any, c: Any, c_row: Any, n2: Any, a2: Any, b2: Any, n1: Any, a1: Any,
             b1: Any, n0: Any, a0: Any, b0: Any, columns: Any, accumulate: Any) -> None:  # fmt: skip
        def function(what: str, result: Any, *arguments: Any) -> Any:
            return declared(builder.module, what, ir.FunctionType(result, arguments))

        fma = function(f"llvm.fma.{name}", vector, vector, vector, vector)
        pointer = vector.as_pointer()
        load_some = function(f"llvm.masked.load.{name}.p0{name}", vector, pointer, INT, mask_type, vector)
        store_some = function(f"llvm.masked.store.{name}.p0{name}", ir.VoidType(), vector, pointer, INT, mask_type)

        def some(count: Any, most: int) -> Any:
            """The mask of the first `count` lanes, which are `most` if this is no tail."""
            if tail:
                return lanes_below(builder, count, lanes)
            return ir.Constant(mask_type, [lane < most for lane in range(lanes)])

        def present(count: Any, most: int) -> Callable[[Any], Any]:
            """How `count` elements of a vector are loaded, of `most` where the tile is no tail: zeros for the rest."""
            if not tail and most >= lanes:

                def whole(address: Any) -> Any:
                    value = builder.load(builder.inttoptr(address, pointer))
                    value.align = itemsize
                    return value

                return whole
            if masked:
                mask = some(count, most)
                return lambda address: builder.call(
                    load_some, (builder.inttoptr(address, pointer), INT(itemsize), mask, zero)
                )
            last = builder.sub(count, WORD(1)) if tail else WORD(most - 1)
            nearest = [builder.select(builder.icmp_signed("<", WORD(i), last), WORD(i), last) for i in range(lanes)]

            def one_by_one(address: Any) -> Any:
                value, elements = nothing, builder.inttoptr(address, element.as_pointer())
                for lane, index in enumerate(nearest):
                    value = builder.insert_element(value, builder.load(builder.gep(elements, [index])), INT(lane))
                return value

            return one_by_one

        # Vectors that the channels into the groups of one vector of c fill.
        sources = -(-groups * inner // lanes)
        into = builder.mul(builder.sdiv(columns, WORD(outer)), WORD(inner)) if tail else WORD(0)
        loads = [
            present(builder.sub(into, WORD(lanes * i)) if tail else None, groups * inner - lanes * i)
            for i in range(sources)
        ]
        load_row = present(columns, groups * outer)
        mask_of_row = some(columns, groups * outer)
        partly = tail or groups * outer < lanes

        def channel(parts: list[Any], j: int) -> Any:
            """In each lane channel `j` into its group."""
            wanted = [lane // outer * inner + j if lane < groups * outer else lane for lane in range(lanes)]
            value = parts[0]
            if wanted == list(range(lanes)):
                return value
            for i in range(max(1, sources - 1)):
                other = parts[i + 1] if i + 1 < sources else nothing
                begin = lanes * (i + 1)
                if i == 0:
                    picked = [at if at < 2 * lanes else 0 for at in wanted]
                else:
                    picked = [lanes + at - begin if begin <= at < begin + lanes else k for k, at in enumerate(wanted)]
                value = shuffled(builder, value, other, picked)
            return value

        def add(address: Any, step: Any, times: int) -> Any:
            return builder.add(address, builder.mul(step, WORD(times))) if times else address

        def terms(at: Any, other: Any, sums: list[Any]) -> list[Any]:
            if apart:
                right = [load_row(other)] * inner
            else:
                right = []
                for j in range(inner):
                    value = builder.load(builder.inttoptr(add(other, WORD(itemsize * lanes), j), pointer))
                    value.align = itemsize
                    right.append(value)
            result: list[Any] = []
            for r in range(rows):
                start = add(at, a_row, r)
                parts = [load(add(start, WORD(itemsize * lanes), i)) for i, load in enumerate(loads)]
                if apart:
                    mine = sums[r * inner : (r + 1) * inner]
                    result += [builder.call(fma, (channel(parts, j), right[j], mine[j])) for j in range(inner)]
                else:
                    total = sums[r]
                    for j in range(inner):
                        total = builder.call(fma, (channel(parts, j), right[j], total))
                    result.append(total)
            return result

        def loop(n: Any, a_step: Any, b_step: Any, body: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
            def looped(at: Any, other: Any, sums: list[Any]) -> list[Any]:
                before, head = builder.block, builder.append_basic_block()
                builder.branch(head)
                builder.position_at_end(head)
                counter, here, there = (builder.phi(WORD) for _ in range(3))
                running = [builder.phi(vector) for _ in sums]
                for phi, first in zip((counter, here, there, *running), (WORD(0), at, other, *sums)):
                    phi.add_incoming(first, before)
                after = body(here, there, running)
                last, following = builder.block, builder.add(counter, WORD(1))
                moved = (following, builder.add(here, a_step), builder.add(there, b_step), *after)
                for phi, value in zip((counter, here, there, *running), moved):
                    phi.add_incoming(value, last)
                out = builder.append_basic_block()
                builder.cbranch(builder.icmp_signed("<", following, n), head, out)
                builder.position_at_end(out)
                return after

            return looped

        places = [add(c, c_row, i) for i in range(rows * (inner if apart else 1))]
        held: list[Any] = [zero] * len(places)
        before = builder.block
        reading, after = builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("!=", accumulate, WORD(0)), reading, after)
        builder.position_at_end(reading)
        read = [load_row(place) for place in places]
        last = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        for i, value in enumerate(read):
            held[i] = builder.phi(vector)
            held[i].add_incoming(value, last)
            held[i].add_incoming(zero, before)
        summed = loop(n2, a2, b2, loop(n1, a1, b1, loop(n0, a0, b0, terms)))
        totals = summed(a, b, [zero] * len(places) if sectioned else held)
        for place, total, value in zip(places, totals, held):
            made = builder.fadd(value, total) if sectioned else total
            target = builder.inttoptr(place, pointer)
            if partly:
                builder.call(store_some, (made, target, INT(itemsize), mask_of_row))
            else:
                builder.store(made, target).align = itemsize

    array = array_f32 if dtype == "f32" else array_f64
    product = plain_group_product(array, itemsize, lanes, rows, group, tail, apart, sectioned)
    variant = "t" * tail + "a" * apart + "s" * sectioned
    product.__name__ = product.__qualname__ = f"group_{dtype}x{lanes}_{rows}_{groups}of{inner}to{outer}{variant}"
    return native(emit, "none", *["i64"] * 16)(product)
