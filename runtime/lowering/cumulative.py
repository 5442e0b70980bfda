"""Cumulative sums and products along an axis, one block of rows after the other."""

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops.reduction import cumprod, runs_in_float64
from ...passes.memory.plan import Plan
from .data_movement import rows_of_tile
from .launch import TILE, Call, Launch, Pointer, Scratch, Traps


def lower_cumulative(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of blocks, which stand before the axis."""
    shape, axis = node.output.type.shape, node.attrs["axis"]
    blocks, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    step, tiles = rows_of_tile(blocks, shape[axis] * inner)
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    line = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    args = [TILE, step, blocks, *operands, shape[axis], inner, int(node.attrs.get("reverse", False)), line]
    way = "before" if not runs_in_float64(node.output.type, axis) else "register" if inner == 1 else "line"
    sign = "*" if node.op is cumprod else "+"
    return [Launch(tiles, [Call(_cumulative_kernel(sign, node.output.type.dtype, way), args)])]


def _cumulative_kernel(sign: str, dtype: np.dtype[Any], way: str) -> str:
    """Sums (`+`) or products (`*`). Args: tile, blocks of a tile, all blocks, array, result, length, inner, whether
    from the end, line of a worker.

    By its `way` an element is made of the one `before` it and its own, or of all before it in float64: in a `register`,
    where there is one column, or in a `line` of the worker. A chain as long as the axis would lose digits in float32.
    """
    short = SHORT_NAMES[dtype]
    neutral = {"+": "f64(-0.0)", "*": "f64(1.0)"}[sign]  # 0 + -0 would be 0
    both = f"before[j] {sign} source[j]" if dtype.kind == "f" else f"{short}(before[j] {sign} source[j])"
    start, step = (
        "",
        f"""if k == 0:
                for j in range(inner):
                    target[j] = source[j]
            else:
                before = window(o, (block * length + (i + 1 if backwards else i - 1)) * inner, inner)
                for j in range(inner):
                    target[j] = {both}""",
    )
    if way == "register":
        start, step = (
            f"total = {neutral}",
            f"""total = total {sign} f64(source[0])
            target[0] = f32(total)""",
        )
    elif way == "line":
        start, step = (
            f"""for j in range(inner):
            totals[j] = {neutral}""",
            f"""for j in range(inner):
                totals[j] = totals[j] {sign} f64(source[j])
                target[j] = f32(totals[j])""",
        )
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0)
    length, inner, backwards = word(b, 5), word(b, 6), word(b, 7)
    totals = array_f64(word(b, 8), 0)
    for block in range(first, last):
        {start}
        for k in range(length):
            i = length - 1 - k if backwards else k
            source = window(x, (block * length + i) * inner, inner)
            target = window(o, (block * length + i) * inner, inner)
            {step}
    return i64(0)
"""
