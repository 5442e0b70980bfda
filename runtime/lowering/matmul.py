"""From contractions to launches of kernels that multiply matrices: by register tiles, or by BLAS.

A sum of many terms is made in sections (known elsewhere as k-blocks). The rows of B of a section stay in the cache, and
its products are added up in registers before they go to C, so that rounding errors grow with the length of a section
and the number of sections, not with that of the sum. The order of sums is the same for any cut into tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Graph, Node
from ...ir.ops.contraction import has_bf16_factors
from ...passes.graph.views import View
from ...passes.kernels.matmul_tiles import (
    BLAS_DEPTH,
    SWEPT_ROWS,
    DotTiles,
    as_row,
    dot_tiles,
    group_terms,
    is_by_rows,
    is_long,
    is_transposed,
    is_turned,
    row_tiles,
)
from ...passes.kernels.register_tiles import RegisterTile
from ...passes.memory.plan import Plan
from ...passes.target import Target
from ..codegen.tile_product import TERMS_AHEAD
from .batch_axes import batch_numbers, batch_source
from .column_tiles import by_columns
from .data_movement import begin_accumulators
from .dot_products import by_dots
from .launch import TILE, Address, Arg, Call, Launch, Pointer, Routine, Scratch, TilesMet, Traps
from .pair_panels import pair_panels, pair_tiles
from .product_panels import copied_blocks, copied_strips
from .product_parts import tile_of_parts
from .row_sweeps import by_sweeps


def lower_matmul(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of all products of the batch, after the copy of what is added to, if any."""
    x, y, *added = (plan.views[v] for v in node.inputs)
    x, y = as_row(x, y)
    cut = dot_tiles(x, y, plan.copies, plan.target, has_bf16_factors(node), node.attrs.get("parts", 1))
    panels = Scratch(plan.scratch.get(node, 0), cut.worker_bytes)
    group = panels.plus(cut.panel_bytes)
    product = _multiply(x, y, cut, Pointer.to(plan.views[node.output]), panels, group, bool(added), plan.target)
    return [*begin_accumulators(node, plan), Launch(cut.tiles if node.output.type.size else 0, [product])]


def multiply_rows(region: Node, plan: Plan, target: Address, rows: int, panels: Scratch) -> Call:
    """The rows of a tile of the product that a region begins with, made in panels of the worker."""
    x, y = plan.views[region.inputs[0]], plan.views[region.inputs[-1]]
    product: Graph = region.attrs["body"]
    cut = row_tiles(x, y, rows, plan.target, has_bf16_factors(product.nodes[0]))
    return _multiply(x, y, cut, target, panels, 0, False, plan.target)


def _multiply(
    x: View, y: View, cut: DotTiles, result: Address, panels: Arg, group: Arg, added: bool, target: Target
) -> Call:
    """Tiles of a batch of matrix products; the scratch of a worker is panels, and the sums of a group of sections."""
    operands = [Pointer.to(x), Pointer.to(y), result]
    if cut.dots:
        source, numbers = by_dots(x, y, cut, added, target)
        return Call(source, [TILE, *operands, *numbers])
    if cut.swept:
        begins = ends = ""
        if cut.group_bytes:
            sections, short = group_terms(1, y.shape[-1], x.shape[-1]) // SWEPT_ROWS, SHORT_NAMES[x.base.type.dtype]
            begins = _in_group("to, to_row", sections, "columns")
            ends = _group_ends(short, x.base.type.dtype.itemsize, sections, "1", "columns", "n")
        source, numbers = by_sweeps(x, y, cut, added, begins, ends)
        return Call(source, [TILE, *operands, panels, group, *numbers])
    if not cut.is_by_blas:
        source_with, numbers = _by_registers(x, y, cut, added, target)
        size, (m, n) = x.base.type.dtype.itemsize, (x.shape[-2], y.shape[-1])
        partly = (False, True) if any(c * size % target.vector_bytes for c in cut.in_strips(n)) else (False,)
        tiles = frozenset((*shape, part) for shape in cut.shapes for part in partly)
        met = None
        if not cut.pairs:
            met = TilesMet(cut.tiles_met(m, n, size, target), tiles, source_with, source_with(frozenset()))
        return Call(source_with(tiles), [TILE, *operands, panels, group, *numbers], met)
    source, routine, numbers = _by_blas(x, y, cut, added)
    return Call(source, [TILE, routine, *operands, group, *numbers])


def _by_blas(x: View, y: View, cut: DotTiles, added: bool) -> tuple[str, Routine | int, list[int]]:
    """The kernel's source, the routine that it calls (no one for integers), and the numbers behind the addresses of
    both operands, the result and the worker's scratch.
    """
    dtype = x.base.type.dtype
    m, k = x.shape[-2:]
    n = y.shape[-1]
    (ta, lda), (tb, ldb) = _matrix(x), _matrix(y)
    by_rows = dtype.kind == "f" and is_by_rows(m, n, k)
    routine = Routine(("s" if dtype.itemsize == 4 else "d") + ("gemv" if by_rows else "gemm"))
    numbers = [m, n, k, lda, ldb, ta, tb, cut.rows, cut.columns, cut.across, cut.down * cut.across, int(added)]
    numbers.append(BLAS_DEPTH if by_rows or k > 4 * BLAS_DEPTH else max(k, 1))
    group = group_terms(m, n, k) // BLAS_DEPTH if dtype.kind == "f" and is_long(m, n, k) else 0
    source = _blas_kernel(dtype, by_rows, group)
    return source, routine if dtype.kind == "f" else 0, numbers + batch_numbers(len(x.shape) - 2, x, y)


def _by_registers(
    x: View, y: View, cut: DotTiles, added: bool, target: Target
) -> tuple[Callable[[frozenset[RegisterTile]], str], list[int]]:
    """The kernel's source with given register tiles, and the numbers behind the addresses of both operands, the result
    and the worker's strip.
    """
    dtype = x.base.type.dtype
    size = dtype.itemsize
    m, k = x.shape[-2:]
    n = y.shape[-1]
    strides = [size * stride for stride in (*x.strides[-2:], *y.strides[-2:])]
    numbers = [m, n, k, *strides, cut.rows, cut.columns, cut.across, cut.down * cut.across, int(added)]
    numbers += [cut.most_rows(size, target), cut.most_vectors, int(cut.rows_ahead)]
    group = group_terms(m, n, k) // cut.depth if is_long(m, n, k) else 0
    lanes = target.vector_bytes // size
    of_tiles = {cut.rows, m - (cut.down - 1) * cut.rows}
    last = by_columns(dtype, lanes, cut.last, of_tiles, x.strides[-1] != 1, y.strides[-1] == 1)
    ways = is_turned(x), is_transposed(y), group, cut.register_bytes(target), target.vector_bytes, last
    source_with = partial(_register_kernel, dtype, cut, *ways)
    return source_with, numbers + batch_numbers(len(x.shape) - 2, x, y)


def _matrix(view: View) -> tuple[int, int]:
    """Whether BLAS reads the last two axes transposed, and the leading dimension."""
    rows, columns = view.shape[-2:]
    row_stride, column_stride = view.strides[-2:]
    if columns == 1 < rows and row_stride == 1:
        return 1, rows  # a row that is multiplied by it is a dot product, which BLAS adds up in SIMD lanes
    if (column_stride == 1 or columns <= 1) and (row_stride >= max(columns, 1) or rows <= 1):
        return 0, max(row_stride if rows > 1 else 0, columns, 1)
    return 1, max(column_stride if columns > 1 else 0, rows, 1)


def _blas_kernel(dtype: np.dtype[Any], by_rows: bool, group: int) -> str:
    """One tile of a batch of matrix products, which BLAS multiplies at once or row by row, section by section of the
    sum; with `group`, as many sections have a sum of their own, which is added to C.

    Args: tile, BLAS function, A, B, C, scratch of the worker; 6: m, n, k, lda, ldb, A transposed, B transposed, rows
    and columns of a tile, tiles across, tiles of one product; 17: whether C is added to, terms of a section at most,
    batch axes, and for each batch axis: length, bytes in A, bytes in B.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    call = f"""gemm_{short}(word(b, 1), ta, tb, rows, columns, terms, {short}(1), of_a, lda, of_b, ldb,
             {short}(more), to, ldc)"""
    if by_rows:
        call = f"""for r in range(rows):
            row = to + {size} * r * ldc
            target = array_{short}(row, 0)
            if more == 0:
                for j in range(columns):
                    target[j] = {short}(0)
            first = of_a + {size} * (r if ta else r * lda)
            gemv_{short}(word(b, 1), tb, terms if tb else columns, columns if tb else terms, of_b, ldb, first,
                         lda if ta else i64(1), row)"""
    sections = f"""sections = (k + word(b, 18) - 1) // word(b, 18) if k > 0 else i64(1)
    to, ldc = c, n
    for section in range(sections):
        begin = section * k // sections
        terms = (section + 1) * k // sections - begin
        of_a = a + {size} * (begin * lda if ta else begin)
        of_b = bb + {size} * (begin if tb else begin * ldb)
        more = word(b, 17) if section == 0 else i64(1)
        {_in_group("to, ldc", group, "columns") if group else ""}
        {call}
        {_group_ends(short, size, group, "rows", "columns", "n") if group else ""}"""
    if dtype.kind != "f":
        sections = f"""x, y, z = array_{short}(a, 0), array_{short}(bb, 0), array_{short}(c, 0)
    for r in range(rows):
        target = window(z, r * n, columns)
        if word(b, 17) == 0:
            for j in range(columns):
                target[j] = {short}(0)
        for l in range(k):
            left = x[l * lda + r] if ta else x[r * lda + l]
            for j in range(columns):
                right = y[j * ldb + l] if tb else y[l * ldb + j]
                target[j] = {short}(target[j] + left * right)"""
    return f"""
def kernel(b):
    m, n, k, lda, ldb = word(b, 6), word(b, 7), word(b, 8), word(b, 9), word(b, 10)
    ta, tb, tile_rows, tile_columns = word(b, 11), word(b, 12), word(b, 13), word(b, 14)
    across, in_product = word(b, 15), word(b, 16)
    batch = word(b, 0) // in_product
    t = word(b, 0) - batch * in_product
    i = t // across
    j = (t - i * across) * tile_columns
    i = i * tile_rows
    a, bb = word(b, 2), word(b, 3)
    {batch_source(19, "a", "bb")}
    rows = m - i if m - i < tile_rows else tile_rows
    columns = n - j if n - j < tile_columns else tile_columns
    a += {size} * (i if ta else i * lda)
    bb += {size} * (j * ldb if tb else j)
    c = word(b, 4) + {size} * ((batch * m + i) * n + j)
    {sections}
    return i64(0)
"""


def _in_group(target: str, group: int, stride: str) -> str:
    """A section adds to the sum of its group, which the first one begins, instead of to C; `target` are the names of
    where it adds, and of the stride from row to row there.
    """
    return f"""in_group = section % {group}
        {target}, more = word(b, 5), {stride}, i64(1) if in_group else i64(0)"""


def _group_ends(short: str, size: int, group: int, rows: str, columns: str, n: str) -> str:
    """The last section of a group adds its sum to C."""
    return f"""if (in_group == {group - 1}) | (section == sections - 1):
            for r in range({rows}):
                target = array_{short}(c + {size} * r * {n}, 0)
                parts = array_{short}(word(b, 5) + {size} * r * {columns}, 0)
                if (section < {group}) & (word(b, 17) == 0):
                    for j in range({columns}):
                        target[j] = parts[j]
                else:
                    for j in range({columns}):
                        target[j] = target[j] + parts[j]"""


def _register_kernel(
    dtype: np.dtype[Any],
    cut: DotTiles,
    turned: bool,
    transposed: bool,
    group: int,
    sum_bytes: int,
    vector_bytes: int,
    last_columns: tuple[list[str], str],
    tiles: frozenset[RegisterTile],
) -> str:
    """One tile of a batch of matrix products, whose columns are walked in strips, section by section of the sum; with
    `group`, as many sections have a sum of their own, which is added to C. Where B is `transposed` in memory, a section
    of a strip is copied to the worker's panel first: a register tile reads whole vectors of B's rows. Other operands
    are copied there as the cut says; a left one may be `turned`. Where sums fall into parts, those that are open take
    `sum_bytes` each.

    Args: tile, A, B, C, panels of the worker, its sums of a group; 6: m, n, k; 9: bytes from row to row and from column
    to column of A, then of B; 13: rows and columns of a tile, tiles across, tiles of one product; 17: whether C is
    added to, rows of the tallest register tile, vectors of the widest strip, whether rows of A are fetched ahead, batch
    axes, and for each batch axis: length, bytes in A, in B.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    lanes = vector_bytes // size
    definitions: list[str] = []
    calls: list[str] = []
    of_a: tuple[int, int] | tuple[str, str] = "a_row", "a_column"
    step = "a_row"
    heights, widths = (sorted({tile[axis] for tile in tiles}) for axis in (0, 1))
    for height, width in () if cut.pairs else sorted({tile[:2] for tile in tiles}):
        name = f"{height}_{width}"
        if cut.block_bytes:
            of_a = size, size * height
        operands = f"at, {of_a[0]}, rows_of_b, to, to_row, 1, 0, 0, 1, 0, 0, terms"
        if cut.parts > 1:
            operands = f"of_part, {of_a[0]}, part_of_b, into, into_row, 1, 0, 0, 1, 0, 0, terms_of_part"
        arguments = f"{operands}, {of_a[1]}, b_row, columns, more"
        arguments += ", left, left_row"
        if transposed:
            arguments += ", following + (block if block < vectors else 0) * lanes * word(b, 12), word(b, 12)"
        ways = f"sectioned=True, ahead={'panel' if transposed else 'left'!r}"
        calls.append(f"{'elif' if calls else 'if'} (height == {height}) & (vectors == {width}):")
        whole, partly = ((height, width, part) in tiles for part in (False, True))
        if whole:
            definitions.append(f"tile_{name} = tile_product({short!r}, lanes, {height}, {width}, {ways})")
        if partly:
            definitions.append(f"tail_{name} = tile_product({short!r}, lanes, {height}, {width}, True, {ways})")
        if whole and partly:
            calls += ["    if columns < lanes * vectors:", f"        tail_{name}({arguments})", "    else:"]
        calls.append(f"    {'    ' * (whole and partly)}{'tile' if whole else 'tail'}_{name}({arguments})")
    packing, packing_left, first_row_of_a = "", "", "a + begin * a_column"
    if cut.pairs:
        first_row_of_a, step = f"word(b, 4) + {cut.strip_bytes}", "4 * pairs"
        definitions, packing_left, packing = pair_panels(turned, transposed, first_row_of_a)
        more, calls = pair_tiles(cut.shapes, turned)
        definitions += more
    elif transposed:
        definitions.append(f"square = tile_transpose({size}, lanes, True)")
        definitions.append(f"part_of_square = tile_transpose({size}, lanes, False)")
        packing = f"""
            following = rows_of_b
            if vector + vectors < all_vectors:
                following += vectors * lanes * word(b, 12)
            elif section + 1 < sections:
                following += terms * b_row - vector * lanes * word(b, 12)
            b_row = i64({vector_bytes}) * vectors
            for i in range(0, columns, lanes):
                for l in range(0, terms, lanes):
                    source = rows_of_b + i * word(b, 12) + {size} * l
                    target = word(b, 4) + l * b_row + {size} * i
                    down = columns - i if columns - i < lanes else i64(lanes)
                    right = terms - l if terms - l < lanes else i64(lanes)
                    if (down == lanes) & (right == lanes):
                        square(source, word(b, 12), target, b_row, down, right)
                    else:
                        part_of_square(source, word(b, 12), target, b_row, down, right)
            rows_of_b = word(b, 4)"""
    elif cut.strip_bytes:
        more, packing = copied_strips(short, size, widths, cut.strips_together)
        definitions += more
    if cut.block_bytes and not cut.pairs:
        first_row_of_a, step = f"word(b, 4) + {cut.strip_bytes}", f"{size} * terms"
        more, packing_left = copied_blocks(size, heights, first_row_of_a)
        definitions += more
    if cut.parts > 1:
        term = f"{size} * height" if cut.block_bytes else "a_column"
        calls = tile_of_parts(short, cut.parts, sum_bytes, term, calls)
    newline = "\n" + " " * 16
    cut_into_strips = by_strips = ""
    more_definitions, in_last_columns = last_columns
    definitions += more_definitions
    if cut.pairs or cut.shapes:
        cut_into_strips = """all_vectors = (all_columns + lanes - 1) // lanes
    strips = (all_vectors + word(b, 19) - 1) // word(b, 19)
    widest = (all_vectors + strips - 1) // strips
    wide = all_vectors - strips * (widest - 1)
    blocks = (rows + limit - 1) // limit
    tallest = (rows + blocks - 1) // blocks
    tall = rows - blocks * (tallest - 1)"""
        by_strips = f"""
        for strip in range(strips):
            vector = strip * widest if strip <= wide else strip * (widest - 1) + wide
            vectors = widest if strip < wide else widest - 1
            columns = all_columns - vector * lanes
            columns = columns if columns < vectors * lanes else vectors * lanes
            b_row = word(b, 11)
            rows_of_b = bb + begin * b_row + vector * lanes * word(b, 12){packing}
            at = {first_row_of_a}
            to = of_c + {vector_bytes} * vector
            for block in range(blocks):
                height = tallest if block < tall else tallest - 1
                left_row = a_row if word(b, 20) else i64(0)
                left = height * a_row if word(b, 20) else {TERMS_AHEAD} * ({of_a[1]})
                {newline.join(calls)}
                at += height * {step}
                to += height * to_row"""
    in_group = group_ends = ""
    if group:
        in_group = _in_group("of_c, to_row", group, f"tile_columns * {size}")
        group_ends = _group_ends(short, size, group, "rows", "tile_columns", "n")
    return f"""
lanes = {lanes}
{chr(10).join(definitions)}


def kernel(b):
    m, n, k = word(b, 6), word(b, 7), word(b, 8)
    a_row, a_column = word(b, 9), word(b, 10)
    across, in_product, limit = word(b, 15), word(b, 16), word(b, 18)
    batch = word(b, 0) // in_product
    t = word(b, 0) - batch * in_product
    first_row = t // across
    first_column = (t - first_row * across) * word(b, 14)
    first_row = first_row * word(b, 13)
    a, bb = word(b, 1), word(b, 2)
    {batch_source(21, "a", "bb")}
    rows = m - first_row if m - first_row < word(b, 13) else word(b, 13)
    tile_columns = n - first_column if n - first_column < word(b, 14) else word(b, 14)
    all_columns = tile_columns - {cut.last.count}
    a += first_row * a_row
    bb += first_column * word(b, 12)
    c = word(b, 3) + {size} * ((batch * m + first_row) * n + first_column)
    c_row = {size} * n
    {cut_into_strips}
    sections = (k + {cut.depth - 1}) // {cut.depth}
    for section in range(sections):
        begin = section * k // sections
        terms = (section + 1) * k // sections - begin
        more = word(b, 17) if section == 0 else i64(1)
        of_c, to_row = c, c_row
        {in_group}{packing_left}{by_strips}{in_last_columns}
        {group_ends}
    return i64(0)
"""
