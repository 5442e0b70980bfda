"""Factors of matrices of any sides by elimination, one after the other, by LAPACK on the thread that calls it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...passes.memory.plan import Plan
from .batch_axes import batch_numbers, batch_source
from .lapack_call import lapack_routine, matrix_strides
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps


def lower_lu(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    x = plan.views[node.inputs[0]]
    dtype = x.base.type.dtype
    m, n = x.shape[-2:]
    factors = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    args: list[Arg] = [TILE, Pointer.to(x), Pointer.to(plan.views[node.output]), m, n, factors]
    args += [factors.plus(m * n * dtype.itemsize), lapack_routine("getrf", dtype), *matrix_strides(x)]
    args += batch_numbers(len(x.shape) - 2, x)
    return [Launch(math.prod(x.shape[:-2]) if m else 0, [Call(_lu_kernel(dtype), args)])]


def _lu_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result, m, n; 5: memory for A and for exchanged rows, getrf; 8: strides of A, batch."""
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, m, n, h = word(b, 0), word(b, 1), word(b, 3), word(b, 4), word(b, 5)
    k = m if m < n else n
    o = array_{short}(word(b, 2) + batch * m * (n + 1) * {size}, 0)
    {batch_source(10, "a")}
    for i in range(m):
        source = array_{short}(a + i * word(b, 8), 0)
        for j in range(n):
            column = array_{short}(h + j * m * {size}, 0)
            column[i] = source[j * word(b, 9)]
    if k > 0:
        getrf_{short}(word(b, 7), m, n, h, m, word(b, 6))
    for i in range(m):
        o[i * (n + 1) + n] = {short}(i)
        for j in range(n):
            column = array_{short}(h + j * m * {size}, 0)
            o[i * (n + 1) + j] = column[i]
    pivots = array_i32(word(b, 6), 0)
    for i in range(k):
        other = i64(pivots[i]) - 1
        kept = o[i * (n + 1) + n]
        o[i * (n + 1) + n] = o[other * (n + 1) + n]
        o[other * (n + 1) + n] = kept
    return i64(0)
"""
