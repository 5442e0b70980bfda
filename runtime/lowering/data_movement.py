"""Copies, concatenation, padding and look-ups: units that move elements and compute none.

An element that is only moved is an integer of its size. Sizes are arguments, source is made for each dtype. Every
kernel's docstring lists its arguments in their order.
"""

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, ArrayType, Node
from ...passes.kernels.accumulators import accumulated_input
from ...passes.memory.plan import Plan
from .launch import TILE, Address, Call, Launch, Pointer, Traps

TILE_ELEMENTS = 1 << 15
"""Elements that one tile of a copying kernel moves."""

_MOVED = {1: "u8", 2: "u16", 4: "i32", 8: "i64"}


def rows_of_tile(rows: int, inner: int) -> tuple[int, int]:
    """Rows of a tile and number of tiles for a kernel that moves `rows` rows of `inner` elements."""
    step = max(1, min(max(rows, 1), TILE_ELEMENTS // max(inner, 1)))
    return step, -(-rows // step)


def copy_rows(source: Address, target: Address, dtype: np.dtype[Any], rows: int, n: int, stride: int) -> Launch:
    """A copy of `rows` rows of `n` elements, to rows that begin `stride` elements after one another."""
    step, tiles = rows_of_tile(rows, n)
    return Launch(tiles, [Call(_copy_rows_kernel(dtype), [TILE, step, rows, source, target, n, stride])])


def copy_elements(source: Address, target: Address, type: ArrayType) -> Launch:
    """A copy of all elements of an array of this type."""
    return copy_rows(source, target, type.dtype, 1, type.size, type.size)


def lower_move(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """A copy: all is in one memory."""
    return [copy_elements(Pointer.to(plan.views[node.inputs[0]]), Pointer(node.output), node.output.type)]


def begin_accumulators(node: Node, plan: Plan) -> list[Launch]:
    """Copies of the inputs that a unit adds to, to where it does so, unless that is their place."""
    launches: list[Launch] = []
    for o, value in enumerate(node.outputs):
        added = accumulated_input(node, o)
        if added is not None and o not in plan.in_place.get(node, {}):
            launches.append(copy_elements(Pointer.to(plan.views[node.inputs[added]]), Pointer(value), value.type))
    return launches


def lower_concatenate(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """Copies of all inputs to their rows of the result, which run concurrently."""
    shape, axis, dtype = node.output.type.shape, node.attrs["axis"], node.output.type.dtype
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    launches: list[Launch] = []
    done = 0
    for value in node.inputs:
        length = value.type.shape[axis]
        target = Pointer(node.output, done * inner * dtype.itemsize)
        source = Pointer.to(plan.views[value])
        launch = copy_rows(source, target, dtype, outer, length * inner, shape[axis] * inner)
        launch.concurrent = bool(launches)
        launches.append(launch)
        done += length
    return launches


def lower_gather(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows; an index out of range is a trap."""
    x, indices = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    outer, inner = math.prod(x.shape[batch:axis]), math.prod(x.shape[axis + 1 :])
    count = math.prod(indices.shape[batch:])
    rows = math.prod(x.shape[:batch]) * outer * count
    step, tiles = rows_of_tile(rows, inner)
    operands = [Pointer.to(plan.views[v]) for v in (*node.inputs, node.output)]
    code = traps.code(node, x.shape[axis])
    args = [code, TILE, step, rows, *operands, outer, x.shape[axis], inner, count]
    return [Launch(tiles, [Call(_gather_kernel(x.dtype, indices.dtype), args)])]


def lower_pad(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch of one tile: the filling, then the elements of the input between it."""
    x, result = node.inputs[0].type, node.output.type
    attrs = node.attrs
    strides = [int(s) for s in np.cumprod([1, *result.shape[:0:-1]])[::-1]] if result.ndim else []
    start = sum(low * stride for low, stride in zip(attrs["low"], strides))
    axes = [(n, s * (i + 1)) for n, s, i in zip(x.shape, strides, attrs["interior"])] or [(1, 1)]
    filling = np.array(attrs["value"]).astype(result.dtype)
    bits = int(filling.view({1: "uint8", 2: "uint16", 4: "int32", 8: "int64"}[result.dtype.itemsize]))
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    args = [*operands, bits, result.size, len(axes), start, *(word for axis in axes for word in axis)]
    return [Launch(1, [Call(_pad_kernel(result.dtype), args)])]


def moved(dtype: np.dtype[Any]) -> str:
    """The element that stands for `dtype` where it is only moved."""
    return _MOVED[dtype.itemsize]


def _copy_rows_kernel(dtype: np.dtype[Any]) -> str:
    """Rows of elements into rows at a stride. Args: tile, rows of a tile, all rows, array, result,
    elements of a row, elements from one row of the result to the next.
    """
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{moved(dtype)}(word(b, 3), 0), array_{moved(dtype)}(word(b, 4), 0)
    n, stride = word(b, 5), word(b, 6)
    for r in range(first, last):
        source, target = window(x, r * n, n), window(o, r * stride, n)
        for j in range(n):
            target[j] = source[j]
    return i64(0)
"""


def _gather_kernel(dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """Args: code if an index is out of range, tile, rows of a tile, all rows, array, indices, result, outer, length,
    inner, indices of one batch.
    """
    return f"""
def kernel(b):
    first = word(b, 1) * word(b, 2)
    last = first + word(b, 2) if first + word(b, 2) < word(b, 3) else word(b, 3)
    x, o = array_{moved(dtype)}(word(b, 4), 0), array_{moved(dtype)}(word(b, 6), 0)
    at = array_{SHORT_NAMES[index]}(word(b, 5), 0)
    outer, length, inner, count = word(b, 7), word(b, 8), word(b, 9), word(b, 10)
    for r in range(first, last):
        block = r // count
        k = r - block * count
        place = i64(at[block // outer * count + k])
        if place < 0:
            place = place + length
        if (place < 0) | (place >= length):
            return word(b, 0)
        source = window(x, (block * length + place) * inner, inner)
        target = window(o, r * inner, inner)
        for j in range(inner):
            target[j] = source[j]
    return i64(0)
"""


def _pad_kernel(dtype: np.dtype[Any]) -> str:
    """Args: array, result, the filling element as an integer, elements of the result, axes, the first element of
    the window, then for each axis: length, elements of the result from one index to the next.
    """
    short = moved(dtype)
    return f"""
def kernel(b):
    x, o = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    value = {short}(word(b, 2))
    whole = window(o, 0, word(b, 3))
    for j in range(word(b, 3)):
        whole[j] = value
    axes = word(b, 4)
    start = word(b, 5)
    inner, stride = word(b, 4 + 2 * axes), word(b, 5 + 2 * axes)
    rows = 1
    for axis in range(axes - 1):
        rows = rows * word(b, 6 + 2 * axis)
    for r in range(rows):
        q, at = r, start
        for axis in range(axes - 2, -1, -1):
            length = word(b, 6 + 2 * axis)
            at += q % length * word(b, 7 + 2 * axis)
            q = q // length
        source = window(x, r * inner, inner)
        for j in range(inner):
            o[at + j * stride] = source[j]
    return i64(0)
"""
