"""From convolutions to stages of calls of kernels: which run, and the words that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, Value
from ...ir.ops.convolution import windows
from ...passes.graph.views import View
from ...passes.kernels.conv_epilogue import epilogue_of
from ...passes.kernels.conv_operands import Operand, added_input, convolution_of, is_convolution, operand
from ...passes.kernels.conv_tiles import (
    MOST_TOGETHER,
    PLAIN_TILE,
    ConvTiles,
    Geometry,
    Phase,
    PlainGradient,
    WeightGradientTiles,
    conv_tiles,
    meetings,
    merged,
    weight_gradient_tiles,
)
from ...passes.kernels.register_tiles import VECTOR_BYTES, rows, tile_shapes
from . import conv_copy, plain_convolution, tiled_convolution


@dataclass(frozen=True, slots=True)
class Scratch:
    """An address in the unit's scratch: `offset` bytes in, and `apart` bytes further for each worker."""

    offset: int
    apart: int = 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """The address of a kernel that another one calls."""

    source: str


Word = Value | Scratch | Kernel | int | None
"""None is the tile."""


@dataclass(frozen=True)
class Call:
    """A call of a kernel, which reads the tile, addresses and numbers, in the order of `words`."""

    source: str
    words: list[Word]


@dataclass(frozen=True)
class Stage:
    """`tiles` independent tiles, each of which makes all calls, one after the other."""

    tiles: int
    calls: list[Call]


def stages(unit: Node, views: Mapping[Value, View], threads: int) -> list[Stage]:
    """The stages of a convolution for so many workers, each after the one before; in its `_add` form where the result
    already holds what is added to.
    """
    if is_convolution(convolution_of(unit)):
        return _convolution(unit, views, threads)
    return _weight_gradient(unit, views, threads)


def _convolution(unit: Node, views: Mapping[Value, View], threads: int) -> list[Stage]:
    tiles = conv_tiles(unit)
    if tiles is None:
        return [_plain_convolution(unit)]
    calls = [_convolve(unit, tiles)]
    if not tiles.direct:
        read = operand(unit, 0, views, tiles.geometry.images_of(0))
        target = Scratch(tiles.packed_bytes, tiles.band_bytes)
        apart = sum(read.line_bytes(tiles.copied[1]))
        lines = Scratch(tiles.packed_bytes + threads * tiles.band_bytes, apart)
        where = [tiles.images, tiles.bands, tiles.band * tiles.phases[0][0].step, tiles.origin[0]]
        calls.insert(0, _copy(read, None, target, lines, [*where, tiles.copied[0], tiles.origin[1], tiles.copied[1]]))
    return [_pack(unit, tiles, views), Stage(tiles.tiles, calls)]


def _weight_gradient(unit: Node, views: Mapping[Value, View], threads: int) -> list[Stage]:
    tiles = weight_gradient_tiles(unit)
    if tiles is None:
        return [_plain_weight_gradient(unit)]
    return [_sum(unit, tiles, views, threads), _add_parts(unit, tiles)]


def _copy(read: Operand, tile: int | None, target: Scratch, lines: Scratch, where: Sequence[int]) -> Call:
    """Makes rows of images of an operand; `where` are the words 7 to 13 of the kernel."""
    words: list[Word] = [tile, target, lines, *read.lengths, *where, read.repeated]
    at = 0
    for source, nbytes in zip(read.sources, read.line_bytes(where[-1])):
        words += [source.value, *source.strides, at]
        at += nbytes
    return Call(conv_copy.copy_images(read), words)


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


def _pack(unit: Node, tiles: ConvTiles, views: Mapping[Value, View]) -> Stage:
    g = tiles.geometry
    weight = _given(unit, 1)
    strips = g.channel_strips
    groups, inner, outer = _channels(g)
    kernel_rows, kernel_columns = g.kernel
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * (kernel_rows * kernel_columns)
    for (row, column), before in zip(tiles.phases, _rows_before(tiles)):
        for t in range(row.taps):
            for s in range(column.taps):
                place = (row.tap + t * row.tap_step) * kernel_columns + column.tap + s * column.tap_step
                places[place] = (before, row.taps * column.taps * g.inner, t * column.taps + s)
    of_out, of_in, *of_kernel = views[weight].strides
    if len(of_kernel) == 1:
        of_kernel.insert(0, 0)
    numbers = [of_out, of_in, *of_kernel, inner, outer, groups, strips.count, strips.width, strips.wide]
    numbers += [strips.vectors, kernel_rows, kernel_columns, tiles.packed, *(n for place in places for n in place)]
    count = groups * strips.count * -(-inner // 8)
    source = tiled_convolution.pack(convolution_of(unit).output.type.dtype, _lanes(g))
    return Stage(count, [Call(source, [None, weight, Scratch(0), *numbers])])


def _given(unit: Node, number: int) -> Value:
    """What is given to `unit` as operand `number` of its convolution."""
    if unit.op.name != "conv_region":
        return unit.inputs[number]
    return unit.inputs[unit.attrs["body"].inputs.index(convolution_of(unit).inputs[number])]


def _convolve(unit: Node, tiles: ConvTiles) -> Call:
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
        numbers += [*_words(down), *_words(across), before, cut.blocks, cut.most, cut.long, int(_adds(unit))]
    shapes = tile_shapes(cuts, sorted(strips.widths()))
    dtype = convolution_of(unit).output.type.dtype
    source = tiled_convolution.convolve(dtype, _lanes(g), shapes, _partly_there(g), g.depthwise)
    read = _given(unit, 0) if tiles.direct else Scratch(tiles.packed_bytes, tiles.band_bytes)
    epilogue = epilogue_of(unit)
    target = unit.outputs[0 if epilogue is None else epilogue.home]
    return Call(source, [None, read, Scratch(0), target, *numbers])


def _words(phase: Phase) -> list[int]:
    return [phase.first, phase.count, phase.source, phase.taps]


def _sum(unit: Node, tiles: WeightGradientTiles, views: Mapping[Value, View], threads: int) -> Stage:
    g, blocks = tiles.geometry, tiles.blocks
    strips = g.channel_strips
    _, inner, outer = _channels(g)
    numbers = [g.images, *g.lengths, *g.steps, inner, outer, g.groups * g.inner, g.groups * g.outer]
    numbers += [tiles.images, tiles.bands, tiles.band, tiles.passes, tiles.parts, tiles.shares, tiles.units]
    numbers += [strips.count, strips.width, strips.wide, strips.vectors, blocks.blocks, blocks.most, blocks.long]
    numbers += [*g.kernel, tiles.part_bytes // VECTOR_BYTES, tiles.turns, tiles.section]
    copies = _copies(unit, tiles, views, threads)
    at = 4 + len(numbers) + 4 * 2 + 5 * sum(g.kernel)
    words: list[Word] = []
    for number, copy in enumerate(copies):
        begins = tiles.copied(number)
        numbers += [at + len(words) if copy else 0, *(begins if copy else (0, 0, g.images_of(number)[1]))]
        words += [] if copy is None else [Kernel(copy.source), *copy.words]
    for axis in zip(g.windows, g.lengths, g.steps, g.kernel):
        for m in meetings(*axis):
            numbers += [m.first, m.count, m.apart, m.source, m.step]
    dtype, widths = convolution_of(unit).output.type.dtype, sorted(strips.widths())
    if g.depthwise:
        shapes = [(size, width) for size in sorted({1, min(g.kernel[1], MOST_TOGETHER)}) for width in widths]
        source = tiled_convolution.depthwise_weight_gradient(
            dtype, _lanes(g), shapes, _partly_there(g), tiles.section > 0
        )
    else:
        shapes = tile_shapes([blocks], widths)
        source = tiled_convolution.weight_gradient(dtype, _lanes(g), shapes, _partly_there(g), tiles.section > 0)
    read = [_given(unit, n) if copy is None else copy.words[1] for n, copy in enumerate(copies)]
    call = Call(source, [None, *read, Scratch(0), *numbers, *words])
    return Stage(tiles.parts * tiles.shares, [call])


def _copies(unit: Node, tiles: WeightGradientTiles, views: Mapping[Value, View], threads: int) -> list[Call | None]:
    """For each operand, the call that makes it for a turn, if the tile does."""
    begin = tiles.parts * tiles.part_bytes
    lines = begin + threads * sum(map(tiles.copied_bytes, (0, 1)))
    result: list[Call | None] = []
    for number in (0, 1):
        if not tiles.made[number]:
            result.append(None)
            continue
        read = operand(unit, number, views, tiles.geometry.images_of(number))
        nbytes, apart = tiles.copied_bytes(number), sum(read.line_bytes(tiles.copied_columns(number)))
        step, first, rows_ = tiles.copied(number)
        where = [tiles.images // tiles.turns, tiles.bands, step, first, rows_, 0, read.lengths[2]]
        result.append(_copy(read, 0, Scratch(begin, nbytes), Scratch(lines, apart), where))
        begin += threads * nbytes
        lines += threads * apart
    return result


def _adds(unit: Node) -> bool:
    """Whether what is computed is added to what the result holds."""
    return added_input(unit) is not None


def _add_parts(unit: Node, tiles: WeightGradientTiles) -> Stage:
    g = tiles.geometry
    groups, inner, outer = _channels(g)
    vectors = g.channel_strips.vectors
    numbers = [tiles.parts, tiles.part_bytes // VECTOR_BYTES, vectors, inner, outer, math.prod(g.kernel)]
    numbers.append(int(_adds(unit)))
    source = tiled_convolution.add_parts(convolution_of(unit).output.type.dtype, _lanes(g))
    return Stage(groups * vectors, [Call(source, [None, Scratch(0), unit.output, *numbers])])


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


def _plain_convolution(node: Node) -> Stage:
    (x, w), y = node.inputs, node.output
    positions = math.prod(y.type.shape[:-1])
    step = max(1, PLAIN_TILE // max(w.type.size, 1))
    source = plain_convolution.convolution(y.type.dtype)
    call = Call(source, [None, step, positions, x, w, y, *_plain_words(x, w, y, node)])
    return Stage(-(-positions // step), [call])


def _plain_weight_gradient(node: Node) -> Stage:
    (x, g), w = node.inputs[:2], node.output
    channels, cut = w.type.shape[0], PlainGradient.of(node)
    words: list[Word] = [*_plain_words(x, w, g, node), cut.positions, int(_adds(node)), cut.section]
    words.append(Scratch(0, cut.worker_bytes))
    source = plain_convolution.weight_gradient(w.type.dtype, cut.worker_bytes > 0)
    return Stage(-(-channels // cut.channels), [Call(source, [None, cut.channels, channels, x, g, w, *words])])
