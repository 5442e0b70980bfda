"""Scatter: sums of updates into the entries of an array that indices name.

A tile is a range of columns of some blocks, which stand before the axis: all updates are added to them in their order,
so that the sums do not depend on the tiles.
"""

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node
from ...passes.kernels.scatter_sums import ScatterSums
from ...passes.memory.plan import Plan
from .data_movement import rows_of_tile
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps
from .scatter_tile import COPY_OF_THE_ARRAY, linked_updates, scatter_tile

IN_A_ROW = 128
"""Updates of one entry that are added up one after the other: their rounding errors grow with the length of the chain.
"""


def lower_scatter_add(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of columns and blocks; an index out of range is a trap."""
    x, indices, _ = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    batches, outer = math.prod(x.shape[:batch]), math.prod(x.shape[batch:axis])
    inner, count = math.prod(x.shape[axis + 1 :]), math.prod(indices.shape[batch:])
    blocks = batches * outer
    sums, scratch = ScatterSums.of(node, plan.target), plan.scratch.get(node, 0)
    step = sums.columns
    rows, down = rows_of_tile(blocks, max(x.shape[axis], count) * step)
    in_place = node in plan.in_place
    operands = [Pointer.to(plan.views[v]) for v in (*node.inputs, node.output)]
    code = traps.code(node, x.shape[axis])
    args: list[Arg] = [code, TILE, step, *operands]
    args += [rows, blocks, outer, x.shape[axis], inner, count, int(in_place)]
    if sums.worker_bytes:
        table = Scratch(scratch, sums.worker_bytes)
        args += [table, table.plus(sums.table_bytes), sums.updates, sums.slots]
    source = _scatter_add_kernel(x.dtype, indices.dtype, sums)
    return [Launch(-(-inner // step) * max(down, 1), [Call(source, args)])]


def _scatter_add_kernel(dtype: np.dtype[Any], index: np.dtype[Any], sums: ScatterSums) -> str:
    """A tile of columns of some blocks, which stand before the axis: all updates are added to them in their order, in
    the way that `sums` says.

    The arguments are those of `scatter_tile`, then, from 14 on: the scratch of the worker, its lines, updates of a
    group, slots of the table.
    """
    short = SHORT_NAMES[dtype]
    add = "target[j] + source[j]" if dtype.kind == "f" else f"{short}(target[j] + source[j])"

    def find(number: str) -> str:
        """Lines that find the entry of an update."""
        return f"""place = i64(at[n * count + {number}])
            if place < 0:
                place = place + length"""

    in_order = f"""for k in range(count):
            {find("k")}
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(o, (block * length + place) * inner + first, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = {add}"""
    in_doubles = f"""sums = array_f64(word(b, 14), 0)
        for r in range(length):
            source = window(x, (block * length + r) * inner + first, columns)
            target = window(sums, r * columns, columns)
            for j in range(columns):
                target[j] = f64(source[j])
        for k in range(count):
            {find("k")}
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(sums, place * columns, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = target[j] + f64(source[j])
        for r in range(length):
            source, to = window(sums, r * columns, columns), window(o, (block * length + r) * inner + first, columns)
            for j in range(columns):
                to[j] = f32(source[j])"""
    way = in_doubles if sums.doubles else _grouped(short) if sums.updates else in_order
    return f"""
def kernel(b):
    {scatter_tile(short, index)}
    {"" if sums.doubles else COPY_OF_THE_ARRAY}
    for block in range(top, bottom):
        n = block // outer
        {way}
    return i64(0)
"""


def _grouped(short: str) -> str:
    """Group by group, the updates of each entry are summed in their order, `IN_A_ROW` at a time, then added: many
    updates of one entry would lose digits, were each added to a sum that is large already.

    The updates of an entry are a linked list, see `linked_updates`.
    """
    return f"""slots = word(b, 17)
        table = array_i32(word(b, 14), 0)
        after = window(table, slots, word(b, 16))
        line, total = array_{short}(word(b, 15), 0), window(array_{short}(word(b, 15), 0), columns, columns)
        for begin in range(0, count, word(b, 16)):
            size = count - begin if count - begin < word(b, 16) else word(b, 16)
            for s in range(slots):
                table[s] = i32(-1)
            {linked_updates(12, "return word(b, 0)")}
            for k in range(size):
                following = i64(after[k])
                if following < 0:
                    continue
                place = i64(at[n * count + begin + k])
                place = place + length if place < 0 else place
                target = window(o, (block * length + place) * inner + first, columns)
                source = window(u, (block * count + begin + k) * inner + first, columns)
                if following == 0:
                    for j in range(columns):
                        target[j] = target[j] + source[j]
                    continue
                for j in range(columns):
                    line[j] = source[j]
                    total[j] = {short}(0)
                taken = i64(1)
                while following > 0:
                    if taken == {IN_A_ROW}:
                        for j in range(columns):
                            total[j] = total[j] + line[j]
                            line[j] = {short}(0)
                        taken = i64(0)
                    source = window(u, (block * count + begin + following - 1) * inner + first, columns)
                    for j in range(columns):
                        line[j] = line[j] + source[j]
                    taken += 1
                    following = -1 - i64(after[following - 1])
                for j in range(columns):
                    target[j] = target[j] + (total[j] + line[j])"""
