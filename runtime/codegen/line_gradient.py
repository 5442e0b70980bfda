"""Register tiles of the gradient of a depthwise kernel row: the sums of all its columns over a block of outputs.

`line_gradient` makes functions for kernels. One adds, for the columns k of a kernel row,

    c[k] += sum over rows n < n1 and outputs r that meet column k of x[n, r * stride + k * dilation] * g[n, r]

where x, g and c are vectors of channels. The outputs of a block are unrolled: each vector of x and of g is loaded once
for all columns. A sum is one chain of fused multiply-adds in the order of n and r, which begins with c, or is added to
it where the tile is `sectioned`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from .intrinsics import array_f32, array_f64
from .lanes import some_lanes
from .natives import WORD, declared, native
from .tile_product import Line


def plain_line_gradient(
    array: Callable[[int, int], Any], itemsize: int, lanes: int, vectors: int, tail: bool, sectioned: bool, line: Line
) -> Callable[..., None]:
    """The same in Python, on what `array(address, n)` gives."""
    stride, dilation, met = line
    zero = np.dtype(f"f{itemsize}").type(0)

    def gradient(x: int, x_row: int, x_column: int, g: int, g_row: int, g_column: int, c: int, c_column: int, n1: int,
                 columns: int) -> None:  # fmt: skip
        for k, (low, high) in enumerate(met):
            target = array(c + k * c_column, columns)
            for j in range(columns if tail else lanes * vectors):
                total = zero if sectioned else target[j]
                for n in range(n1):
                    for r in range(low, high):
                        at = x + n * x_row + (r * stride + k * dilation) * x_column + itemsize * j
                        other = g + n * g_row + r * g_column + itemsize * j
                        total = total + array(at, 1)[0] * array(other, 1)[0]
                target[j] = target[j] + total if sectioned else total

    return gradient


@cache
def line_gradient(dtype: str, lanes: int, vectors: int, tail: bool, sectioned: bool, line: Line) -> Callable[..., None]:
    """The function for this tile of "f32" or "f64".

    Its words: x, bytes from row to row and from column to column of x, the same of g, c, bytes from column to column of
    the kernel in c, rows (1 or more), the channels that exist, which `tail` tiles look at.
    """
    stride, dilation, met = line
    element = ir.FloatType() if dtype == "f32" else ir.DoubleType()
    itemsize = 4 if dtype == "f32" else 8
    vector = ir.VectorType(element, lanes)
    meetings: dict[int, list[tuple[int, int]]] = {}
    for k, (low, high) in enumerate(met):
        for r in range(low, high):
            meetings.setdefault(r * stride + k * dilation, []).append((r, k))

    def emit(builder: Any, x: Any, x_row: Any, x_column: Any, g: Any, g_row: Any, g_column: Any, c: Any, c_column: Any,
             n1: Any, columns: Any) -> None:  # fmt: skip
        fma = declared(builder.module, f"llvm.fma.v{lanes}{dtype}", ir.FunctionType(vector, [vector] * 3))
        left = builder.sub(columns, WORD(lanes * (vectors - 1)))
        whole, last = some_lanes(builder, dtype, lanes, None), some_lanes(builder, dtype, lanes, left if tail else None)

        def at(address: Any, v: int) -> Any:
            return builder.add(address, WORD(lanes * itemsize * v)) if v else address

        def load(address: Any) -> list[Any]:
            return [(last if v == vectors - 1 else whole)[0](at(address, v)) for v in range(vectors)]

        places = [builder.add(c, builder.mul(c_column, WORD(k))) for k in range(len(met))]
        zero = ir.Constant(vector, [0.0] * lanes)
        begin = [zero] * (len(met) * vectors) if sectioned else [value for place in places for value in load(place)]
        before, head = builder.block, builder.append_basic_block()
        builder.branch(head)
        builder.position_at_end(head)
        counter, of_x, of_g, *sums = (builder.phi(kind) for kind in (*[WORD] * 3, *[vector] * len(begin)))
        after, right = list(sums), dict[int, list[Any]]()
        # From column to column one pointer moves on: an offset for each would leave no general register.
        at_x, at_g, column, output = of_x, of_g, 0, 0
        for next_column in sorted(meetings):
            at_x, column = builder.add(at_x, builder.mul(x_column, WORD(next_column - column))), next_column
            read = load(at_x)
            for r, k in sorted(meetings[next_column]):
                if r not in right:
                    at_g, output = builder.add(at_g, builder.mul(g_column, WORD(r - output))), r
                    right[r] = load(at_g)
                for v in range(vectors):
                    i = k * vectors + v
                    after[i] = builder.call(fma, (read[v], right[r][v], after[i]))
        following = builder.add(counter, WORD(1))
        moved = (following, builder.add(of_x, x_row), builder.add(of_g, g_row), *after)
        for phi, first, value in zip((counter, of_x, of_g, *sums), (WORD(0), x, g, *begin), moved):
            phi.add_incoming(first, before)
            phi.add_incoming(value, head)
        out = builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("<", following, n1), head, out)
        builder.position_at_end(out)
        for k, place in enumerate(places):
            held = load(place) if sectioned else []
            for v in range(vectors):
                total = after[k * vectors + v]
                made = builder.fadd(held[v], total) if sectioned else total
                (last if v == vectors - 1 else whole)[1](made, at(place, v))

    array = array_f32 if dtype == "f32" else array_f64
    gradient = plain_line_gradient(array, itemsize, lanes, vectors, tail, sectioned, line)
    variant = "t" * tail + "s" * sectioned
    numbers = "_".join(map(str, (stride, dilation, *(number for outputs in met for number in outputs))))
    gradient.__name__ = gradient.__qualname__ = f"line_{dtype}x{lanes}_{vectors}{variant}_{numbers}"
    return native(emit, "none", *["i64"] * 10)(gradient)
