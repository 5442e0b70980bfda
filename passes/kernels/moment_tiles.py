"""How one pass over rows is cut that leaves their sums and their squares' sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node
from ..target import Target
from .loop_nest import squeezed
from .row_tiles import RowTiles, column_tiles, lanes_of


@dataclass(frozen=True)
class MomentTiles:
    """How `moments` of `rows` rows of `columns` runs: `tiles` tiles of rows leave their parts, of their own mean; each
    worker has two lines of `lanes` rows.
    """

    rows: int
    columns: int
    itemsize: int
    cut: RowTiles
    lanes: int
    target: Target

    @staticmethod
    def of(node: Node, target: Target) -> MomentTiles:
        """Those of a node, by the shape of its operand and the target alone."""
        x, rows = node.inputs[0].type, node.attrs["rows"]
        shape, columns = squeezed(x.shape[:rows]), math.prod(x.shape[rows:])
        cut = column_tiles(shape, columns, target)
        return MomentTiles(math.prod(shape), columns, x.dtype.itemsize, cut, lanes_of(columns, cut.step), target)

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
        return self.target.round_to_line(2 * self.lanes * self.columns * self.itemsize)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of scratch for so many workers: the parts, then the lines."""
        return self.part_bytes + threads * self.line_bytes
