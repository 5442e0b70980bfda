"""Complex numbers in memory, real and imaginary part by turns, as arrays of the one and of the other, and back."""

from __future__ import annotations

import math

from ...ir import SHORT_NAMES, DType, Node, part_dtype
from ...ir.ops.complex_numbers import planes
from ...passes.memory.plan import Plan
from .data_movement import rows_of_tile
from .launch import TILE, Call, Launch, Pointer, Traps


def lower_planes(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of blocks of elements, for either direction; a plane of a block lies before the other."""
    apart = node.op is planes
    numbers = (node.inputs[0] if apart else node.output).type
    plane: int = node.attrs["plane"]
    length = math.prod(numbers.shape[plane:])
    step, parts = rows_of_tile(length, 2)
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    args = [TILE, parts, step, length, *operands]
    kernel = _planes_kernel(part_dtype(numbers.dtype), apart)
    return [Launch(parts * math.prod(numbers.shape[:plane]), [Call(kernel, args)])]


def _planes_kernel(dtype: DType, apart: bool) -> str:
    """Args: tile, tiles of a block, elements of a tile, elements of a block, array, result."""
    short = SHORT_NAMES[dtype]
    move = "re[j], im[j] = z[2 * j], z[2 * j + 1]" if apart else "z[2 * j], z[2 * j + 1] = re[j], im[j]"
    planes, numbers = (5, 4) if apart else (4, 5)
    return f"""
def kernel(b):
    tile, parts, step, length = word(b, 0), word(b, 1), word(b, 2), word(b, 3)
    block = tile // parts
    first = (tile - block * parts) * step
    n = step if first + step < length else length - first
    z = window(array_{short}(word(b, {numbers}), 0), 2 * (block * length + first), 2 * n)
    both = array_{short}(word(b, {planes}), 0)
    re, im = window(both, 2 * block * length + first, n), window(both, (2 * block + 1) * length + first, n)
    for j in range(n):
        {move}
    return i64(0)
"""
