"""How many tiles a unit has at most: a GPU runs no more blocks than that, so no more have scratch."""

from __future__ import annotations

import math

from ...ir import Node
from ...ir.ops import indexing
from ..target import Target
from .scatter_sums import ScatterSums


def workers_with_scratch(node: Node, workers: int, target: Target) -> int:
    """Of so many workers those that need scratch for a lone operation: on a GPU as many as it has tiles, on a CPU all,
    since any thread may take a tile.
    """
    return min(workers, max(_most_tiles(node, target), 1)) if target.is_gpu else workers


def _most_tiles(node: Node, target: Target) -> int:
    shape = (*node.inputs, *node.outputs)[0].type.shape
    if node.op is indexing.scatter_add:
        axis: int = node.attrs["axis"]
        return math.prod(shape[:axis]) * -(-math.prod(shape[axis + 1 :]) // ScatterSums.of(node, target).columns)
    if node.op.family == "linalg":
        return math.prod(shape[:-2])
    along: int | None = node.attrs.get("axis")
    return 1 if along is None else math.prod(shape) // max(shape[along], 1)
