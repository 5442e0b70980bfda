"""Sums of many updates into the entries of an array on a GPU, group by group and in the order of `scatter_add`.

A block takes some columns, each of which is a thread's. One thread links the updates of each entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node
from ...passes.kernels.scatter_sums import ScatterSums
from ...passes.memory.plan import Plan
from .launch import Call, Launch, Traps
from .scatter_add import IN_A_ROW, lower_scatter_add
from .scatter_tile import COPY_OF_THE_ARRAY, linked_updates, scatter_tile
from .translated import on_loop


def lower_gpu_scatter_add(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of columns and blocks; an index out of range is a trap."""
    (launch,) = lower_scatter_add(node, plan, traps)
    sums = ScatterSums.of(node, plan.target)
    if sums.updates:
        x, indices, _ = (v.type for v in node.inputs)
        launch.calls = [Call(_grouped_kernel(x.dtype, indices.dtype), launch.calls[0].args)]
    return [on_loop("j", sums.columns, launch)]


def _grouped_kernel(dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """The arguments are those of the CPU's kernel."""
    short = SHORT_NAMES[dtype]

    refused = "trap(word(b, 0))\nafter[k] = i32(-1)\ncontinue"
    return f"""
def kernel(b):
    {scatter_tile(short, index)}
    {COPY_OF_THE_ARRAY}
    slots = word(b, 17)
    table = array_i32(word(b, 14), 0)
    after = window(table, slots, word(b, 16))
    for block in range(top, bottom):
        n = block // outer
        for begin in range(0, count, word(b, 16)):
            size = count - begin if count - begin < word(b, 16) else word(b, 16)
            barrier()
            for s in range(thread_index(), slots, block_size()):
                table[s] = i32(-1)
            barrier()
            if thread_index() == 0:
                {linked_updates(16, refused)}
            barrier()
            for k in range(size):
                following = i64(after[k])
                if following < 0:
                    continue
                place = i64(at[n * count + begin + k])
                place = place + length if place < 0 else place
                target = window(o, (block * length + place) * inner + first, columns)
                updates = window(u, (block * count + begin) * inner + first, size * inner)
                for j in range(columns):
                    line, total, taken, later = updates[k * inner + j], {short}(0), i64(1), following
                    while later > 0:
                        if taken == {IN_A_ROW}:
                            total = total + line
                            line = {short}(0)
                            taken = i64(0)
                        line = line + updates[(later - 1) * inner + j]
                        taken += 1
                        later = -1 - i64(after[later - 1])
                    target[j] = target[j] + (line if following == 0 else total + line)
    return i64(0)
"""
