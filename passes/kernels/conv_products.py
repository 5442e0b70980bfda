"""Convolutions, and gradients of their weights, as products of matrices that never stand in memory.

Rows of the left factor of a convolution are positions of the result, its columns places of the kernel and channels.
Known elsewhere as implicit GEMM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir import Node
from ..target import Target
from .block_tiles import BlockTiles, block_tiles
from .conv_operands import is_convolution

_LEAST_CHANNELS = 4
"""Channels that a group must have for a product: with fewer, a block would compute little of its tile."""


@dataclass(frozen=True, slots=True)
class ConvProduct:
    """So many products (m, k) x (k, n), one for each group: of (positions, `taps` x `inner`) and (`taps` x `inner`,
    `outer`) for a convolution, of (`outer`, positions) and (positions, `taps` x `inner`) for the gradient of a weight.
    """

    groups: int
    positions: int
    taps: int
    inner: int
    outer: int
    of_weight: bool

    @property
    def m(self) -> int:
        """Rows of a result."""
        return self.outer if self.of_weight else self.positions

    @property
    def n(self) -> int:
        """Columns of a result."""
        return self.taps * self.inner if self.of_weight else self.outer

    @property
    def k(self) -> int:
        """Terms of a sum."""
        return self.positions if self.of_weight else self.taps * self.inner


def conv_product(node: Node) -> ConvProduct | None:
    """The product that a convolution or the gradient of a weight is, None where a thread an element is better."""
    forward, groups = is_convolution(node), node.attrs["groups"]
    weight = node.inputs[1].type if forward else node.output.type
    results = node.output.type if forward else node.inputs[1].type
    outer = weight.shape[0] // groups
    if forward and groups > 1 and outer < _LEAST_CHANNELS:
        return None
    positions, taps = math.prod(results.shape[:-1]), math.prod(weight.shape[2:])
    return ConvProduct(groups, positions, taps, weight.shape[1], outer, not forward)


def conv_block_tiles(node: Node, target: Target) -> BlockTiles | None:
    """The cut of that product."""
    of = conv_product(node)
    return None if of is None else block_tiles(of.m, of.n, of.k, of.groups, node.output.type.dtype, target)
