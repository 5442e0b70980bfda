"""Sorting lines on a GPU, or the indices of their elements: a block a line, by merges of neighbouring runs.

In each round all runs are merged at once: an element goes as many places ahead as elements of the other run are before
it, which a binary search finds. Equal elements keep their order, so the bits follow from the elements alone.
"""

from __future__ import annotations

import math

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops.sorting import argsort
from ...passes.memory.plan import Plan
from .gpu_text import WARP, GpuText
from .launch import Launch, Pointer, Scratch, Traps
from .sorting import is_before

_MOST_THREADS = 256


def lower_gpu_sort(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over lines."""
    (x,) = node.inputs
    shape, axis, dtype = x.type.shape, node.attrs["axis"], x.type.dtype
    length, inner = shape[axis], math.prod(shape[axis + 1 :])
    lines = math.prod(shape[:axis]) * inner
    threads = min(_MOST_THREADS, max(1, -(-length // WARP)) * WARP)
    text = GpuText(lines if length else 0, threads)
    indices = node.op is argsort
    key = "u8" if dtype.kind == "b" else SHORT_NAMES[dtype]
    item = "i64" if indices else key
    line = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    text.head += [
        f"    x = array_{key}({text.word(Pointer.to(plan.views[x]))}, 0)",
        f"    all_o = array_{item}({text.word(Pointer(node.output))}, 0)",
        f"    kept = array_{item}({text.word(line)}, 0)",
    ]
    text.number("length", length)
    text.number("stride", inner)
    ahead = is_before(dtype, node.attrs["descending"])

    def of(element: str) -> str:
        """What an element of a line is sorted by."""
        return f"x[start + i64({element}) * stride]" if indices else element

    def each(*statements: str) -> list[str]:
        """Statements for the elements of a line, and a barrier."""
        return [f"for k in range(thread_index(), length, {threads}):", *(f"    {s}" for s in statements), "barrier()"]

    def search(low: str, high: str, stops: str) -> list[str]:
        """The first place between two from which on elements of the other run stop at this one."""
        return [
            f"low, high = {low}, {high}",
            "while low < high:",
            "    at = (low + high) // 2",
            "    other = source[at]",
            f"    if {stops}:",
            "        high = at",
            "    else:",
            "        low = at + 1",
        ]

    strided = inner > 1
    text.lines += [
        f"    {line}"
        for line in (
            "block = tile // stride",
            "start = block * length * stride + (tile - block * stride)",
            "one, two = " + ("kept, window(kept, length, length)" if strided else "window(all_o, start, length), kept"),
            "merges, width = i64(0), i64(1)",
            "while width < length:",
            "    merges += 1",
            "    width = width * 2",
            "source, target = one, two",
            "if merges % 2 == 1:",
            "    source, target = two, one",
            *each(f"source[k] = {'i64(k)' if indices else 'x[start + k * stride]'}"),
            "width = i64(1)",
            "while width < length:",
            *(
                f"    {inner_line}"
                for inner_line in (
                    *each(
                        "mine = source[k]",
                        "left = k // (2 * width) * (2 * width)",
                        "middle = left + width if left + width < length else length",
                        "right = middle + width if middle + width < length else length",
                        "if k < middle:",
                        *(f"    {s}" for s in search("middle", "right", f"not ({ahead(of('other'), of('mine'))})")),
                        "    target[k + low - middle] = mine",
                        "else:",
                        *(f"    {s}" for s in search("left", "middle", ahead(of("mine"), of("other")))),
                        "    target[k - middle + low] = mine",
                    ),
                    "source, target = target, source",
                    "width = width * 2",
                )
            ),
            *(each("all_o[start + k * stride] = source[k]") if strided else ()),
        )
    ]
    return [text.launch()]
