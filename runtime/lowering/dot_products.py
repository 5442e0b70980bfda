"""Kernels of products whose rows and columns both lie along the sum: tiles of dot products."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...ir import SHORT_NAMES
from ...passes.graph.views import View
from ...passes.kernels.dot_products import is_interleaved, section_terms
from ...passes.kernels.matmul_tiles import DotTiles
from ...passes.target import Target
from .batch_axes import batch_numbers, batch_source


class _Side(NamedTuple):
    """Names in the kernel of what belongs to the rows of a tile, or to its columns."""

    index: str
    count: str
    extent: str
    largest: str
    large: str
    """How many have the largest extent; the others have one less."""
    at: str
    start: str
    stride: str
    of_c: str


def by_dots(x: View, y: View, cut: DotTiles, added: bool, target: Target) -> tuple[str, list[int]]:
    """The kernel's source, and the numbers behind the addresses of both operands and the result."""
    dtype = x.base.type.dtype
    m, k = x.shape[-2:]
    n = y.shape[-1]
    lines = [dtype.itemsize * stride for stride in (x.strides[-2], y.strides[-1])]
    numbers = [m, n, k, *lines, cut.rows, cut.columns, cut.across, cut.down * cut.across, int(added), *cut.most_dots]
    section = section_terms(k, target.vector_bytes // dtype.itemsize)
    source = _kernel(dtype, cut.dots, section, n > m, is_interleaved(y, target), target.vector_bytes)
    return source, numbers + batch_numbers(len(x.shape) - 2, x, y)


def _kernel(
    dtype: np.dtype[Any],
    shapes: tuple[tuple[int, int], ...],
    section: int,
    by_columns: bool,
    interleaved: bool,
    vector_bytes: int,
) -> str:
    """One tile of a batch of matrix products. Blocks of rows are walked in blocks of columns, section by section of the
    sum, of so many terms, before they are added to C. Columns of B may be `interleaved`, all of them in one tile then.

    Args: tile, A, B, C; 4: m, n, k; 7: bytes from row to row of A, from column to column of B; 9: rows and columns of a
    tile, tiles across, tiles of one product; 13: whether C is added to, rows and columns of the largest tile of dot
    products, batch axes, and for each batch axis: length, bytes in A, in B.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    lanes = vector_bytes // size
    definitions = [f"dots_{r}_{s} = tile_dots({short!r}, {lanes}, {r}, {s}{', True' * interleaved})" for r, s in shapes]
    calls: list[str] = []
    for r, s in shapes:
        calls.append(f"{'elif' if calls else 'if'} (height == {r}) & (width == {s}):")
        calls.append(f"    dots_{r}_{s}(of_a, word(b, 7), of_b, word(b, 8), to, {size} * n, terms, more)")
    newline = "\n" + " " * 16
    rows = _Side("i", "down", "height", "tallest", "tall", "of_a", "a", "word(b, 7)", f"{size} * height * n")
    columns = _Side("j", "right", "width", "widest", "wide", "of_b", "bb", "word(b, 8)", f"{size} * width")
    outer, inner = (columns, rows) if by_columns else (rows, columns)
    starts = {"a": f"a + {size} * begin", "bb": f"bb + {size} * {'n * ' * interleaved}begin"}
    walk = f"""{outer.at}, of_c = {starts[outer.start]}, c
        for {outer.index} in range({outer.count}):
            {outer.extent} = {outer.largest} if {outer.index} < {outer.large} else {outer.largest} - 1
            {inner.at}, to = {starts[inner.start]}, of_c
            for {inner.index} in range({inner.count}):
                {inner.extent} = {inner.largest} if {inner.index} < {inner.large} else {inner.largest} - 1
                {newline.join(calls)}
                {inner.at} += {inner.extent} * {inner.stride}
                to += {inner.of_c}
            {outer.at} += {outer.extent} * {outer.stride}
            of_c += {outer.of_c}"""
    return f"""
{chr(10).join(definitions)}


def kernel(b):
    m, n, k = word(b, 4), word(b, 5), word(b, 6)
    across, in_product = word(b, 11), word(b, 12)
    batch = word(b, 0) // in_product
    t = word(b, 0) - batch * in_product
    first_row = t // across
    first_column = (t - first_row * across) * word(b, 10)
    first_row = first_row * word(b, 9)
    a, bb = word(b, 1), word(b, 2)
    {batch_source(16, "a", "bb")}
    rows = m - first_row if m - first_row < word(b, 9) else word(b, 9)
    columns = n - first_column if n - first_column < word(b, 10) else word(b, 10)
    a += first_row * word(b, 7)
    bb += first_column * word(b, 8)
    c = word(b, 3) + {size} * ((batch * m + first_row) * n + first_column)
    down = (rows + word(b, 14) - 1) // word(b, 14)
    tallest = (rows + down - 1) // down
    tall = rows - down * (tallest - 1)
    right = (columns + word(b, 15) - 1) // word(b, 15)
    widest = (columns + right - 1) // right
    wide = columns - right * (widest - 1)
    for begin in range(0, k, {section}):
        terms = k - begin if k - begin < {section} else i64({section})
        more = word(b, 13) if begin == 0 else i64(1)
        {walk}
    return i64(0)
"""
