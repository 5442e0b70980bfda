"""Sorting lines, or the indices of their elements: insertion within short runs, then merges of neighbouring runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops.sorting import argsort
from ...passes.memory.plan import Plan
from .data_movement import rows_of_tile
from .launch import TILE, Call, Launch, Pointer, Scratch, Traps

_RUN = 16
"""Elements of a run that insertion sorts: shifting so few costs less than merging them."""


def lower_sort(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of lines."""
    (x,) = node.inputs
    shape, axis = x.type.shape, node.attrs["axis"]
    length, inner = shape[axis], math.prod(shape[axis + 1 :])
    lines = math.prod(shape[:axis]) * inner
    step, tiles = rows_of_tile(lines, length * max(1, length.bit_length()))
    operands = [Pointer.to(plan.views[v]) for v in (x, node.output)]
    line = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    source = _sort_kernel(x.type.dtype, node.op is argsort, node.attrs["descending"], inner > 1)
    return [Launch(tiles if length else 0, [Call(source, [TILE, step, lines, *operands, length, inner, line])])]


def is_before(dtype: np.dtype[Any], descending: bool) -> Callable[[str, str], str]:
    """What says in kernel source whether one element goes before another. NaN is larger than all others."""

    def before(a: str, b: str) -> str:
        one, other = (b, a) if descending else (a, b)
        return f"({one} < {other})" + (f" | (({other} != {other}) & ({one} == {one}))" if dtype.kind == "f" else "")

    return before


def _sort_kernel(dtype: np.dtype[Any], indices: bool, descending: bool, strided: bool) -> str:
    """Args: tile, lines of a tile, all lines, array, result, length of a line, elements from one to the next of a
    line, scratch of a worker: a line, and another where lines are `strided`.

    An element goes before those ahead of it only where it is smaller (larger, if `descending`); so equal ones keep
    their order, and the bits follow from the elements alone. NaN is larger than all others. Two lines are merged to and
    fro; the first merge begins in the one from which the last ends in the result.
    """
    key = "u8" if dtype.kind == "b" else SHORT_NAMES[dtype]
    item = "i64" if indices else key

    def of(element: str) -> str:
        """What an element of a line is sorted by."""
        return f"x[start + i64({element}) * stride]" if indices else element

    before = is_before(dtype, descending)
    own = "i64(k)" if indices else "x[start + k * stride]"
    lines = (
        """one, other = array_{0}(word(b, 7), 0), window(array_{0}(word(b, 7), 0), length, length)"""
        if strided
        else """one, other = window(o, start, length), array_{0}(word(b, 7), 0)"""
    ).format(item)
    result = (
        """for k in range(length):
            o[start + k * stride] = source[k]"""
        if strided
        else ""
    )
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{key}(word(b, 3), 0), array_{item}(word(b, 4), 0)
    length, stride = word(b, 5), word(b, 6)
    for line in range(first, last):
        block = line // stride
        start = block * length * stride + (line - block * stride)
        {lines}
        merges, width = i64(0), i64({_RUN})
        while width < length:
            merges += 1
            width = width * 2
        source, target = one, other
        if merges % 2 == 1:
            source, target = other, one
        for k in range(length):
            mine = {own}
            at = i64(k)
            bottom = k - k % {_RUN}
            while at > bottom:
                if {before(of("mine"), of("source[at - 1]"))}:
                    source[at] = source[at - 1]
                    at -= 1
                else:
                    break
            source[at] = mine
        width = i64({_RUN})
        while width < length:
            for left in range(0, length, 2 * width):
                middle = left + width if left + width < length else length
                right = middle + width if middle + width < length else length
                i, j = i64(left), i64(middle)
                for k in range(left, right):
                    take = i >= middle
                    if (i < middle) & (j < right):
                        take = {before(of("source[j]"), of("source[i]"))}
                    if take:
                        target[k] = source[j]
                        j += 1
                    else:
                        target[k] = source[i]
                        i += 1
            source, target = target, source
            width = width * 2
        {result}
    return i64(0)
"""
