"""Cumulative sums and products on a GPU: a block a line, in pieces of some elements for each thread.

A thread takes its elements one after the other, then threads add up what those before them have, at distances that
double, and the block goes on with the total. So the order follows from the length of the line alone. Known elsewhere
as a parallel prefix sum (Hillis and Steele, 1986).
"""

from __future__ import annotations

import math

import numpy as np

from ...ir import SHORT_NAMES, Node
from ...ir.ops.reduction import cumprod, runs_in_float64
from ...passes.memory.plan import Plan
from .cumulative import lower_cumulative
from .gpu_text import WARP, GpuText
from .launch import Launch, Pointer, Traps
from .translated import on_loop

_MOST_THREADS = 256
_ELEMENTS = 4
_SHORT = 128
"""Elements of a line that one thread goes through, where its neighbours read beside it."""


def lower_gpu_cumulative(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the lines along the axis. Short ones that lie beside each other are a thread's each."""
    result = node.output.type
    axis, dtype = node.attrs["axis"], result.dtype
    length, inner = result.shape[axis], math.prod(result.shape[axis + 1 :])
    if inner >= WARP and length <= _SHORT:
        return [on_loop("j", inner, launch) for launch in lower_cumulative(node, plan, traps)]
    threads = min(_MOST_THREADS, max(1, -(-length // (WARP * _ELEMENTS))) * WARP)
    text = GpuText(math.prod(result.shape[:axis]) * inner if length else 0, threads)
    held = np.dtype(np.float64) if runs_in_float64(result, axis) else dtype
    held = np.dtype(np.int32) if held.itemsize == 1 else held
    short, kept = SHORT_NAMES[dtype], SHORT_NAMES[held]
    sign = "*" if node.op is cumprod else "+"
    neutral = f"{kept}({'1' if sign == '*' else '-0.0' if held.kind == 'f' else '0'})"  # 0 + -0 would be 0

    def both(a: str, b: str) -> str:
        return f"{a} {sign} {b}" if held.kind == "f" else f"{kept}({a} {sign} {b})"

    def element(array: str) -> str:
        backwards = node.attrs.get("reverse", False)
        return f"{array}[start + {'(length - 1 - k)' if backwards else 'k'} * stride]"

    loaded = element("x") if held == dtype else f"{kept}({element('x')})"
    stored = "mine" if held == dtype else f"{short}(mine)"
    shared = text.shared("totals", kept, 2 * threads)
    text.head += [
        f"    x = array_{short}({text.word(Pointer.to(plan.views[node.inputs[0]]))}, 0)",
        f"    o = array_{short}({text.word(Pointer(node.output))}, 0)",
    ]
    text.number("length", length)
    text.number("stride", inner)
    lines = [
        "block = tile // stride",
        "start = block * length * stride + (tile - block * stride)",
        f"before = {neutral}",
        f"for base in range(0, length, {threads * _ELEMENTS}):",
        f"    first = base + thread_index() * {_ELEMENTS}",
        f"    last = first + {_ELEMENTS} if first + {_ELEMENTS} < length else length",
        f"    total = {neutral}",
        "    for k in range(first, last):",
        f"        total = {both('total', loaded)}",
        f"    {shared}[thread_index()] = total",
        "    barrier()",
    ]
    half, apart = 0, 1
    while apart < threads:
        other = f"{shared}[{half * threads} + thread_index() - {apart}]"
        half = 1 - half
        lines += [
            f"    if thread_index() >= {apart}:",
            f"        total = {both(other, 'total')}",
            f"    {shared}[{half * threads} + thread_index()] = total",
            "    barrier()",
        ]
        apart *= 2
    lines += [
        "    mine = before",
        "    if thread_index() > 0:",
        f"        mine = {both('before', f'{shared}[{half * threads} + thread_index() - 1]')}",
        "    for k in range(first, last):",
        f"        mine = {both('mine', loaded)}",
        f"        {element('o')} = {stored}",
        f"    before = {both('before', f'{shared}[{half * threads + threads - 1}]')}",
        "    barrier()",
    ]
    text.lines += [f"    {line}" for line in lines]
    return [text.launch()]
