"""Kernels of sums and of sums of squared distances from the mean, column by column over many rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Value
from ...passes.kernels.moment_tiles import MomentTiles
from ...passes.memory.plan import Plan
from .launch import TILE, Call, Launch, Pointer, Scratch, Traps

_ROWS_OF_TILE = """
    first = tile % parts * step
    rows = whole - first if whole - first < step else step
    first += tile // parts * whole
    rows = total - first if total - first < rows else rows
"""


def lower_moments(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of rows, then one that combines what they found."""
    tiles = MomentTiles.of(node, plan.target)
    part, combined = call_moments(tiles, node.inputs[0], node.output, plan.scratch.get(node, 0), plan)
    return [Launch(tiles.tiles, [part]), Launch(int(tiles.tiles > 0), [combined])]


def call_moments(tiles: MomentTiles, x: Value, result: Value, scratch: int, plan: Plan) -> tuple[Call, Call]:
    """The moments of a tile of x, and what combines those of all tiles, with scratch at this place."""
    cut, dtype = tiles.cut, x.type.dtype
    numbers = [tiles.rows, tiles.columns, tiles.accumulators, cut.step, cut.parts, cut.whole, tiles.tiles]
    parts = Scratch(scratch)
    lines = Scratch(scratch + tiles.part_bytes, tiles.line_bytes)
    of_tile = Call(_part_kernel(dtype), [TILE, Pointer.to(plan.views[x]), parts, lines, *numbers])
    return of_tile, Call(_combine_kernel(dtype), [Pointer.to(plan.views[result]), parts, *numbers])


def _part_kernel(dtype: np.dtype[Any]) -> str:
    """The sums of a tile, and those of the squared distances from its own mean.

    Args: tile, x, parts, lines of the worker; 4: rows, columns, accumulators of a column, rows of a tile, tiles of as
    many rows as word 9 says, those rows, tiles. A long row is as many rows as a column has accumulators.
    """
    short = SHORT_NAMES[dtype]

    def summed(term: str, begun: str = "i64(0)") -> str:
        """The sum of a term of each element of the tile, from the long row `begun` on."""
        return f"""
    for i in range({begun}, rows, accumulators):
        n = (rows - i if rows - i < accumulators else accumulators) * columns
        source = window(x, (first + i) * columns, n)
        for j in range(n):
            sums[j] = sums[j] + {term}
    for j in range(columns):
        result[j] = sums[j]
    for i in range(1, accumulators):
        accumulator = window(sums, i * columns, columns)
        for j in range(columns):
            result[j] = result[j] + accumulator[j]
"""

    # The tile is in the cache the second time, so four long rows are read at a time. From memory, so many streams would
    # be too much for the prefetcher.
    windows = "\n".join(
        f"        of{k} = window(x, (first + (4 * i + {k}) * accumulators) * columns, wide)" for k in range(4)
    )
    off = [f"(of{k}[j] - means[j])" for k in range(4)]
    square = [f"{d} * {d}" for d in off]
    return f"""
def kernel(b):
    x, parts_of_all, line = array_{short}(word(b, 1), 0), array_{short}(word(b, 2), 0), array_{short}(word(b, 3), 0)
    tile, total, columns, accumulators = word(b, 0), word(b, 4), word(b, 5), word(b, 6)
    step, parts, whole = word(b, 7), word(b, 8), word(b, 9)
{_ROWS_OF_TILE}
    wide = accumulators * columns
    sums, means = window(line, 0, wide), window(line, wide, wide)
    result = window(parts_of_all, 2 * tile * columns, columns)
    for j in range(wide):
        sums[j] = {short}(0)
{summed("source[j]")}
    for i in range(accumulators):
        row = window(means, i * columns, columns)
        for j in range(columns):
            row[j] = result[j] / {short}(rows)
    result = window(parts_of_all, (2 * tile + 1) * columns, columns)
    for j in range(wide):
        sums[j] = {short}(0)
    for i in range(rows // (4 * accumulators)):
{windows}
        for j in range(wide):
            sums[j] = sums[j] + (({square[0]} + {square[1]}) + ({square[2]} + {square[3]}))
{summed("(source[j] - means[j]) * (source[j] - means[j])", "rows // (4 * accumulators) * 4 * accumulators")}
    return i64(0)
"""


def _combine_kernel(dtype: np.dtype[Any]) -> str:
    """The parts of all tiles, in their order; 64 after one another, and then these sums. Args: result, parts, then as
    in `_part_kernel` from word 4 on, two earlier.

    The sums of 64 tiles are added up where the squares come later; those squares in place of the first tile's sums.
    """
    short = SHORT_NAMES[dtype]
    rows_of_tile = _ROWS_OF_TILE.replace(chr(10) + "    ", chr(10) + "            ").strip(chr(10))
    return f"""
def kernel(b):
    o, parts_of_all = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    total, columns = word(b, 2), word(b, 3)
    step, parts, whole, tiles = word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    sums, squares = window(o, 0, columns), window(o, columns, columns)
    for start in range(0, tiles, 64):
        stop = tiles if tiles < start + 64 else start + 64
        group = sums if start == 0 else squares
        for j in range(columns):
            group[j] = parts_of_all[2 * start * columns + j]
        for tile in range(start + 1, stop):
            part = window(parts_of_all, 2 * tile * columns, columns)
            for j in range(columns):
                group[j] = group[j] + part[j]
        if start > 0:
            for j in range(columns):
                sums[j] = sums[j] + squares[j]
    for j in range(columns):
        squares[j] = {short}(0)
    for start in range(0, tiles, 64):
        group = window(parts_of_all, 2 * start * columns, columns)
        for tile in range(start, tiles if tiles < start + 64 else start + 64):
{rows_of_tile}
            part = window(parts_of_all, 2 * tile * columns, columns)
            squares_of_tile = window(parts_of_all, (2 * tile + 1) * columns, columns)
            for j in range(columns):
                off = part[j] / {short}(rows) - sums[j] / {short}(total)
                squared = squares_of_tile[j] + off * off * {short}(rows)
                group[j] = squared if tile == start else group[j] + squared
        for j in range(columns):
            squares[j] = squares[j] + group[j]
    return i64(0)
"""
