"""From convolutions to calls of kernels: which run, and the words that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import Node, Value
from ...ir.ops.convolution import windows
from ...passes.conv_tiles import (
    MOST_TOGETHER,
    VECTOR_BYTES,
    ConvTiles,
    Geometry,
    Phase,
    WeightGradientTiles,
    conv_tiles,
    meetings,
    merged,
    rows,
    tile_shapes,
    weight_gradient_tiles,
)
from ...passes.views import View
from . import plain_convolution, tiled_convolution

# Multiply-adds that one tile of a plain kernel takes.
_PLAIN_TILE = 1 << 15


@dataclass(frozen=True, slots=True)
class Scratch:
    """An address in the unit's scratch: `offset` bytes in, and `apart` bytes further for each worker."""

    offset: int
    apart: int = 0


@dataclass(frozen=True)
class Call:
    """`tiles` independent calls of a kernel, which reads the tile, addresses and numbers, in the order of `words`."""

    tiles: int
    source: str
    words: list[Value | Scratch | int | None]
    """None is the tile."""


def convolution(node: Node, views: Mapping[Value, View]) -> list[Call]:
    """The calls of a `conv`, each after the one before."""
    tiles = conv_tiles(node)
    if tiles is None:
        return [_plain_convolution(node)]
    return [_pack(node, tiles, views[node.inputs[1]]), _convolve(node, tiles)]


def weight_gradient(node: Node, views: Mapping[Value, View]) -> list[Call]:
    """The calls of a `conv_weight_gradient`, each after the one before; of the `_add` form where the result already
    holds what is added to.
    """
    tiles = weight_gradient_tiles(node)
    if tiles is None:
        return [_plain_weight_gradient(node)]
    return [_sum(node, tiles), _add_parts(node, tiles)]


def _lanes(g: Geometry) -> int:
    return VECTOR_BYTES // g.itemsize


def _partly_there(g: Geometry) -> bool:
    """Whether the last vector of a group's channels has lanes without a channel."""
    return (g.groups if g.depthwise else g.outer) % _lanes(g) != 0


def _channels(g: Geometry) -> tuple[int, int, int]:
    """Groups that have strips of their own, and channels in and out of each."""
    return (1, 1, g.groups) if g.depthwise else (g.groups, g.inner, g.outer)


def _rows_before(tiles: ConvTiles) -> list[int]:
    """For each phase, the rows of packed vectors that the phases before it have."""
    g = tiles.geometry
    before = [0]
    for row, column in tiles.phases:
        before.append(before[-1] + row.taps * column.taps * g.inner)
    return before


def _pack(node: Node, tiles: ConvTiles, view: View) -> Call:
    g = tiles.geometry
    strips = g.channel_strips
    groups, inner, outer = _channels(g)
    kernel_rows, kernel_columns = g.kernel
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * (kernel_rows * kernel_columns)
    for (row, column), before in zip(tiles.phases, _rows_before(tiles)):
        for t in range(row.taps):
            for s in range(column.taps):
                place = (row.tap + t * row.tap_step) * kernel_columns + column.tap + s * column.tap_step
                places[place] = (before, row.taps * column.taps * g.inner, t * column.taps + s)
    of_out, of_in, *of_kernel = view.strides
    if len(of_kernel) == 1:
        of_kernel.insert(0, 0)
    numbers = [of_out, of_in, *of_kernel, inner, outer, groups, strips.count, strips.width, strips.wide]
    numbers += [strips.vectors, kernel_rows, kernel_columns, tiles.packed, *(n for place in places for n in place)]
    count = groups * strips.count * -(-inner // 8)
    source = tiled_convolution.pack(node.output.type.dtype, _lanes(g))
    return Call(count, source, [None, node.inputs[1], Scratch(0), *numbers])


def _convolve(node: Node, tiles: ConvTiles) -> Call:
    g, (first, *_) = tiles.geometry, tiles.phases
    strips = g.channel_strips
    groups, inner, outer = _channels(g)
    row, column = first
    numbers = [g.images, *g.lengths, *g.steps, groups, inner, outer, g.groups * g.inner, g.groups * g.outer]
    numbers += [tiles.images, tiles.bands, tiles.band, *tiles.copied, *tiles.origin, int(tiles.direct)]
    numbers += [row.step, row.apart, column.step, column.apart, row.tap_apart, column.tap_apart]
    numbers += [strips.count, strips.width, strips.wide, strips.vectors, tiles.packed]
    numbers += [int(tiles.by_kernel_row), int(merged(g, column.tap_apart)), len(tiles.phases)]
    cuts = [rows(across.count, strips.width) for _, across in tiles.phases]
    for (down, across), before, cut in zip(tiles.phases, _rows_before(tiles), cuts):
        numbers += [*_words(down), *_words(across), before, cut.blocks, cut.most, cut.long, 0]
    shapes = tile_shapes(cuts, sorted(strips.widths()))
    source = tiled_convolution.convolve(node.output.type.dtype, _lanes(g), shapes, _partly_there(g), g.depthwise)
    copied = Scratch(tiles.packed_bytes, tiles.band_bytes)
    return Call(tiles.tiles, source, [None, node.inputs[0], Scratch(0), node.output, copied, *numbers])


def _words(phase: Phase) -> list[int]:
    return [phase.first, phase.count, phase.source, phase.taps]


def _sum(node: Node, tiles: WeightGradientTiles) -> Call:
    g, blocks = tiles.geometry, tiles.blocks
    strips = g.channel_strips
    _, inner, outer = _channels(g)
    numbers = [g.images, *g.lengths, *g.steps, inner, outer, g.groups * g.inner, g.groups * g.outer]
    numbers += [tiles.images, tiles.bands, tiles.band, tiles.passes, tiles.parts, tiles.shares, tiles.units]
    numbers += [strips.count, strips.width, strips.wide, strips.vectors, blocks.blocks, blocks.most, blocks.long]
    numbers += [*g.kernel, tiles.part_bytes // VECTOR_BYTES]
    for axis in zip(g.windows, g.lengths, g.steps, g.kernel):
        for m in meetings(*axis):
            numbers += [m.first, m.count, m.apart, m.source, m.step]
    dtype, widths = node.output.type.dtype, sorted(strips.widths())
    if g.depthwise:
        shapes = [(size, width) for size in sorted({1, min(g.kernel[1], MOST_TOGETHER)}) for width in widths]
        source = tiled_convolution.depthwise_weight_gradient(dtype, _lanes(g), shapes, _partly_there(g))
    else:
        shapes = tile_shapes([blocks], widths)
        source = tiled_convolution.weight_gradient(dtype, _lanes(g), shapes, _partly_there(g))
    return Call(tiles.parts * tiles.shares, source, [None, *node.inputs[:2], Scratch(0), *numbers])


def _adds(node: Node) -> bool:
    """Whether the gradient is added to what the result holds."""
    return node.op.name == "conv_weight_gradient_add"


def _add_parts(node: Node, tiles: WeightGradientTiles) -> Call:
    g = tiles.geometry
    groups, inner, outer = _channels(g)
    vectors = g.channel_strips.vectors
    numbers = [tiles.parts, tiles.part_bytes // VECTOR_BYTES, vectors, inner, outer, math.prod(g.kernel)]
    numbers.append(int(_adds(node)))
    source = tiled_convolution.add_parts(node.output.type.dtype, _lanes(g))
    return Call(groups * vectors, source, [None, Scratch(0), node.output, *numbers])


# ---- what has no tiled kernel


def _plain_words(x: Value, w: Value, y: Value, node: Node) -> list[int]:
    groups: int = node.attrs["groups"]
    inner, outer = w.type.shape[1], w.type.shape[0] // groups
    lengths, steps, kernel = x.type.shape[1:-1], y.type.shape[1:-1], w.type.shape[2:]
    axes = [
        (n, o, k, a.stride, a.low, a.dilation, a.expand)
        for n, o, k, a in zip(lengths, steps, kernel, windows(node.attrs))
    ]
    sizes = [math.prod(steps), math.prod(x.type.shape[1:]), math.prod(kernel), len(axes)]
    return [inner, outer, groups, *sizes, *(word for axis in axes for word in axis)]


def _plain_convolution(node: Node) -> Call:
    (x, w), y = node.inputs, node.output
    positions = math.prod(y.type.shape[:-1])
    step = max(1, _PLAIN_TILE // max(w.type.size, 1))
    source = plain_convolution.convolution(y.type.dtype)
    return Call(-(-positions // step), source, [None, step, positions, x, w, y, *_plain_words(x, w, y, node)])


def _plain_weight_gradient(node: Node) -> Call:
    (x, g), w = node.inputs[:2], node.output
    positions, channels = math.prod(g.type.shape[:-1]), w.type.shape[0]
    step = max(1, _PLAIN_TILE // max(math.prod(w.type.shape[1:]) * positions, 1))
    words = [*_plain_words(x, w, g, node), positions, int(_adds(node))]
    source = plain_convolution.weight_gradient(w.type.dtype)
    return Call(-(-channels // step), source, [None, step, channels, x, g, w, *words])
