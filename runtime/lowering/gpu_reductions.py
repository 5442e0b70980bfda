"""Reductions by the threads of a block, in an order that its number of threads and the length of the row fix.

A thread reduces every so many elements, a warp what its threads found by a butterfly, and then each thread what the
warps found, one after the other. All threads have the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Op
from ...ir.ops import reduction
from .gpu_text import WARP, GpuText
from .launch import Address, Launch
from .reduction import combine, identity
from .region_reductions import Reductions


class GpuReductions(Reductions):
    """The reductions of a nest, each by all threads of a block."""

    text: GpuText

    def reduce(self, op: Op, dtype: np.dtype[Any], name: str, source: str) -> None:
        """Lines that reduce a dense row."""
        held = _held(dtype)
        part, short = f"of_{name}", SHORT_NAMES[held]
        element = f"{source}[j]" if held == dtype else f"{short}({source}[j])"
        start = f"{short}({int(identity(op, dtype) == 'True')})" if dtype.kind == "b" else identity(op, dtype)
        self.text.lines += [
            f"        {part} = {start if held == dtype else f'{short}({start})'}",
            f"        {self.text.along('n')}",
            f"            {part} = {combine(op, held, part, element)}",
            *across_threads(self.text, op, held, part, "        "),
            f"        {name} = " + (part if held == dtype else f"{part} != 0" if dtype.kind == "b" else f"u8({part})"),
        ]

    def find(self, name: str, source: str, found: str) -> None:
        """Lines that find the first element `e` of a row for which `found` holds."""
        self.text.lines += [
            f"        {name} = i64(n)",
            f"        {self.text.along('n')}",
            f"            e = {source}[j]",
            f"            if ({found}) & (j < {name}):",
            f"                {name} = i64(j)",
            *across_threads(self.text, reduction.reduce_min, np.dtype(np.int64), name, "        "),
        ]


def _held(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which threads hand on an element."""
    return np.dtype(np.int32) if dtype.itemsize == 1 else dtype


def across_threads(text: GpuText, op: Op, dtype: np.dtype[Any], name: str, indent: str) -> list[str]:
    """Lines after which variable `name` of every thread is the reduction of those of all threads."""
    short = SHORT_NAMES[dtype]
    other = f"other_{short}"
    lines: list[str] = []
    for mask in (16, 8, 4, 2, 1):
        lines.append(f"{indent}{other} = shuffle_xor_{short}({name}, {mask})")
        lines.append(f"{indent}{name} = {combine(op, dtype, name, other)}")
    warps = text.threads // WARP
    if warps == 1:
        return lines
    shared = text.shared(f"warps_{short}", short, warps)
    lines += [
        f"{indent}if thread_index() % {WARP} == 0:",
        f"{indent}    {shared}[thread_index() // {WARP}] = {name}",
        f"{indent}barrier()",
        f"{indent}{name} = {shared}[0]",
    ]
    for warp in range(1, warps):
        lines.append(f"{indent}{name} = {combine(op, dtype, name, f'{shared}[{warp}]')}")
    return [*lines, f"{indent}barrier()"]


_THREADS = 128


def combine_parts(op: Op, dtype: np.dtype[Any], parts: Address, result: Address, count: int, size: int) -> Launch:
    """The reduction of `count` parts of `size` elements each, a thread an element: 64 parts in the order of their tiles
    into the place of the first, then 64 of these sums in the same way, and so on.
    """
    text = GpuText(-(-size // _THREADS), _THREADS)
    short = SHORT_NAMES[dtype]
    text.head += [
        f"    parts, o = array_{short}({text.word(parts)}, 0), array_{short}({text.word(result)}, 0)",
        f"    count, n = {text.word(count)}, {text.word(size)}",
    ]
    text.lines += [
        f"    j = tile * {_THREADS} + thread_index()",
        "    if j < n:",
        "        stride = i64(1)",
        "        while stride * 64 < count:",
        "            for first in range(0, count, stride * 64):",
        "                total = parts[first * n + j]",
        "                stop = count if count < first + stride * 64 else first + stride * 64",
        "                for t in range(first + stride, stop, stride):",
        f"                    total = {combine(op, dtype, 'total', 'parts[t * n + j]')}",
        "                parts[first * n + j] = total",
        "            stride = stride * 64",
        "        total = parts[j]",
        "        for t in range(stride, count, stride):",
        f"            total = {combine(op, dtype, 'total', 'parts[t * n + j]')}",
        "        o[j] = total",
    ]
    return text.launch()
