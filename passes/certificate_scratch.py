"""How much room units need to work in, as the certificate reckons it."""

from __future__ import annotations

import numpy as np

from ..ir import Array, ArrayType, Graph, Node
from .conv_tiles import conv_tiles, weight_gradient_tiles
from .dot_tiles import DEPTH, DotTiles
from .moments import MomentTiles
from .views import View

_LINE = 64
CONVOLUTIONS = ("conv", "conv_add")


def lines(nbytes: int) -> int:
    """Bytes of whole cache lines."""
    return -(-nbytes // _LINE) * _LINE


def convolution_in(body: Graph) -> Node:
    """The convolution, or the gradient to a weight, of a unit with this body."""
    (found,) = [node for node in body.nodes if node.op.name.startswith("conv")]
    return found


def convolution_scratch(unit: Node, threads: int) -> int:
    """Packed weights and copied image rows of every worker, or the parts of a weight gradient."""
    node = unit if unit.op.name != "conv_region" else convolution_in(unit.attrs["body"])
    if node.op.name in CONVOLUTIONS:
        x, w, tiles = node.inputs[0].type, node.inputs[1].type, conv_tiles(unit)
        if tiles is None:
            return 0
        places = sum(down.taps * across.taps for down, across in tiles.phases)
        weights = _channel_lines(w, node.attrs["groups"]) * places * w.shape[1]
        copied = 0 if tiles.direct else tiles.images * tiles.copied[0] * tiles.copied[1] * x.shape[-1]
        return weights + threads * lines(copied * x.dtype.itemsize)
    w, parts = node.output.type, weight_gradient_tiles(unit)
    if parts is None:
        return 0
    return parts.parts * _channel_lines(w, node.attrs["groups"]) * int(np.prod(w.shape[1:]))


def moments_scratch(node: Node, threads: int) -> int:
    """Two rows of sums for each tile, and for every worker as many lines of lanes."""
    tiles = MomentTiles.of(node)
    row = node.output.type.nbytes
    return lines(tiles.tiles * row) + threads * lines(tiles.lanes * row)


def unlike(window: Array, positions: int, columns: int, channels: int) -> int:
    """Elements of the line in which a window on images of so many positions is laid out as a row of them; 0 if it lies
    so, or has one element for all of a row.
    """
    *before, across, along = [s if n > 1 else 0 for n, s in zip(window.shape, window.strides)] or [0, 0]
    if window.size == 1 or not (across or along):
        return 0
    if positions > 1 and not any(before) and not across:
        return -(-256 // channels) * channels
    together = window.itemsize == along or channels == 1
    return 0 if together and (across == channels * window.itemsize or window.shape[-2] == 1) else columns * channels


def strip_scratch(cut: DotTiles, y: View) -> int:
    """A section of the widest strip of the right operand, where register tiles need it as rows."""
    if not cut.shapes or y.strides[-1] == 1 or y.shape[-1] == 1:
        return 0
    return min(y.shape[-2], DEPTH) * max(vectors for _, vectors in cut.shapes) * _LINE


def _channel_lines(w: ArrayType, groups: int) -> int:
    """Bytes of one element for each channel out, where each group begins a line, or all together if each is alone."""
    if w.shape[1] == 1 and w.shape[0] == groups:
        groups = 1
    return groups * lines(w.shape[0] // groups * w.dtype.itemsize)
