"""Factors of matrices and linear systems, one matrix after the other, by LAPACK on the thread that calls it.

A matrix in memory row by row is, for LAPACK, its transpose.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops import linalg
from ...passes.memory.plan import Plan
from .batch_axes import batch_numbers, batch_source
from .lapack_call import lapack_routine, matrix_strides
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps

_COLUMNS = 128
"""Columns of the right side that one tile solves for; each tile reads the whole triangle."""


def lower_linalg(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch, and over some columns of the right side where they are apart."""
    x = plan.views[node.inputs[0]]
    dtype = x.base.type.dtype
    matrices, n = math.prod(x.shape[:-2]), x.shape[-1]
    result = Pointer.to(plan.views[node.output])
    if node.op is linalg.triangular_solve:
        return _solve_triangles(node, plan, matrices)
    args: list[Arg] = [TILE, *(Pointer.to(plan.views[v]) for v in node.inputs), result, n]
    if node.op is linalg.cholesky:
        args += [lapack_routine("potrf", dtype), traps.code(node, n), *matrix_strides(x)]
        args += batch_numbers(len(x.shape) - 2, x)
        return [Launch(matrices if n else 0, [Call(_cholesky_kernel(dtype), args)])]
    scratch = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    if node.op is linalg.eigh:
        work = scratch.plus(n * n * dtype.itemsize)
        elements, integers = linalg.eigh_words(n)
        args += [scratch, work, elements, work.plus(elements * dtype.itemsize), integers]
        args += [lapack_routine("syevd", dtype), traps.code(node, n), *matrix_strides(x)]
        args += batch_numbers(len(x.shape) - 2, x)
        return [Launch(matrices if n else 0, [Call(_eigh_kernel(dtype), args)])]
    args += [scratch, scratch.plus(n * n * dtype.itemsize), lapack_routine("getrf", dtype)]
    if node.op is linalg.slogdet:
        args += [*matrix_strides(x), *batch_numbers(len(x.shape) - 2, x)]
        return [Launch(matrices, [Call(_slogdet_kernel(dtype), args)])]
    y = plan.views[node.inputs[1]]
    args += [lapack_routine("trsm", dtype), traps.code(node, n), y.shape[-1], *matrix_strides(x), *matrix_strides(y)]
    args += batch_numbers(len(x.shape) - 2, x, y)
    return [Launch(matrices if n else 0, [Call(_solve_kernel(dtype), args)])]


def _solve_triangles(node: Node, plan: Plan, matrices: int) -> list[Launch]:
    a, y = node.inputs
    n, columns = y.type.shape[-2:]
    across = -(-columns // _COLUMNS)
    operands = [Pointer.to(plan.views[v]) for v in (a, y, node.output)]
    routine = lapack_routine("trsm", a.type.dtype)
    args = [TILE, *operands, routine, n, columns, across, int(not node.attrs["lower"])]
    return [Launch(matrices * across if n else 0, [Call(_triangular_solve_kernel(a.type.dtype), args)])]


def _cholesky_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result, n, potrf, code of a trap; 6: strides of A, batch.

    The lower triangle of a row-major matrix is LAPACK's upper one.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, n = word(b, 0), word(b, 1), word(b, 3)
    o = word(b, 2) + batch * n * n * {size}
    {batch_source(8, "a")}
    for i in range(n):
        source, target = array_{short}(a + i * word(b, 6), 0), array_{short}(o + i * n * {size}, 0)
        for j in range(i + 1):
            target[j] = source[j * word(b, 7)]
        for j in range(i + 1, n):
            target[j] = {short}(0)
    if potrf_{short}(word(b, 4), n, o, n) != 0:
        return word(b, 5)
    return i64(0)
"""


def _eigh_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result, n; 4: scratch for A, memory to work in and its elements, for integers and its number,
    syevd, code of a trap; 11: strides of A, batch.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, n, vectors = word(b, 0), word(b, 1), word(b, 3), word(b, 4)
    o = word(b, 2) + batch * (n + 1) * n * {size}
    {batch_source(13, "a")}
    for i in range(n):
        source = array_{short}(a + i * word(b, 11), 0)
        for j in range(n):
            target = array_{short}(vectors + j * n * {size}, 0)
            target[i] = source[j * word(b, 12)]
    if syevd_{short}(word(b, 9), n, vectors, n, o, word(b, 5), word(b, 6), word(b, 7), word(b, 8)) != 0:
        return word(b, 10)
    for i in range(n):
        source = array_{short}(vectors + i * n * {size}, 0)
        for j in range(n):
            target = array_{short}(o + (j + 1) * n * {size}, 0)
            target[i] = source[j]
    return i64(0)
"""


def _triangular_solve_kernel(dtype: np.dtype[Any]) -> str:
    """Args: tile, A, right side, result, trsm, n, columns, tiles across, whether A is an upper triangle.

    Row by row, A X = B is Xᵀ Aᵀ = Bᵀ for BLAS, and Aᵀ what it reads where A stands.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    n, columns, across = word(b, 5), word(b, 6), word(b, 7)
    matrix = word(b, 0) // across
    first = (word(b, 0) - matrix * across) * {_COLUMNS}
    count = columns - first if columns - first < {_COLUMNS} else i64({_COLUMNS})
    begin = (matrix * n * columns + first) * {size}
    for i in range(n):
        source = array_{short}(word(b, 2) + begin + i * columns * {size}, 0)
        target = array_{short}(word(b, 3) + begin + i * columns * {size}, 0)
        for j in range(count):
            target[j] = source[j]
    at = word(b, 1) + matrix * n * n * {size}
    trsm_{short}(word(b, 4), word(b, 8), 0, 0, count, n, at, n, word(b, 3) + begin, columns)
    return i64(0)
"""


def _column_major(short: str, size: int, row: str, column: str) -> str:
    """Copies A to the worker's scratch, where LAPACK reads it as it is."""
    return f"""for i in range(n):
        source = array_{short}(a + i * {row}, 0)
        for j in range(n):
            factor = array_{short}(lu + j * n * {size}, 0)
            factor[i] = source[j * {column}]"""


def _solve_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, right side, result, n; 5: scratch for A and for exchanged rows, getrf, trsm, code of a trap,
    columns; 11: strides of A and of the right side, batch.

    P A = L U. So A X = B is Xᵀ Uᵀ Lᵀ = (P B)ᵀ, which BLAS solves where B stands row by row.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, y, n, lu, columns = word(b, 0), word(b, 1), word(b, 2), word(b, 4), word(b, 5), word(b, 10)
    o = word(b, 3) + batch * n * columns * {size}
    {batch_source(15, "a", "y")}
    {_column_major(short, size, "word(b, 11)", "word(b, 12)")}
    if getrf_{short}(word(b, 7), n, n, lu, n, word(b, 6)) != 0:
        return word(b, 9)
    for i in range(n):
        source, target = array_{short}(y + i * word(b, 13), 0), array_{short}(o + i * columns * {size}, 0)
        for j in range(columns):
            target[j] = source[j * word(b, 14)]
    pivots = array_i32(word(b, 6), 0)
    for i in range(n):
        other = i64(pivots[i]) - 1
        if other != i:
            one, two = array_{short}(o + i * columns * {size}, 0), array_{short}(o + other * columns * {size}, 0)
            for j in range(columns):
                kept = one[j]
                one[j] = two[j]
                two[j] = kept
    if columns > 0:
        trsm_{short}(word(b, 8), 1, 1, 1, columns, n, lu, n, o, columns)
        trsm_{short}(word(b, 8), 0, 1, 0, columns, n, lu, n, o, columns)
    return i64(0)
"""


def _slogdet_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result, n; 4: scratch for A and for exchanged rows, getrf; 7: strides of A, batch."""
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, n, lu = word(b, 0), word(b, 1), word(b, 3), word(b, 4)
    o = array_{short}(word(b, 2) + batch * 2 * {size}, 0)
    {batch_source(9, "a")}
    {_column_major(short, size, "word(b, 7)", "word(b, 8)")}
    sign, total = {short}(1), {short}(0)
    if n > 0:
        if getrf_{short}(word(b, 6), n, n, lu, n, word(b, 5)) != 0:
            o[0] = {short}(0)
            o[1] = {short}(-inf)
            return i64(0)
    pivots = array_i32(word(b, 5), 0)
    for i in range(n):
        row = array_{short}(lu + i * n * {size}, 0)
        found = row[i]
        if i64(pivots[i]) != i + 1:
            sign = -sign
        if found < {short}(0):
            sign = -sign
            found = -found
        total = total + log_{short}(found)
    o[0] = sign
    o[1] = total
    return i64(0)
"""
