"""Transposed copies on a GPU, square by square through shared memory: threads that are neighbours read neighbours, and
write neighbours.
"""

from __future__ import annotations

import math

import numpy as np

from ...ir import Node
from ...passes.memory.plan import Plan
from .data_movement import moved
from .gpu_text import WARP, GpuText
from .launch import Launch, Pointer
from .transposition import copies_of

_DOWN = 8
"""Rows of a square that the threads of a block take at a time, a warp each."""


def gpu_transposed_copies(node: Node, plan: Plan) -> list[Launch] | None:
    """The launches of a region of nothing but transposed copies, which run concurrently; else None."""
    copies = copies_of(node, plan)
    if copies is None:
        return None
    launches: list[Launch] = []
    for view, copy, output in copies:
        down, across = -(-copy.rows // WARP), -(-copy.columns // WARP)
        text = GpuText(math.prod(n for n, _ in copy.batch) * down * across, WARP * _DOWN)
        short = moved(np.dtype(f"i{copy.itemsize}"))
        square = text.shared("square", short, WARP * (WARP + 1))
        for name, address in (("x", Pointer.to(view)), ("o", Pointer(output))):
            text.head.append(f"    {name} = array_{short}({text.word(address)}, 0)")
        for name, value in (("rows", copy.rows), ("columns", copy.columns), ("apart", copy.column_stride)):
            text.number(name, value)
        text.number("down", down)
        text.number("across", across)
        lines = [
            "entry = tile // (down * across)",
            f"row = (tile // across - entry * down) * {WARP}",
            f"column = tile % across * {WARP}",
            f"left, top = thread_index() % {WARP}, thread_index() // {WARP}",
            "source, target = i64(0), entry * rows * columns",
        ]
        for length, stride in reversed(copy.batch):
            lines.append(f"source = source + entry % {text.stride(length)} * {text.stride(stride)}")
            lines.append(f"entry = entry // {text.stride(length)}")
        for k in range(0, WARP, _DOWN):
            lines += [
                f"if (row + left < rows) & (column + top + {k} < columns):",
                f"    {square}[(top + {k}) * {WARP + 1} + left] = "
                f"x[source + row + left + (column + top + {k}) * apart]",
            ]
        lines.append("barrier()")
        for k in range(0, WARP, _DOWN):
            lines += [
                f"if (row + top + {k} < rows) & (column + left < columns):",
                f"    o[target + (row + top + {k}) * columns + column + left] = "
                f"{square}[left * {WARP + 1} + top + {k}]",
            ]
        lines.append("barrier()")
        text.lines += [f"    {line}" for line in lines]
        launches.append(text.launch(concurrent=bool(launches)))
    return launches
