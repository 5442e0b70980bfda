"""Kernels of one row times a matrix in rows that comes from memory: a few rows of it are swept from end to end."""

from __future__ import annotations

from ...ir import SHORT_NAMES
from ...passes.graph.views import View
from ...passes.kernels.matmul_tiles import SWEPT_ROWS, DotTiles
from .batch_axes import batch_numbers, batch_source


def by_sweeps(x: View, y: View, cut: DotTiles, added: bool, begins: str, ends: str) -> tuple[str, list[int]]:
    """The kernel's source, and the numbers behind the addresses of both operands, the result and the sums of a group of
    sections. Where there are such, these lines begin a section of a group, and end one.
    """
    dtype = x.base.type.dtype
    (m, k), n, size = x.shape[-2:], y.shape[-1], dtype.itemsize
    assert m == 1
    numbers = [n, k, size * x.strides[-1], size * y.strides[-2], cut.columns, cut.across, int(added)]
    return _kernel(SHORT_NAMES[dtype], size, begins, ends), numbers + batch_numbers(len(x.shape) - 2, x, y)


def _kernel(short: str, size: int, begins: str, ends: str) -> str:
    """Some columns of a row. A section of the sum are the rows of B that are swept at once, from end to end: few long
    rows are what memory sends ahead. An element's terms in a section are added up before they go to C.

    Args: tile, A, B, C, panels of the worker, its sums of a group; 6: n, k, bytes from element to element of A and from
    row to row of B; 10: columns of a tile, tiles of one product, whether C is added to, batch axes, and for each batch
    axis: length, bytes in A, in B.
    """
    rows = range(SWEPT_ROWS)
    factors, lines = (", ".join(f"{name}{i}" for i in rows) for name in "xr")
    given = ", ".join(f"array_{short}(of_a + {i} * word(b, 8), 1)[0]" for i in rows)
    places = ", ".join(f"array_{short}(of_b + {i} * word(b, 9), 0)" for i in rows)
    total = " + ".join(f"x{i} * r{i}[j]" for i in rows)
    return f"""
def kernel(b):
    n, k = word(b, 6), word(b, 7)
    batch = word(b, 0) // word(b, 11)
    first = (word(b, 0) - batch * word(b, 11)) * word(b, 10)
    a, bb = word(b, 1), word(b, 2)
    {batch_source(13, "a", "bb")}
    columns = n - first if n - first < word(b, 10) else word(b, 10)
    bb += {size} * first
    c = word(b, 3) + {size} * (batch * n + first)
    sections = (k + {SWEPT_ROWS - 1}) // {SWEPT_ROWS}
    for section in range(sections):
        more = word(b, 12) if section == 0 else i64(1)
        to, to_row = c, n
        {begins}
        terms = k - {SWEPT_ROWS} * section
        of_a, of_b = a + {SWEPT_ROWS} * section * word(b, 8), bb + {SWEPT_ROWS} * section * word(b, 9)
        target = array_{short}(to, 0)
        if terms >= {SWEPT_ROWS}:
            {factors} = {given}
            {lines} = {places}
            if more == 0:
                for j in range(columns):
                    target[j] = {total}
            else:
                for j in range(columns):
                    target[j] = target[j] + ({total})
        else:
            for i in range(terms):
                x0 = array_{short}(of_a + i * word(b, 8), 1)[0]
                r0 = array_{short}(of_b + i * word(b, 9), 0)
                if (more == 0) & (i == 0):
                    for j in range(columns):
                        target[j] = x0 * r0[j]
                else:
                    for j in range(columns):
                        target[j] = target[j] + x0 * r0[j]
        {ends}
    return i64(0)
"""
