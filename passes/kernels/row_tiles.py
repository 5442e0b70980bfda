"""Tiles of rows: the cut of loops over rows. It fixes the order of sums over rows, so it follows from shapes and the
target alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..target import Target

# Elements of a tile for so many bytes of the L2 cache: enough to hide the cost of fetching the next one, few enough to
# stay in the cache.
_BYTES_AN_ELEMENT = 64
# Elements of a tile, at least, where it has fewer so that many cores have one each: to hand it out takes time too.
_SHARED_ELEMENTS = 2048
# Rows of a tile that are added up column by column, at least where there are many: each tile leaves a row of sums.
_SUMMED_ROWS = 32
# Tiles of such sums that are enough to balance threads.
_SUM_TILES = 16
# Positions of images in a tile, at least: as many as a tile of a convolution has, whose output is summed there.
_SUMMED_POSITIONS = 392
# Tiles that one line of an image may be as long as. A longer line is cut.
_LONG_LINE = 4
# Rows of a tile of a GPU that are added up column by column, at least where there are many; and its tiles of any sum,
# about as many at most: what they leave is then added up by one launch more.
_SUMMED_ROWS_OF_GPU = 16
_SUM_TILES_OF_GPU = 1024
# Elements of all accumulators of a sum over short rows: enough to hide how long an addition takes.
_ACCUMULATED_ELEMENTS = 256


@dataclass(frozen=True, slots=True)
class RowTiles:
    """Tiles of rows: each `whole` rows are cut into `parts` tiles of `step` rows, the last of which may be shorter."""

    step: int
    parts: int
    whole: int

    def count(self, rows: int) -> int:
        """Tiles of so many rows."""
        full, rest = divmod(rows, self.whole)
        return full * self.parts + -(-rest // self.step)


def tile_rows_of(columns: int, target: Target, smaller: int = 1) -> int:
    """Rows of a tile that stays in the L2 cache, or of one that is so many times smaller."""
    return max(1, target.l2_bytes // _BYTES_AN_ELEMENT // smaller // max(columns, 1))


def shared_rows(rows: int, columns: int, wanted: int, target: Target, smaller: int = 1) -> int:
    """About `wanted` rows of a tile, and fewer where many cores would have no tile each, or an idle last round. A tile
    may be so many times smaller where elements take long.
    """
    tiles = target.whole_rounds(-(-rows // max(wanted, 1)))
    if not target.has_many_cores or tiles == 0:
        return wanted
    return max(min(wanted, _SHARED_ELEMENTS // smaller // max(columns, 1)), -(-rows // tiles))


def summed_tile_rows(rows: int, columns: int, target: Target) -> int:
    """Rows of a tile of a sum of everything."""
    most = -(-rows // _SUM_TILES_OF_GPU) if target.is_gpu else 1
    return max(most, shared_rows(rows, columns, tile_rows_of(columns, target), target))


def even_tiles(rows: int, wanted: int) -> RowTiles:
    """Tiles of about `wanted` rows, as equal as can be, so that no thread waits for a long last one."""
    tiles = max(1, -(-rows // max(wanted, 1)))
    step = max(1, -(-rows // tiles))
    return RowTiles(step, 1, step)


def whole_groups(rows: int, columns: int, group: int, target: Target) -> RowTiles:
    """Tiles of whole groups of rows: a group is one sum, which no tile cuts."""
    wanted = shared_rows(rows, columns, tile_rows_of(columns, target), target)
    step = max(1, min(rows, group * max(1, wanted // max(group, 1))))
    return RowTiles(step, 1, step)


def column_tiles(rows: tuple[int, ...], columns: int, target: Target) -> RowTiles:
    """Tiles of rows that are added up column by column.

    Each tile leaves a row of partial sums. So tiles of long rows have more rows than the cache would ask for: else the
    partial sums would take as many bytes as what is summed. Positions (n, height, width...) of images are cut into
    tiles of some images, or of some lines of one, so that a convolution can compute its output in the same tiles.
    Those of volumes (n, depth, height, width) are cut into tiles of some of their images, or of some lines of one.
    """
    total = math.prod(rows)
    if target.is_gpu:
        least = min(_SUMMED_ROWS_OF_GPU, total // _SUM_TILES)
        return even_tiles(total, max(summed_tile_rows(total, columns, target), least))
    if len(rows) < 3 or total == 0:
        wanted = shared_rows(total, columns, tile_rows_of(columns, target), target)
        return even_tiles(total, max(wanted, min(_SUMMED_ROWS, total // _SUM_TILES)))
    image, line = math.prod(rows[1:]), math.prod(rows[2:])
    wanted = min(max(tile_rows_of(columns, target), _SUMMED_POSITIONS), max(total // _SUM_TILES, _SUMMED_ROWS))
    if len(rows) > 3 and line > wanted:
        return column_tiles((rows[0] * rows[1], *rows[2:]), columns, target)
    if line > _LONG_LINE * wanted:
        # The rows of a tile are added up one after the other. A whole line would be too many, so lines are cut.
        return even_tiles(total, wanted)
    if image <= wanted:
        images = even_tiles(rows[0], wanted // image).step
        return RowTiles(images * image, 1, images * image)
    lines = even_tiles(rows[1], wanted // line).step
    lines += lines % 2 if lines < rows[1] else 0  # a gradient by a stride of 2 makes two lines at a time
    return RowTiles(lines * line, -(-rows[1] // lines), image)


def accumulator_count(columns: int, step: int) -> int:
    """Accumulators of a sum over short rows, in tiles of `step` rows: so many neighbouring rows have one each.

    An addition waits for the one before it in the same accumulator, so a sum of short rows in one is slow. Each
    accumulator gets four rows of a tile at least, since they are added to each other in the end.
    """
    return max(1, min(_ACCUMULATED_ELEMENTS // max(columns, 1), step // 4))
