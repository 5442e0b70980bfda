"""Tiles of a contraction that threads share, and what multiplies them: register tiles or BLAS.

The cut follows from shapes, layouts and target, never from the number of threads. An element of a product by register
tiles is a sum of sections of at most `DEPTH` terms, each a chain of fused multiply-adds: no cut changes its bits. A sum
of more than `LONGEST` terms is added up in groups of sections. So no chain of additions is longer than the square root
of the number of terms, or than some hundreds, and rounding errors stay small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...ir import ArrayType, is_float
from ..graph.views import View
from ..target import DEFAULT_TARGET, Target
from .dot_products import FEW_ROWS, NARROW, dot_shapes, is_by_dots, most_dots, rows_by_dots
from .last_columns import NO_COLUMNS, LastColumns, last_columns
from .register_tiles import RegisterTile, Rows, strips

DEPTH = 256
"""Terms of a section, at most: its columns of the right operand stay in the L2 cache."""
BLAS_DEPTH = 1024
"""Terms that BLAS adds up in one call, at most, where it adds them one after the other or there are many."""
LONGEST = 1 << 15
"""Terms of a group of sections, at most."""
LONGEST_ROW = 1 << 12
"""The same where BLAS multiplies row by row. It may add every fourth term there to the sum of the sections before: so a
group has fewer terms, and no chain is longer."""

# Below this many multiply-adds a tile costs more to hand out and to pack than it saves.
_LEAST_WORK = 1 << 20
# The same for many cores, most of which would be idle instead.
_LEAST_SHARED_WORK = 1 << 18
_MOST_TILES = 16
# Tiles that are enough for a product, and the multiply-adds of a tile from which on more tiles are worth the packing: a
# barrier waits for the last one, all the longer if its thread has lost the core to another process.
ENOUGH_TILES = 4
_LARGE_WORK = 1 << 25
# Tiles of a large product for each of many cores, at most.
_ROUNDS = 4
# Vectors of a row that a tile of few rows takes, at most: it waits for rows of the right operand, which come faster the
# more of each is read.
_MOST_VECTORS = 8
# Terms of a section there, where the right operand comes from memory: so many rows of it are read side by side.
_FEW_DEPTH = 16
# Columns that are swept at once, at least, and second caches that a right operand fills from which on it is swept.
_LEAST_SWEEP, _SWEPT_PART = 256, 2
SWEPT_ROWS = 8
"""Rows of a right operand that are swept at once, where one row is multiplied by it: the terms of a section."""
# Rows below which BLAS multiplies row by row.
_LEAST_ROWS = 4
# Elements of the right operand from which on BLAS multiplies so few rows by it one at a time: that takes as long as to
# read it, and to pack it for all of them takes several times as long.
_LONG_READ = 1 << 18
# Rows for which computing takes as long as reading the right operand does, which is what tiles of fewer rows wait for.
_READING_ROWS = 8
PACKED_ROWS = 48
"""Rows of a tile from which on it is worth packing its operands, on a target that packs."""
FAR_ROWS = 512
"""Rows of a product from which on it is worth copying a right operand whose rows are `FAR_BYTES` apart or more."""
FAR_BYTES = 4096
"""Rows of a right operand that lie so far apart are on a page each, and those of a section compete for few places of
the first cache where the distance is a power of two.
"""
PAIR_VECTORS = 3
"""Vectors of a row of a tile that multiplies pairs: a section of such a strip stays in the first cache."""
# Part of the second cache from which on a left operand is not expected there, and its rows and terms, at least, for
# which it is worth fetching it ahead.
_FETCHED_PART, _FETCHED = 4, 16
# Rows or columns of work that packing those of a tile takes as long as, and reading them from the second cache.
_PACKING, _READING = 12, 1
# A section of the rows of a tile is packed in at most about this part of the second cache.
_BLOCK_PART = 8
# A strip of several vectors takes at most this part of the bytes that the result takes.
_PARTS = 4


@dataclass(frozen=True, slots=True)
class DotTiles:
    """Tiles of `rows` x `columns` of each of the `batches` results of m x n; the last of a row or column may be
    smaller.

    `shapes` are the register tiles, rows by vectors, that occur; where there are none, BLAS multiplies. A tile is
    walked in strips of at most `most_vectors`. Where the columns of the right operand are dense, a strip of it is
    transposed in `strip_bytes` of scratch of the worker. Where the target packs, `strips_together` are copied there,
    and the rows of a left operand whose columns are dense in `block_bytes`. With `rows_ahead` rows of the left operand
    are fetched while those before them are multiplied. A group of sections of a long sum is added up in `group_bytes`
    of its scratch, which hold a tile.

    Where it multiplies `pairs` of bfloat16, both operands are copied as such, strip by strip and in blocks.

    A sum of `parts` is added up by their tree for each register tile, in `group_bytes` of scratch: their terms are one
    section.

    Where it is one row, a few rows of the right operand at a time are `swept` from end to end.

    The `last` columns are multiplied by column tiles, and are in none of the strips.

    Where the product is made of dot products, `dots` are their tiles instead, rows by columns, of `most_dots`.
    """

    rows: int
    columns: int
    down: int
    across: int
    batches: int
    shapes: tuple[tuple[int, int], ...] = ()
    most_vectors: int = 0
    strip_bytes: int = 0
    strips_together: int = 1
    rows_ahead: bool = False
    block_bytes: int = 0
    group_bytes: int = 0
    depth: int = DEPTH
    pairs: bool = False
    parts: int = 1
    swept: bool = False
    dots: tuple[tuple[int, int], ...] = ()
    most_dots: tuple[int, int] = (0, 0)
    last: LastColumns = NO_COLUMNS

    @property
    def is_by_blas(self) -> bool:
        """Whether BLAS multiplies."""
        return not (self.shapes or self.last.count or self.dots or self.swept)

    def in_strips(self, n: int) -> set[int]:
        """Columns of a tile of a product of n columns that lie in strips."""
        of_tiles = {self.columns, n - (self.across - 1) * self.columns}
        return {columns - self.last.count for columns in of_tiles}

    def tiles_met(self, m: int, n: int, itemsize: int, target: Target) -> frozenset[RegisterTile]:
        """The register tiles that a product of m x n meets, which are some of `shapes`."""
        heights = {
            height
            for length in (self.rows, m - (self.down - 1) * self.rows)
            for height in Rows.of(length, self.most_rows(itemsize, target)).sizes()
        }
        vectors: set[tuple[int, bool]] = set()
        for length in self.in_strips(n) if self.shapes else ():
            of_row = strips(length, itemsize, self.most_vectors, target)
            partly = length * itemsize % target.vector_bytes > 0
            vectors |= {(width, partly and last) for width, last in of_row.kinds()}
        return frozenset((height, *of_strip) for height in heights for of_strip in vectors)

    @property
    def open_sums(self) -> int:
        """Register tiles of sums of parts that wait for others: one at each height of their tree but the highest, and
        two in turn of what comes next. A tree of two adds up the result itself.
        """
        return self.parts.bit_length() if self.parts > 2 else 0

    def register_bytes(self, target: Target) -> int:
        """Bytes of the largest register tile."""
        rows, vectors = (max((shape[axis] for shape in self.shapes), default=0) for axis in (0, 1))
        return rows * vectors * target.vector_bytes

    @property
    def panel_bytes(self) -> int:
        """Bytes of what a worker copies of operands."""
        return self.strip_bytes + self.block_bytes

    @property
    def worker_bytes(self) -> int:
        """Bytes of the scratch of a worker."""
        return self.panel_bytes + self.group_bytes

    @property
    def tiles(self) -> int:
        """All tiles."""
        return self.batches * self.down * self.across

    def most_rows(self, itemsize: int, target: Target) -> int:
        """Rows of the tallest register tile."""
        columns = self.columns - self.last.count
        return target.tile_rows(strips(columns, itemsize, self.most_vectors, target).width if columns else 1)


def dot_tiles(x: View, y: View, copies: int, target: Target, pairs: bool = False, parts: int = 1) -> DotTiles:
    """Tiles for the products of x (batch..., m, k) and y (batch..., k, n). So many `copies` may run concurrently. By
    `pairs` where both are numbers of bfloat16. Sums fall into `parts`, as of `dot_parts`.
    """
    x, y = as_row(x, y)
    far = is_far(x, y, target)
    left = _READING if far else _PACKING
    cut = cut_product(math.prod(x.shape[:-2]), x.shape[-2], y.shape[-1], x.shape[-1], copies, target, left)
    dtype = x.base.type.dtype
    if target.matmul == "blocks":
        return cut  # a block holds its sums in registers
    packs = _packs(cut.rows, target)
    pairs = pairs and is_by_pairs(x, y, target)
    if parts > 1:
        cut = replace(cut, parts=parts, depth=x.shape[-1])
    if pairs or (packs and is_turned(x)):
        section = min(x.shape[-1], cut.depth) * (2 if pairs else dtype.itemsize)
        rows = _even(cut.rows, -(-cut.rows * section // (target.l2_bytes // _BLOCK_PART)))
        cut = replace(cut, rows=rows, down=-(-x.shape[-2] // rows))
    if is_by_dots(x, y, target):
        return _in_dots(cut, x, y, target)
    swept = parts == 1 and is_by_sweeps(x, y, target)
    if swept:
        cut = _in_sweeps(cut, y.shape[-1], target)
    if is_float(dtype) and is_long(x.shape[-2], y.shape[-1], x.shape[-1]):
        cut = replace(cut, group_bytes=target.round_to_line(cut.rows * cut.columns * dtype.itemsize))
    if swept:
        return cut
    if pairs:
        return _in_pairs(cut, x, y, target)
    cut = _in_registers(cut, x, y, packs or far, target)
    return (
        cut
        if parts == 1
        else replace(cut, group_bytes=target.round_to_line(cut.open_sums * cut.register_bytes(target)))
    )


def is_by_sweeps(x: View, y: View, target: Target) -> bool:
    """Whether one row is multiplied by a right operand in rows that comes from the last cache or from memory."""
    (m, k), n, dtype = x.shape[-2:], y.shape[-1], x.base.type.dtype
    if target.matmul != "registers" or not is_float(dtype) or m != 1 or is_transposed(y):
        return False
    return n * dtype.itemsize >= NARROW * target.vector_bytes and n * k * dtype.itemsize > _SWEPT_PART * target.l2_bytes


def as_row(x: View, y: View) -> tuple[View, View]:
    """The operands of the same product whose only column is a row, where the rows of y's counterpart are dense then."""
    if y.shape[-1] != 1 or not is_turned(x):
        return x, y
    return _transposed(y), _transposed(x)


def _transposed(x: View) -> View:
    (*lead, m, n), (*steps, row, column) = x.shape, x.strides
    return View(x.base, x.offset, (*lead, n, m), (*steps, column, row))


def cut_product(
    batches: int,
    m: int,
    n: int,
    k: int,
    copies: int = 1,
    target: Target = DEFAULT_TARGET,
    left: int = _PACKING,
) -> DotTiles:
    """Tiles for `batches` products (m, k) x (k, n), by whatever multiplies them.

    A tile packs its rows of one operand and its columns of the other. That costs as much as 12 more rows and columns of
    work: with BLAS a tile of r rows was measured at r / (r + 12) of full speed, and to transpose a strip costs as much.
    So tiles are as square as they can be, and few. Where the rows of the left operand are read as they lie, these take
    but as long as `left` more columns: tiles are tall then.
    """
    enough = -(-max(enough_tiles(target), _work(batches, m, n, k) // _LARGE_WORK) // copies)
    return cut_into(enough, batches, m, n, k, target, left)


def enough_tiles(target: Target) -> int:
    """Tiles that are enough for a product of middling size: one for each of many cores."""
    return target.whole_rounds(ENOUGH_TILES)


def cut_into(
    enough: int,
    batches: int,
    m: int,
    n: int,
    k: int,
    target: Target = DEFAULT_TARGET,
    left: int = _PACKING,
) -> DotTiles:
    """The cut that packs least of those with `enough` tiles, or with most tiles where none has."""
    work, batches = _work(batches, m, n, k), max(batches, 1)
    least, shortest = (_LEAST_SHARED_WORK, 16) if target.has_many_cores else (_LEAST_WORK, 32)
    wanted = min(max(_MOST_TILES, _ROUNDS * enough_tiles(target)), work // least) // batches
    best = (1, 1)
    # Powers of two divide the usual sizes; parts of fewer than 32 rows or columns cost more to pack than they save.
    parts = _parts(target)
    for down in parts:
        for across in parts:
            if down * across > wanted or (m // down < shortest and down > 1) or (n // across < 32 and across > 1):
                continue
            best = max(best, (down, across), key=lambda cut: _merit(batches, m, n, *cut, enough, left, target))
    height, width = _even(m, best[0]), _even(n, best[1])
    return DotTiles(height, width, -(-m // height), -(-n // width), batches)


def _parts(target: Target) -> list[int]:
    """Into how many parts rows or columns may be cut."""
    parts = {1, 2, 4, 8, 16}
    if target.has_many_cores:
        parts |= {part for part in range(1, target.cores + 1) if target.cores % part == 0}
    return sorted(parts)


def _work(batches: int, m: int, n: int, k: int) -> int:
    return batches * (_READING_ROWS if is_by_rows(m, n, k) else m) * n * k


def is_by_rows(m: int, n: int, k: int) -> bool:
    """Whether BLAS multiplies an (m, k) matrix by a (k, n) one row by row."""
    return 0 < m < _LEAST_ROWS and n * k >= _LONG_READ


def is_one_chain(x: ArrayType, y: ArrayType, target: Target) -> bool:
    """Whether each element of the product of matrices x (m, k) and y (k, n) is added as a whole to what it is added to:
    then that has the bits of an addition behind the product.
    """
    return _by_tiles(x, y, target) and x.shape[1] <= DEPTH


def is_in_registers(x: ArrayType, y: ArrayType, target: Target) -> bool:
    """Whether register tiles multiply matrices x (m, k) and y (k, n), also with more rows of x, so that the bits of a
    row are the same in any product that it is in, however both lie in memory.
    """
    (m, k), lanes = x.shape, target.vector_bytes // x.dtype.itemsize
    return _by_tiles(x, y, target) and m >= rows_by_dots(k, lanes)


def _by_tiles(x: ArrayType, y: ArrayType, target: Target) -> bool:
    """Whether register tiles multiply, or tiles of dot products, so many terms in one section."""
    (m, k), n, size = x.shape, y.shape[1], x.dtype.itemsize
    wide = n * size >= NARROW * target.vector_bytes
    plain = target.matmul == "registers" and is_float(x.dtype)
    return plain and m >= max(_LEAST_ROWS, FEW_ROWS) and wide and 0 < k <= LONGEST_ROW


def group_terms(m: int, n: int, k: int) -> int:
    """Terms of a group of sections in the product of an (m, k) matrix and a (k, n) one, at most."""
    return LONGEST_ROW if is_by_rows(m, n, k) else LONGEST


def is_long(m: int, n: int, k: int) -> bool:
    """Whether the sums of such a product are added up in groups of sections."""
    return k > group_terms(m, n, k)


def row_tiles(x: View, y: View, height: int, target: Target, pairs: bool = False) -> DotTiles:
    """Tiles of `height` whole rows of the product of two matrices, whose sums are not long, in `panel_bytes` of scratch
    of the worker.
    """
    plain = DotTiles(height, y.shape[1], -(-x.shape[0] // height), 1, 1)
    if is_by_dots(x, y, target):
        return _in_dots(plain, x, y, target)
    if pairs and is_by_pairs(x, y, target):
        return _in_pairs(plain, x, y, target)
    packs = _packs(height, target)
    cut = _in_registers(plain, x, y, packs, target)
    return plain if cut.strip_bytes and not packs else cut


def panel_bytes(rows: int, terms: int, itemsize: int, target: Target, pairs: bool = False) -> int:
    """Bytes of scratch that are enough for tiles of whole rows of products with so many terms, by `pairs` or not."""
    if pairs:
        return sum(map(target.round_to_line, pair_bytes(rows, terms, PAIR_VECTORS, target)))
    if not _packs(rows, target):
        return 0
    row_of_strips = target.packed_strips * target.tile_vectors * target.vector_bytes
    left, right = rows * itemsize * min(terms, DEPTH), row_of_strips * min(terms, DEPTH)
    return target.round_to_line(left) + target.round_to_line(right)


def is_by_pairs(x: View, y: View, target: Target) -> bool:
    """Whether register tiles multiply x (batch..., m, k) and y (batch..., k, n), numbers of bfloat16, by pairs."""
    (m, k), n = x.shape[-2:], y.shape[-1]
    dense = all(1 in view.strides[-2:] for view in (x, y))
    wide = n * x.base.type.dtype.itemsize >= NARROW * target.vector_bytes
    return target.multiplies_pairs and dense and wide and m >= FEW_ROWS and k > 0


def pair_bytes(rows: int, terms: int, vectors: int, target: Target) -> tuple[int, int]:
    """Bytes of a section of so many rows in pairs, and of a strip of vectors, as pairs and before it is transposed."""
    pairs = -(-min(terms, DEPTH) // 2)
    return 4 * rows * pairs, 2 * vectors * target.vector_bytes * pairs


def is_transposed(y: View) -> bool:
    """Whether the columns of a right operand are dense, and not its rows."""
    return y.strides[-1] != 1 and y.shape[-1] > 1


def is_turned(x: View) -> bool:
    """Whether the columns of a left operand are dense, and not its rows."""
    return x.strides[-1] != 1 and x.strides[-2] == 1 and x.shape[-1] > 1 < x.shape[-2]


def _in_dots(cut: DotTiles, x: View, y: View, target: Target) -> DotTiles:
    """The same tiles, by dot products."""
    (m, n), most = (x.shape[-2], y.shape[-1]), most_dots(x.shape[-2], y.shape[-1], target)
    rows, columns = {cut.rows, m - (cut.down - 1) * cut.rows}, {cut.columns, n - (cut.across - 1) * cut.columns}
    return replace(cut, dots=dot_shapes(rows, columns, most), most_dots=most)


def _in_sweeps(cut: DotTiles, n: int, target: Target) -> DotTiles:
    """A tile for each core: the longer a row is that is read to its end, the more of it memory sends ahead."""
    columns = _even(n, min(target.cores, max(1, n // _LEAST_SWEEP)))
    return replace(cut, columns=columns, across=-(-n // columns), swept=True)


def _in_pairs(cut: DotTiles, x: View, y: View, target: Target) -> DotTiles:
    """The same tiles, by register tiles that multiply pairs of bfloat16."""
    m, n, size = x.shape[-2], y.shape[-1], x.base.type.dtype.itemsize
    cut = replace(cut, pairs=True, most_vectors=PAIR_VECTORS)
    limit = cut.most_rows(size, target)
    heights = {height for r in (cut.rows, m - (cut.down - 1) * cut.rows) for height in Rows.of(r, limit).sizes()}
    if heights <= {limit, limit - 1}:
        heights = {limit, limit - 1} - {0}
    columns = (cut.columns, n - (cut.across - 1) * cut.columns)
    widths = {width for c in columns for width in strips(c, size, PAIR_VECTORS, target).widths()}
    shapes = tuple((height, width) for height in sorted(heights) for width in sorted(widths))
    block_bytes, strip_bytes = map(target.round_to_line, pair_bytes(cut.rows, x.shape[-1], PAIR_VECTORS, target))
    return replace(cut, shapes=shapes, strip_bytes=strip_bytes, block_bytes=block_bytes)


def _in_registers(cut: DotTiles, x: View, y: View, packs: bool, target: Target) -> DotTiles:
    """The same tiles, by register tiles where these are faster than BLAS; whether they read copies of operands."""
    if target.matmul != "registers":
        return cut
    dtype, (m, k), n = x.base.type.dtype, x.shape[-2:], y.shape[-1]
    if not is_float(dtype) or 0 in (m, n, k):
        return cut
    # A register tile reads vectors of neighbouring columns. Where these are not dense, a section of a strip is
    # transposed first. The strip is as wide as its scratch may be.
    last = last_columns(x, y, cut.rows, target) if cut.across == cut.parts == 1 else NO_COLUMNS
    cut = replace(cut, last=last)
    if last.count == n:
        return cut
    section = min(k, cut.depth) * target.vector_bytes if is_transposed(y) or packs else 0
    room = m * n * dtype.itemsize // _PARTS
    if packs:
        room = max(room, target.l1_bytes // 2)
    most = target.tile_vectors
    if m < FEW_ROWS and not section:
        if n * k * dtype.itemsize > target.l3_bytes // 2:
            cut = replace(cut, depth=_FEW_DEPTH)
        most = max(most, min(_MOST_VECTORS, (target.vector_registers - 1) // (m + 1)))
    widest = next((v for v in range(most, 1, -1) if v * section <= room), 1)
    together = max(1, min(target.packed_strips, room // (widest * section))) if packs and not is_transposed(y) else 1
    block_bytes = target.round_to_line(cut.rows * min(k, cut.depth) * dtype.itemsize) if packs and is_turned(x) else 0
    cut = replace(cut, most_vectors=widest)
    limit = cut.most_rows(dtype.itemsize, target)
    heights = {size for r in (cut.rows, m - (cut.down - 1) * cut.rows) for size in Rows.of(r, limit).sizes()}
    # Products whose kernels would have the same register tiles share a kernel. Most need two heights at most, and get
    # this pair.
    if heights <= {limit, limit - 1}:
        heights = {limit, limit - 1} - {0}
    widths = {width for c in cut.in_strips(n) for width in strips(c, dtype.itemsize, widest, target).widths()}
    shapes = tuple((height, width) for height in sorted(heights) for width in sorted(widths))
    cut = replace(cut, shapes=shapes, strips_together=together, block_bytes=block_bytes)
    strip_bytes = target.round_to_line(max(widths) * section * together)
    return replace(cut, strip_bytes=strip_bytes, rows_ahead=not block_bytes and fetches_rows(x, y, target))


def _packs(rows: int, target: Target) -> bool:
    """Whether a tile of so many rows reads copies of its operands."""
    return target.packs and rows >= PACKED_ROWS


def fetches_rows(x: View, y: View, target: Target) -> bool:
    """Whether rows of a left operand are fetched while those before them are multiplied: where it comes from afar, and
    its rows are not so far apart that they compete for few places of the first cache.
    """
    if is_transposed(y) or is_far(x, y, target):
        return is_far(x, y, target)
    competes = not is_turned(x) and x.strides[-2] * x.base.type.dtype.itemsize % FAR_BYTES == 0
    size = math.prod(x.shape) * x.base.type.dtype.itemsize
    return not competes and size >= target.l2_bytes // _FETCHED_PART and min(x.shape[-2:]) >= _FETCHED


def is_far(x: View, y: View, target: Target) -> bool:
    """Whether so many rows of a left operand meet a right one whose rows lie so far apart that the strips of it are
    copied although the target does not pack, or leave little of the second cache to them.
    """
    m, terms, size = x.shape[-2], min(x.shape[-1], DEPTH), x.base.type.dtype.itemsize
    if target.matmul != "registers" or target.packs or m < FAR_ROWS or is_turned(x):
        return False
    return m * terms * size >= target.l2_bytes if is_transposed(y) else y.strides[-2] * size >= FAR_BYTES


def scratch_bytes(
    x: View, y: View, threads: int, copies: int, target: Target, pairs: bool = False, parts: int = 1
) -> int:
    """Bytes of scratch that a product needs."""
    cut = dot_tiles(x, y, copies, target, pairs, parts)
    return threads * cut.worker_bytes


def _merit(
    batches: int, m: int, n: int, down: int, across: int, enough: int, left: int, target: Target
) -> tuple[float, int]:
    """The worth of a cut: its tiles, up to `enough` to balance threads, divided by what packing adds to the time. Of
    many cores some may be idle in the last round, which counts too.

    Of equal cuts that with fewer tiles is better.
    """
    packing = 1 + _PACKING * down / max(m, 1) + left * across / max(n, 1)
    if not target.has_many_cores:
        return min(down * across, enough) / packing, -down * across
    height, width = _even(m, down), _even(n, across)
    every = batches * -(-m // height) * -(-n // width)
    busy = batches * m * n / max(target.whole_rounds(every) * height * width, 1)
    return busy * min(max(every, target.cores), enough) / packing, -every


def _even(length: int, parts: int) -> int:
    """The length of equal parts. Where there are several, it is whole strips of 64, or whole vectors of 16 if short."""
    part = -(-max(length, 1) // parts)
    whole = 64 if part >= 64 else 16
    return part if parts == 1 else -(-part // whole) * whole
