"""Factors of matrices of any sides, one matrix after the other, by LAPACK on the thread that calls it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops.orthogonal_factors import qr_work_elements, svd_words
from ...passes.memory.plan import Plan
from .batch_axes import batch_numbers, batch_source
from .lapack_call import lapack_routine, matrix_strides
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps


def lower_qr(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    x = plan.views[node.inputs[0]]
    dtype = x.base.type.dtype
    m, n = x.shape[-2:]
    *batch, rows, _ = node.output.type.shape
    factors = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    scales = factors.plus(m * n * dtype.itemsize)
    work = scales.plus(min(m, n) * dtype.itemsize)
    args: list[Arg] = [TILE, Pointer.to(x), Pointer.to(plan.views[node.output]), m, n, rows, factors, scales, work]
    args += [qr_work_elements(m, n, rows), lapack_routine("geqrf", dtype), lapack_routine("orgqr", dtype)]
    args += [*matrix_strides(x), *batch_numbers(len(batch), x)]
    return [Launch(math.prod(batch) if rows else 0, [Call(_qr_kernel(dtype), args)])]


def lower_svd(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    x = plan.views[node.inputs[0]]
    dtype = x.base.type.dtype
    m, n = x.shape[-2:]
    *batch, k, _ = node.output.type.shape
    elements, _ = svd_words(m, n)
    places = [Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))]
    for count in (m * n, k, k * n, elements):
        places.append(places[-1].plus(count * dtype.itemsize))
    args: list[Arg] = [TILE, Pointer.to(x), Pointer.to(plan.views[node.output]), m, n, *places, elements]
    args += [lapack_routine("gesdd", dtype), traps.code(node, k), *matrix_strides(x), *batch_numbers(len(batch), x)]
    return [Launch(math.prod(batch) if k else 0, [Call(_svd_kernel(dtype), args)])]


def _qr_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result; 3: m, n, rows of the result; 6: memory for A, for the factors of its reflections, and to
    work in, the elements of this; 10: geqrf, orgqr; 12: strides of A, batch.

    A row of Qᵀ in a row of the result is a column of Q, as LAPACK has it.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, m, n, rows, h = word(b, 0), word(b, 1), word(b, 3), word(b, 4), word(b, 5), word(b, 6)
    k = m if m < n else n
    width = (m + n) * {size}
    o = word(b, 2) + batch * rows * width
    {batch_source(14, "a")}
    for i in range(m):
        source = array_{short}(a + i * word(b, 12), 0)
        for j in range(n):
            column = array_{short}(h + j * m * {size}, 0)
            column[i] = source[j * word(b, 13)]
    if k > 0:
        geqrf_{short}(word(b, 10), m, n, h, m, word(b, 7), word(b, 8), word(b, 9))
    for i in range(rows):
        target = array_{short}(o + i * width + m * {size}, 0)
        for j in range(n):
            column = array_{short}(h + j * m * {size}, 0)
            target[j] = column[i] if i <= j else {short}(0)
    for j in range(k):
        column, target = array_{short}(h + j * m * {size}, 0), array_{short}(o + j * width, 0)
        for i in range(m):
            target[i] = column[i]
    orgqr_{short}(word(b, 11), m, rows, k, o, m + n, word(b, 7), word(b, 8), word(b, 9))
    return i64(0)
"""


def _svd_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result; 3: m, n; 5: memory for A, singular values, right vectors, to work in, and integers; 10:
    the elements of what it works in, gesdd, code of a trap; 13: strides of A, batch.

    A row of Uᵀ in a row of the result is a column of U, as LAPACK has it; those of V are turned.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, m, n, h, right = word(b, 0), word(b, 1), word(b, 3), word(b, 4), word(b, 5), word(b, 7)
    k = m if m < n else n
    width = (m + 1 + n) * {size}
    o = word(b, 2) + batch * k * width
    {batch_source(15, "a")}
    for i in range(m):
        source = array_{short}(a + i * word(b, 13), 0)
        for j in range(n):
            column = array_{short}(h + j * m * {size}, 0)
            column[i] = source[j * word(b, 14)]
    if gesdd_{short}(
        word(b, 11), m, n, h, m, word(b, 6), o, m + 1 + n, right, k, word(b, 8), word(b, 10), word(b, 9)
    ) != 0:
        return word(b, 12)
    values = array_{short}(word(b, 6), 0)
    for i in range(k):
        target = array_{short}(o + i * width + m * {size}, 0)
        target[0] = values[i]
        for j in range(n):
            column = array_{short}(right + j * k * {size}, 0)
            target[j + 1] = column[i]
    return i64(0)
"""
