"""Tiles of rows whose sums and squared distances from the mean are taken in one reading."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node
from ..target import Target
from .loop_nest import squeezed
from .row_tiles import RowTiles, accumulator_count, column_tiles


@dataclass(frozen=True)
class MomentTiles:
    """Tiles of `moments` over `rows` rows of `columns`.

    Each of `tiles` tiles leaves a part: its sums, and the squared distances from its own mean. That mean is near the
    tile's elements, so the squares lose no digits beside a large mean. A worker has two lines of `accumulators` rows:
    neighbouring short rows are added to different ones, so that additions overlap.
    """

    rows: int
    columns: int
    itemsize: int
    cut: RowTiles
    accumulators: int
    target: Target

    @staticmethod
    def of(node: Node, target: Target) -> MomentTiles:
        """Those of a node, by the shape of its operand and the target alone."""
        x, rows = node.inputs[0].type, node.attrs["rows"]
        shape, columns = squeezed(x.shape[:rows]), math.prod(x.shape[rows:])
        cut = column_tiles(shape, columns, target)
        accumulators = accumulator_count(columns, cut.step)
        return MomentTiles(math.prod(shape), columns, x.dtype.itemsize, cut, accumulators, target)

    @property
    def tiles(self) -> int:
        """Tiles of rows."""
        return self.cut.count(self.rows) if self.columns else 0

    @property
    def part_bytes(self) -> int:
        """Bytes of the parts of all tiles."""
        return self.target.round_to_line(2 * self.tiles * self.columns * self.itemsize)

    @property
    def line_bytes(self) -> int:
        """Bytes of the lines of one worker."""
        return self.target.round_to_line(2 * self.accumulators * self.columns * self.itemsize)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of scratch for so many workers: the parts, then the lines."""
        return self.part_bytes + threads * self.line_bytes
