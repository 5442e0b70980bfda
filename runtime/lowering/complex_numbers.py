"""Complex numbers in memory, real and imaginary part by turns, as two arrays one behind the other, and back."""

from __future__ import annotations

from ...ir import SHORT_NAMES, DType, Node, part_dtype
from ...ir.ops.complex_numbers import planes
from ...passes.memory.plan import Plan
from .data_movement import rows_of_tile
from .launch import TILE, Call, Launch, Pointer, Traps


def lower_planes(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of elements, for either direction."""
    apart = node.op is planes
    numbers = (node.inputs[0] if apart else node.output).type
    step, tiles = rows_of_tile(numbers.size, 2)
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    args = [TILE, step, numbers.size, *operands]
    return [Launch(tiles, [Call(_planes_kernel(part_dtype(numbers.dtype), apart), args)])]


def _planes_kernel(dtype: DType, apart: bool) -> str:
    """Args: tile, elements of a tile, all elements, array, result."""
    short = SHORT_NAMES[dtype]
    move = "re[j], im[j] = z[2 * j], z[2 * j + 1]" if apart else "z[2 * j], z[2 * j + 1] = re[j], im[j]"
    planes, numbers = (4, 3) if apart else (3, 4)
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    z, both = array_{short}(word(b, {numbers}), 0), array_{short}(word(b, {planes}), 0)
    n = last - first
    z = window(z, 2 * first, 2 * n)
    re, im = window(both, first, n), window(both, word(b, 2) + first, n)
    for j in range(n):
        {move}
    return i64(0)
"""
