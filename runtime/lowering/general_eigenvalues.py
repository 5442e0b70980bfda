"""Eigenvalues of matrices that need not be symmetric, one after the other, by LAPACK on the thread that calls it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, node_workspace
from ...ir.ops.general_eigenvalues import eig_work_elements
from ...passes.memory.plan import Plan
from .batch_axes import batch_numbers, batch_source
from .lapack_call import lapack_routine, matrix_strides
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps


def lower_eig(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    x = plan.views[node.inputs[0]]
    dtype = x.base.type.dtype
    n = x.shape[-1]
    places = [Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))]
    for count in (n * n, n * n, n, n):
        places.append(places[-1].plus(count * dtype.itemsize))
    args: list[Arg] = [TILE, Pointer.to(x), Pointer.to(plan.views[node.output]), n, *places, eig_work_elements(n)]
    args += [lapack_routine("geev", dtype), traps.code(node, n), *matrix_strides(x)]
    args += batch_numbers(len(x.shape) - 2, x)
    return [Launch(math.prod(x.shape[:-2]) if n else 0, [Call(_eig_kernel(dtype), args)])]


def _eig_kernel(dtype: np.dtype[Any]) -> str:
    """Args: matrix, A, result, n; 4: memory for A, vectors, both parts of eigenvalues, and to work in, the elements of
    this; 10: geev, code of a trap; 12: strides of A, batch.

    Of a pair of conjugate eigenvalues LAPACK gives the real part of the vectors, then the imaginary one of the first.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    return f"""
def kernel(b):
    batch, a, n, h, vectors = word(b, 0), word(b, 1), word(b, 3), word(b, 4), word(b, 5)
    real = word(b, 2) + batch * 2 * (n + 1) * n * {size}
    imaginary = real + (n + 1) * n * {size}
    {batch_source(14, "a")}
    bad = i64(0)
    for i in range(n):
        source = array_{short}(a + i * word(b, 12), 0)
        for j in range(n):
            target = array_{short}(h + j * n * {size}, 0)
            value = source[j * word(b, 13)]
            target[i] = value
            if value - value != {short}(0):
                bad = i64(1)
    if bad != 0:
        return word(b, 11)
    if geev_{short}(
        word(b, 10), n, h, n, word(b, 6), word(b, 7), vectors, n, vectors, n, word(b, 8), word(b, 9)
    ) != 0:
        return word(b, 11)
    values, others = array_{short}(word(b, 6), 0), array_{short}(word(b, 7), 0)
    above, below = array_{short}(real, 0), array_{short}(imaginary, 0)
    for j in range(n):
        above[j] = values[j]
        below[j] = others[j]
        first = j - 1 if others[j] < {short}(0) else j
        re = array_{short}(vectors + first * n * {size}, 0)
        im = array_{short}(vectors + (first + 1 if others[j] != {short}(0) else first) * n * {size}, 0)
        for i in range(n):
            above[(i + 1) * n + j] = re[i]
            turned = -im[i] if others[j] < {short}(0) else im[i]
            below[(i + 1) * n + j] = turned if others[j] != {short}(0) else {short}(0)
    return i64(0)
"""
