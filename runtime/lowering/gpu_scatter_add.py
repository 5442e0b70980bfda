"""Sums of many updates into the entries of an array on a GPU, those of an entry in their order.

First a warp for each update looks for the one before it that has its entry, and for the next one. Then a thread for
each element of an update that is the first of its entry follows these links. So no two threads add to one element, and
the order of a sum follows from the indices alone.

Where updates are too many for that, a block takes some columns, each of which is a thread's, group by group.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node
from ...passes.kernels.scatter_sums import ScatterSums, link_bytes
from ...passes.memory.plan import Plan
from .elementwise import CAST, literal
from .gpu_copies import ElementText, begin_accumulators
from .gpu_text import WARP, GpuText
from .launch import Call, Launch, Pointer, Scratch, Traps
from .scatter_add import IN_A_ROW, lower_scatter_add
from .scatter_tile import COPY_OF_THE_ARRAY, linked_updates, scatter_tile
from .translated import on_loop

_THREADS = 256


def lower_gpu_scatter_add(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """Links of the updates, and their sums; or one launch over tiles of columns and blocks, which stand before the
    axis. An index out of range is a trap.
    """
    if link_bytes(node, plan.target):
        links = _links(node, plan, traps)
        copies = begin_accumulators(node, plan)
        links.concurrent = bool(copies)
        return [*copies, links, _sums(node, plan)]
    (launch,) = lower_scatter_add(node, plan, traps)
    sums = ScatterSums.of(node, plan.target)
    if sums.updates:
        x, indices, _ = (v.type for v in node.inputs)
        launch.calls = [Call(_grouped_kernel(x.dtype, indices.dtype), launch.calls[0].args)]
    return [on_loop("j", sums.columns, launch)]


def _declare(text: GpuText, node: Node, plan: Plan) -> None:
    """The indices and links, with how many there are."""
    x, indices = node.inputs[0].type, node.inputs[1].type
    first = Scratch(plan.scratch[node])
    text.array("at", node.inputs[1], Pointer.to(plan.views[node.inputs[1]]))
    for name, address in (("begins", first), ("after", first.plus(link_bytes(node, plan.target) // 2))):
        text.head.append(f"    {name} = array_i32({text.word(address)}, 0)")
    text.number("updates", math.prod(indices.shape[node.attrs["batch"] :]))
    text.number("length", x.shape[node.attrs["axis"]])


def _links(node: Node, plan: Plan, traps: Traps) -> Launch:
    """For each update whether it is the first of its entry, and the number of the next one, counted from 1."""
    total, warps = node.inputs[1].type.size, _THREADS // WARP
    text = GpuText(-(-total // warps), _THREADS)
    _declare(text, node, plan)
    text.number("total", total)
    text.number("code", traps.code(node, node.inputs[0].type.shape[node.attrs["axis"]]))

    def entry(update: str) -> list[str]:
        return [f"other = i64(at[n * updates + {update}])", "other = other + length if other < 0 else other"]

    lines = [
        f"lane, e = thread_index() % {WARP}, tile * {warps} + thread_index() // {WARP}",
        "there = e < total",
        "e = e if there else total - 1",
        "n = e // updates",
        "k = e - n * updates",
        *entry("k"),
        "place = other",
        "right = (place >= 0) & (place < length)",
        "if not right:",
        "    trap(code)",
        "found, base = i32(0), k - 1",
        "while (base >= 0) & (found == 0):",
        "    if base - lane >= 0:",
        *(f"        {line}" for line in entry("base - lane")),
        "        found = i32(other == place)",
        *_across_warp("found", "    ", ">"),
        f"    base = base - {WARP}",
        "nearest, base = i32(updates), k + 1",
        "while (base < updates) & (i64(nearest) == updates):",
        "    if base + lane < updates:",
        *(f"        {line}" for line in entry("base + lane")),
        "        nearest = i32(base + lane) if other == place else nearest",
        *_across_warp("nearest", "    ", "<"),
        f"    base = base + {WARP}",
        "if (lane == 0) & there:",
        "    begins[e] = i32(1) if right & (found == 0) else i32(0)",
        "    after[e] = i32(i64(nearest) + 1) if i64(nearest) < updates else i32(0)",
    ]
    text.lines += [f"    {line}" for line in lines]
    return text.launch()


def _across_warp(name: str, indent: str, sign: str) -> list[str]:
    """Lines after which all threads of a warp have the largest, or the smallest, of what they had."""
    lines: list[str] = []
    for mask in (16, 8, 4, 2, 1):
        lines.append(f"{indent}theirs = shuffle_xor_i32({name}, {mask})")
        lines.append(f"{indent}{name} = theirs if theirs {sign} {name} else {name}")
    return lines


def _sums(node: Node, plan: Plan) -> Launch:
    """The sum of the updates of each entry that has any, some in a row: the rounding errors of a chain grow with its
    length.
    """
    x, dtype = node.inputs[0].type, node.output.type.dtype
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    text = ElementText(node.inputs[2].type.size)
    _declare(text, node, plan)
    text.array("u", node.inputs[2], Pointer.to(plan.views[node.inputs[2]]))
    text.array("o", node.output, Pointer(node.output))
    text.number("outer", math.prod(x.shape[batch:axis]))
    text.number("inner", math.prod(x.shape[axis + 1 :]))

    def plus(a: str, b: str) -> str:
        return f"{a} + {b}" if dtype.kind == "f" else f"{CAST[dtype]}({a} + {b})"

    zero = literal(0, dtype)
    text.element(
        "r = e // inner",
        "block = r // updates",
        "first = block // outer * updates",
        "k = r - block * updates",
        "if begins[first + k] != 0:",
        "    place = i64(at[first + k])",
        "    place = place + length if place < 0 else place",
        "    column = e - r * inner",
        f"    line, sum, taken, following = u[e], {zero}, i64(1), i64(after[first + k])",
        "    while following > 0:",
        f"        if taken == {IN_A_ROW}:",
        f"            sum = {plus('sum', 'line')}",
        f"            line, taken = {zero}, i64(0)",
        f"        line = {plus('line', 'u[(block * updates + following - 1) * inner + column]')}",
        "        taken += 1",
        "        following = i64(after[first + following - 1])",
        f"    line = line if after[first + k] == 0 else {plus('sum', 'line')}",
        "    target = (block * length + place) * inner + column",
        f"    o[target] = {plus('o[target]', 'line')}",
    )
    return text.launch()


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
