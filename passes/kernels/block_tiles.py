"""Tiles of products that blocks of a GPU make by our own kernels, and the parts in which long sums are made.

An element is a sum of sections of `DEPTH` terms, each a chain of fused multiply-adds as by the register tiles of a CPU.
Where a result has few tiles and sums are long, parts of several sections are made side by side, and added up in their
order. Tiles change no bits; parts follow from shape and target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.types import is_float
from ..target import Target
from .matmul_tiles import DEPTH
from .matrix_products import MatrixProduct

_LEAST_SECTIONS = 4
"""Sections of a sum from which on it is made in parts."""
_MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class BlockTile:
    """A block makes `rows` x `columns` of a result, each of its threads `down` x `across` of them in registers. `strip`
    terms of its factors stand in shared memory at a time, and as many are on their way to registers.
    """

    rows: int
    columns: int
    down: int
    across: int
    strip: int = 16

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.rows // self.down) * (self.columns // self.across)

    def tiles(self, m: int, n: int) -> int:
        """Tiles of an (m, n) result."""
        return -(-m // self.rows) * -(-n // self.columns)

    def fits(self, m: int, n: int) -> bool:
        """Whether more than half of a tile is of the result."""
        return 2 * m > self.rows and 2 * n > self.columns


_OF_FLOAT32 = (BlockTile(128, 64, 8, 8, 8), BlockTile(64, 64, 8, 4), BlockTile(32, 32, 4, 4), BlockTile(16, 16, 2, 2))
_OF_OTHERS = (BlockTile(64, 64, 4, 4), BlockTile(32, 32, 4, 4), BlockTile(16, 16, 2, 2))
"""The largest first: a sum of eight bytes takes two registers."""


@dataclass(frozen=True, slots=True)
class BlockTiles:
    """How products are cut: in `parts` of `terms` terms each, the last with fewer; `part_bytes` hold them all, where
    there are several.
    """

    tile: BlockTile
    parts: int
    terms: int
    part_bytes: int


def block_tiles(m: int, n: int, k: int, batches: int, dtype: np.dtype[Any], target: Target) -> BlockTiles:
    """The cut of `batches` products of (m, k) and (k, n)."""
    wanted = max((target.multiprocessors or 1) // 2, 1)
    kinds = _OF_FLOAT32 if dtype.itemsize <= 4 and is_float(dtype) else _OF_OTHERS
    fitting = [tile for tile in kinds if tile.fits(m, n)] or [kinds[-1]]
    tile = next((tile for tile in fitting if batches * tile.tiles(m, n) >= wanted), fitting[-1])
    sections = -(-k // DEPTH)
    parts = 1
    if sections >= _LEAST_SECTIONS and is_float(dtype):
        parts = min(max(wanted // max(batches * tile.tiles(m, n), 1), 1), sections, _MOST_PARTS)
    each = -(-sections // parts) if parts > 1 else 1
    parts = -(-sections // each) if parts > 1 else 1
    held = 4 if dtype.itemsize < 4 else dtype.itemsize
    nbytes = target.round_to_line(parts * batches * m * n * held) if parts > 1 else 0
    return BlockTiles(tile, parts, each * DEPTH if parts > 1 else max(k, 1), nbytes)


def product_tiles(product: MatrixProduct, target: Target) -> BlockTiles:
    """The cut of products of matrices."""
    return block_tiles(product.m, product.n, product.k, product.batches, product.dtype, target)
