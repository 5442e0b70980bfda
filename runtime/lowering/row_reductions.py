"""Reductions of a dense row, in an order that depends on its length alone.

A kernel's arithmetic is strict, so LLVM keeps a plain loop as it is: one element after the other, each addition waiting
for the one before. These reductions have sixteen SIMD lanes in four independent accumulators, so that additions
overlap, and combine accumulators and lanes as a tree. The order follows from the length of the row alone, so that its
bits are the same wherever it stands. A `long_sum`, of more than `LONG` floats, adds up blocks, and these in blocks of
their own, so that no lane takes more than some hundred terms in a row.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from ..codegen.natives import WORD, counted_loop, native, stack_slot

_LANES = 16
_ACCUMULATORS = 4
# Terms that a lane takes before it starts from 0 again, and such sums that are added up before those do.
_BLOCK = 128
LONG = _LANES * _ACCUMULATORS * _BLOCK


def _combine(builder: Any, op: str, dtype: str, a: Any, b: Any) -> Any:
    if dtype.startswith("f"):
        if op == "sum":
            return builder.fadd(a, b)
        if op == "prod":
            return builder.fmul(a, b)
        better = builder.fcmp_ordered(">" if op == "max" else "<", a, b)
        keep = builder.or_(better, builder.fcmp_unordered("uno", a, a))
        return builder.select(keep, a, b)
    if op == "sum":
        return builder.add(a, b)
    if op == "prod":
        return builder.mul(a, b)
    compare = builder.icmp_unsigned if dtype in ("u8", "bool") else builder.icmp_signed
    return builder.select(compare(">" if op == "max" else "<", a, b), a, b)


def _identity(op: str, dtype: str) -> float | int:
    if op in ("sum", "long_sum", "prod"):
        return 1 if op == "prod" else 0
    if dtype.startswith("f"):
        return -np.inf if op == "max" else np.inf
    if dtype in ("u8", "bool"):
        return 0 if op == "max" else (1 if dtype == "bool" else 255)
    info = np.iinfo("int32" if dtype == "i32" else "int64")
    return int(info.min if op == "max" else info.max)


_ELEMENTS = {
    "f32": ir.FloatType(),
    "f64": ir.DoubleType(),
    "i32": ir.IntType(32),
    "i64": ir.IntType(64),
    "u8": ir.IntType(8),
    "bool": ir.IntType(8),
}
_NUMPY = {"sum": np.sum, "long_sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}


def _emit(builder: Any, op: str, dtype: str, pointer: Any, n: Any) -> Any:
    long, op = op == "long_sum", op.removeprefix("long_")
    element = _ELEMENTS[dtype]
    vector = ir.VectorType(element, _LANES)
    start = ir.Constant(element, _identity(op, dtype))
    lanes_start = ir.Constant(vector, [_identity(op, dtype)] * _LANES)
    accumulators = [stack_slot(builder, vector) for _ in range(_ACCUMULATORS)]
    tail = stack_slot(builder, element)
    for s in accumulators:
        builder.store(lanes_start, s)
    builder.store(start, tail)

    def take(place: Any, at: Any) -> None:
        source = builder.bitcast(builder.gep(pointer, [at]), vector.as_pointer())
        loaded = builder.load(source)
        loaded.align = 1
        builder.store(_combine(builder, op, dtype, builder.load(place), loaded), place)

    wide = ir.Constant(WORD, _LANES * _ACCUMULATORS)

    def take_wide(first: Any, count: Any) -> None:
        """Take `count` times a vector for each accumulator, from element `first` on."""
        with counted_loop(builder, count) as index:
            base = builder.add(first, builder.mul(index, wide))
            for k, s in enumerate(accumulators):
                take(s, builder.add(base, ir.Constant(WORD, k * _LANES)))

    def move(source: list[Any], target: list[Any]) -> None:
        """Add what was taken to other accumulators, and start from 0 again."""
        for s, t in zip(source, target):
            builder.store(_combine(builder, op, dtype, builder.load(t), builder.load(s)), t)
            builder.store(lanes_start, s)

    begun: Any = ir.Constant(WORD, 0)
    if long:
        above, totals = ([stack_slot(builder, vector) for _ in range(_ACCUMULATORS)] for _ in range(2))
        for s in (*above, *totals):
            builder.store(lanes_start, s)
        several, block = ir.Constant(WORD, _BLOCK), ir.Constant(WORD, LONG)
        blocks = builder.sdiv(n, block)
        groups = builder.sdiv(builder.add(blocks, ir.Constant(WORD, _BLOCK - 1)), several)
        with counted_loop(builder, groups) as group:
            first = builder.mul(group, several)
            left = builder.sub(blocks, first)
            count = builder.select(builder.icmp_signed("<", left, several), left, several)
            with counted_loop(builder, count) as index:
                take_wide(builder.mul(builder.add(first, index), block), several)
                move(accumulators, above)
            move(above, totals)
        move(totals, accumulators)
        begun = builder.mul(blocks, block)
    whole = builder.sdiv(builder.sub(n, begun), wide)
    take_wide(begun, whole)
    done = builder.add(begun, builder.mul(whole, wide))
    lanes = ir.Constant(WORD, _LANES)
    more = builder.sdiv(builder.sub(n, done), lanes)
    with counted_loop(builder, more) as index:
        take(accumulators[0], builder.add(done, builder.mul(index, lanes)))
    done = builder.add(done, builder.mul(more, lanes))
    with counted_loop(builder, builder.sub(n, done)) as index:
        value = builder.load(builder.gep(pointer, [builder.add(done, index)]))
        builder.store(_combine(builder, op, dtype, builder.load(tail), value), tail)
    loaded = [builder.load(s) for s in accumulators]
    total = _combine(
        builder,
        op,
        dtype,
        _combine(builder, op, dtype, loaded[0], loaded[1]),
        _combine(builder, op, dtype, loaded[2], loaded[3]),
    )
    width = _LANES
    while width > 1:
        width //= 2
        parts = [
            builder.shuffle_vector(
                total,
                ir.Constant(total.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), width), [first + i for i in range(width)]),
            )
            for first in (0, width)
        ]
        total = _combine(builder, op, dtype, *parts)
    lane = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
    result = _combine(builder, op, dtype, lane, builder.load(tail))
    if dtype == "bool":
        return builder.trunc(result, ir.IntType(1))
    return result


def _declare(op: str, dtype: str) -> Any:
    def reduce_row(row: Any, n: int) -> Any:
        if n == 0:
            return row.dtype.type(_identity(op, dtype))
        return row.dtype.type(_NUMPY[op](row[:n]))

    reduce_row.__name__ = reduce_row.__qualname__ = f"row_{op}_{dtype}"
    reduce_row.__doc__ = f"The {op} of the `n` elements of {dtype} at the start of `row`."

    def emit(builder: Any, row: Any, n: Any) -> Any:
        return _emit(builder, op, dtype, row, n)

    return native(emit, dtype, f"{dtype}*", "i64")(reduce_row)


ROW_REDUCTIONS = {
    f"row_{op}_{dtype}": _declare(op, dtype)
    for op in _NUMPY
    for dtype in _ELEMENTS
    if (dtype != "bool" or op in ("max", "min")) and (op != "long_sum" or dtype.startswith("f"))
}
"""`row_sum_f32(row, n)` and its like, by name."""
