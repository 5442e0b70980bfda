"""Tiles of the plain kernels of convolutions and weight gradients, which take any number of spatial axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node
from ..target import Target
from .weight_gradient_tiles import FEW_TERMS, SECTION

PLAIN_TILE = 1 << 15
"""Multiply-adds that one tile of a plain kernel takes."""


@dataclass(frozen=True, slots=True)
class PlainWeightGradient:
    """Tiles of a weight gradient without a tiled kernel: so many output `channels` each.

    The sum over `positions` is taken in sections of so many terms. Where there are several, each is summed in
    `worker_bytes` of scratch, and then added.
    """

    channels: int
    positions: int
    section: int
    worker_bytes: int

    @staticmethod
    def of(node: Node, target: Target) -> PlainWeightGradient:
        """That of a node, by its shapes and the target alone."""
        w, g = node.output.type, node.inputs[1].type
        positions, weights = math.prod(g.shape[:-1]), math.prod(w.shape[1:])
        channels = max(1, PLAIN_TILE // max(weights * positions, 1))
        if positions <= FEW_TERMS:
            return PlainWeightGradient(channels, positions, max(positions, 1), 0)
        section = max(SECTION, math.isqrt(positions))
        worker_bytes = target.round_to_line(channels * weights * w.dtype.itemsize)
        return PlainWeightGradient(channels, positions, section, worker_bytes)
