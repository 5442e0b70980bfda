"""Kernels that are the same for every program, as source: contraction, gather, scatter, running sums, copies.

Their sizes are words of the argument block; source is made for each dtype. An element that is only moved is an
integer of its size. Every template says what its words are, in their order.
"""

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES
from .loops import combine as combine_parts

_MOVED = {1: "u8", 4: "i32", 8: "i64"}


def moved(dtype: np.dtype[Any]) -> str:
    """The element that stands for `dtype` where it is only moved."""
    return _MOVED[dtype.itemsize]


def dot(dtype: np.dtype[Any]) -> str:
    """One tile of a batch of matrix products.

    Words: tile, BLAS function, A, B, C, m, n, k, lda, ldb, A transposed, B transposed, rows and columns of a tile,
    tiles across, tiles of one product, whether C is added to, batch axes, and for each batch
    axis: length, bytes in A, bytes in B.
    """
    short = SHORT_NAMES[dtype]
    product = f"word(b, 1), ta, tb, rows, columns, k, {short}(1), a, lda, bb, ldb"
    call = f"gemm_{short}({product}, {short}(word(b, 16)), c, n)"
    if dtype.kind != "f":
        call = f"""x, y, z = array_{short}(a, 0), array_{short}(bb, 0), array_{short}(c, 0)
    for r in range(rows):
        target = window(z, r * n, columns)
        if word(b, 16) == 0:
            for j in range(columns):
                target[j] = {short}(0)
        for l in range(k):
            left = x[l * lda + r] if ta else x[r * lda + l]
            for j in range(columns):
                right = y[j * ldb + l] if tb else y[l * ldb + j]
                target[j] = {short}(target[j] + left * right)"""
    return f"""
def kernel(b):
    m, n, k, lda, ldb = word(b, 5), word(b, 6), word(b, 7), word(b, 8), word(b, 9)
    ta, tb, tile_rows, tile_columns = word(b, 10), word(b, 11), word(b, 12), word(b, 13)
    across, in_product = word(b, 14), word(b, 15)
    batch = word(b, 0) // in_product
    t = word(b, 0) - batch * in_product
    i = t // across
    j = (t - i * across) * tile_columns
    i = i * tile_rows
    a, bb = word(b, 2), word(b, 3)
    q = batch
    for axis in range(word(b, 17) - 1, -1, -1):
        length = word(b, 18 + 3 * axis)
        index = q % length
        q = q // length
        a += index * word(b, 19 + 3 * axis)
        bb += index * word(b, 20 + 3 * axis)
    rows = m - i if m - i < tile_rows else tile_rows
    columns = n - j if n - j < tile_columns else tile_columns
    a += {dtype.itemsize} * (i if ta else i * lda)
    bb += {dtype.itemsize} * (j * ldb if tb else j)
    c = word(b, 4) + {dtype.itemsize} * ((batch * m + i) * n + j)
    {call}
    return i64(0)
"""


def gather(dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """Words: code if an index is out of range, tile, rows of a tile, all rows, array, indices, result, outer, length,
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


def scatter_add(dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """A tile of columns of some blocks, which stand before the axis: all updates are added to them in their order.

    Words: code if an index is out of range, tile, columns of a tile, array, indices, updates, result, blocks of a tile,
    all blocks, blocks of a batch, length, inner, indices of one batch, whether the result is the array itself.
    """
    short = SHORT_NAMES[dtype]
    add = "target[j] + source[j]" if dtype.kind == "f" else f"{short}(target[j] + source[j])"
    return f"""
def kernel(b):
    x, at = array_{short}(word(b, 3), 0), array_{SHORT_NAMES[index]}(word(b, 4), 0)
    u, o = array_{short}(word(b, 5), 0), array_{short}(word(b, 6), 0)
    blocks, outer, length, inner, count = word(b, 8), word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    across = (inner + word(b, 2) - 1) // word(b, 2)
    down = word(b, 1) // across
    first = (word(b, 1) - down * across) * word(b, 2)
    columns = inner - first if inner - first < word(b, 2) else word(b, 2)
    top = down * word(b, 7)
    bottom = top + word(b, 7) if top + word(b, 7) < blocks else blocks
    if word(b, 13) == 0:
        for r in range(top * length, bottom * length):
            source, target = window(x, r * inner + first, columns), window(o, r * inner + first, columns)
            for j in range(columns):
                target[j] = source[j]
    for block in range(top, bottom):
        n = block // outer
        for k in range(count):
            place = i64(at[n * count + k])
            if place < 0:
                place = place + length
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(o, (block * length + place) * inner + first, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = {add}
    return i64(0)
"""


def cumsum(dtype: np.dtype[Any]) -> str:
    """Words: tile, blocks of a tile, all blocks, array, result, length, inner, whether from the end."""
    short = SHORT_NAMES[dtype]
    add = "before[j] + source[j]" if dtype.kind == "f" else f"{short}(before[j] + source[j])"
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0)
    length, inner, backwards = word(b, 5), word(b, 6), word(b, 7)
    for block in range(first, last):
        for k in range(length):
            i = length - 1 - k if backwards else k
            source = window(x, (block * length + i) * inner, inner)
            target = window(o, (block * length + i) * inner, inner)
            if k == 0:
                for j in range(inner):
                    target[j] = source[j]
            else:
                before = window(o, (block * length + (i + 1 if backwards else i - 1)) * inner, inner)
                for j in range(inner):
                    target[j] = {add}
    return i64(0)
"""


def copy_rows(dtype: np.dtype[Any]) -> str:
    """Rows of elements into rows that lie further apart. Words: tile, rows of a tile, all rows, array, result,
    elements of a row, elements from one row of the result to the next.
    """
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{moved(dtype)}(word(b, 3), 0), array_{moved(dtype)}(word(b, 4), 0)
    n, apart = word(b, 5), word(b, 6)
    for r in range(first, last):
        source, target = window(x, r * n, n), window(o, r * apart, n)
        for j in range(n):
            target[j] = source[j]
    return i64(0)
"""


def pad(dtype: np.dtype[Any]) -> str:
    """Words: array, result, the filling element as an integer, elements of the result, axes, the first
    element of the window, then for each axis: length, elements of
    the result from one index to the next."""
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


def combine(op: str, dtype: np.dtype[Any]) -> str:
    """Parts of a reduction, in the order of their tiles. Words: parts, result, number of parts, elements of each."""
    short = SHORT_NAMES[dtype]
    text = combine_parts(op, dtype, "o[j]", "part[j]")
    return f"""
def kernel(b):
    parts, o = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    n = word(b, 3)
    for j in range(n):
        o[j] = parts[j]
    for t in range(1, word(b, 2)):
        part = window(parts, t * n, n)
        for j in range(n):
            o[j] = {text}
    return i64(0)
"""
