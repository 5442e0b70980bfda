"""Sums of `scatter_add` in float32: in groups or in float64, so that rounding errors of many updates stay small."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node
from ..target import Target

# Columns that a tile takes, at least.
_LEAST_COLUMNS = 64
# Updates that an entry may get one after the other; fewer where loops add to what the step before has left.
_MOST_IN_A_ROW = 512
_MOST_OF_A_STEP = 64
# Updates for each entry, on average, from which on there is room for entries of twice the size.
_MANY = 16
# Updates of a group, and elements of them for so many bytes of the L2 cache: from there they are read once more.
_LEAST_UPDATES, _MOST_UPDATES = 512, 4096
_BYTES_AN_ELEMENT = 32
# Updates of a batch that a GPU links: for each it looks through the indices of all others.
_MOST_LINKED = 32768


def link_bytes(node: Node, target: Target) -> int:
    """Bytes of the links by which a GPU finds the updates of an entry in their order, and of what says which of them is
    the first; 0 where there are none.
    """
    indices = node.inputs[1].type
    count = math.prod(indices.shape[node.attrs["batch"] :])
    if not target.is_gpu or not 1 < count <= _MOST_LINKED or not node.inputs[2].type.size:
        return 0
    return 2 * target.round_to_line(4 * indices.size)


@dataclass(frozen=True, slots=True)
class ScatterSums:
    """Tiles of `columns` columns. With `doubles` so many entries are summed in float64, in the scratch of a worker.

    With `updates`, so many updates are a group, which is sorted by entries: what each gets of it is summed in two lines
    and then added. The entries of a group are found in a table of `slots` places. Otherwise all updates are added one
    after the other.
    """

    columns: int
    target: Target
    doubles: int = 0
    updates: int = 0
    slots: int = 0

    @staticmethod
    def of(node: Node, target: Target) -> ScatterSums:
        """Those of a `scatter_add`, from its operands and the target alone."""
        x, indices = node.inputs[0].type, node.inputs[1].type
        axis: int = node.attrs["axis"]
        batch: int = node.attrs["batch"]
        length, inner, count = x.shape[axis], math.prod(x.shape[axis + 1 :]), math.prod(indices.shape[batch:])
        columns = max(1, min(inner, max(_LEAST_COLUMNS, -(-inner // 8))))
        most = _MOST_OF_A_STEP if node.inputs[0].node is None else _MOST_IN_A_ROW
        if (x.dtype.kind, x.dtype.itemsize) != ("f", 4) or count <= most or x.size == 0:
            return ScatterSums(columns, target)
        if count >= _MANY * length:
            return ScatterSums(columns, target, doubles=length)
        updates = min(count, max(_LEAST_UPDATES, min(_MOST_UPDATES, target.l2_bytes // _BYTES_AN_ELEMENT // columns)))
        return ScatterSums(columns, target, updates=updates, slots=1 << updates.bit_length())

    @property
    def table_bytes(self) -> int:
        """Bytes of the table, and of a link for each update, of one worker."""
        return self.target.round_to_line(4 * (self.slots + self.updates))

    @property
    def worker_bytes(self) -> int:
        """Bytes of scratch of one worker."""
        if self.doubles:
            return self.target.round_to_line(8 * self.doubles * self.columns)
        return self.table_bytes + self.target.round_to_line(2 * self.columns * 4) if self.updates else 0
