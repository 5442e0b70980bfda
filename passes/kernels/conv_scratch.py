"""Scratch of a convolution or weight gradient: that of its tiles, then lines for the prologues of each worker."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Node, Value
from ..graph.views import View
from ..target import Target
from .conv_operands import convolution_of, data_operands, has_prologue, is_convolution, operand
from .conv_products import conv_block_tiles
from .conv_tiles import conv_tiles
from .plain_conv_tiles import PlainWeightGradient
from .weight_gradient_tiles import weight_gradient_tiles


def scratch_bytes(unit: Node, threads: int, views: Mapping[Value, View], target: Target) -> int:
    """Bytes of scratch that a convolution or weight gradient needs, without those of its epilogue."""
    if target.is_gpu:
        cut = conv_block_tiles(unit, target)
        return 0 if cut is None else cut.part_bytes
    node = convolution_of(unit)
    tiles = conv_tiles(unit, target) if is_convolution(node) else weight_gradient_tiles(unit, target)
    if tiles is None:
        return 0 if is_convolution(node) else threads * PlainWeightGradient.of(node, target).worker_bytes
    of_lines = 0
    for number in range(data_operands(node)):
        if has_prologue(unit, number):
            read = operand(unit, number, views, tiles.geometry.images_of(number))
            of_lines += sum(read.line_bytes(tiles.copied_columns(number), target))
    return tiles.scratch_bytes(threads) + threads * of_lines
