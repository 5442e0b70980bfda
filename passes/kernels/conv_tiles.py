"""How convolutions are cut: into phases, bands of image rows, strips of channels, parts of a weight gradient.

All of it follows from the shapes, never from the number of threads: the planner takes scratch by these numbers, and
the code generator makes loops of them.

An output that meets an input with zeros between its elements (`expand`) splits into *phases*: every `apart`-th output
along an axis meets the same places of the kernel. So no product with a zero that stands between two elements is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from ...ir import Node, Value
from ...ir.ops.convolution import Window, windows
from ...ir.types import ArrayType
from ..graph.views import View
from ..target import Target
from .conv_epilogue import has_sums, output_cut, wanted_cut
from .conv_operands import convolution_of, data_operands, has_prologue, is_convolution, operand
from .register_tiles import Rows, Strips, rows, strips
from .row_tiles import RowTiles

PLAIN_TILE = 1 << 15
"""Multiply-adds that one tile of a plain kernel takes."""
MOST_TOGETHER = 9
"""Kernel columns that a depthwise weight gradient takes together, at most."""
# Output positions of a tile: enough to use a strip of the weight again and again.
_POSITIONS = 392
# Sixteenths of the L2 cache: for the copied rows of one worker, for the rows that a weight gradient passes over at a
# time, and for a strip of the weight; one that takes more is used one kernel row at a time.
_BAND_SHARE, _PASS_SHARE, _STRIP_SHARE = 4, 6, 5
_LEAST_TILES = 16
# Terms of a part of a weight gradient that are added up one after the other; terms of a section where there are more.
_FEW_TERMS = 1024
_SECTION = 512
_SHORT_SECTION = 64


@dataclass(frozen=True, slots=True)
class Phase:
    """Outputs `first + q * apart` along one axis, `count` of them.

    They meet the places `tap + t * tap_step` of the kernel, for t below `taps`, with the input at
    `source + q * step + t * tap_apart`. `apart`, `step`, `tap_step` and `tap_apart` are the same for all phases.
    """

    first: int
    count: int
    apart: int
    step: int
    source: int
    taps: int
    tap: int
    tap_step: int
    tap_apart: int

    @property
    def reach(self) -> tuple[int, int]:
        """The first and the last place of the input that is met."""
        return self.source, self.source + (self.count - 1) * self.step + (self.taps - 1) * self.tap_apart


def axis_phases(window: Window, length: int, kernel: int) -> list[Phase]:
    """The phases of one axis with an input of `length`."""
    steps = window.steps(length, kernel)
    apart = window.expand // math.gcd(window.expand, window.stride)
    tap_step = window.expand // math.gcd(window.expand, window.dilation)
    result: list[Phase] = []
    for first in range(min(apart, steps)):
        count = -(-(steps - first) // apart)
        taps = [
            k for k in range(kernel) if (first * window.stride + k * window.dilation - window.low) % window.expand == 0
        ]
        tap = taps[0] if taps else 0
        source = (first * window.stride + tap * window.dilation - window.low) // window.expand
        step, tap_apart = apart * window.stride // window.expand, tap_step * window.dilation // window.expand
        result.append(Phase(first, count, apart, step, source, len(taps), tap, tap_step, tap_apart))
    return result


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution over two spatial axes: one that has fewer got axes of length 1 in front."""

    images: int
    lengths: tuple[int, int]
    steps: tuple[int, int]
    kernel: tuple[int, int]
    windows: tuple[Window, Window]
    groups: int
    inner: int
    outer: int
    itemsize: int
    target: Target

    def images_of(self, number: int) -> tuple[int, int, int, int]:
        """(n, rows, columns, channels) of what the convolution reads: the input, and its gradient the cotangent too."""
        if number == 0:
            return self.images, *self.lengths, self.groups * self.inner
        return self.images, *self.steps, self.groups * self.outer

    @property
    def by_position(self) -> bool:
        """Whether every output is made of one position of the input, all of which are met."""
        return self.kernel == (1, 1) and all(a == Window(1, 0, 0, 1, 1) for a in self.windows)

    @property
    def depthwise(self) -> bool:
        """Whether every channel goes by itself."""
        return self.inner == self.outer == 1

    @property
    def channel_strips(self) -> Strips:
        """The strips of one group's output channels, or of all channels where every one goes by itself."""
        # A row of vectors that meets another one is loaded for every product: two of them keep the registers busy.
        if self.depthwise:
            return strips(self.groups, self.itemsize, 2, self.target)
        return strips(self.outer, self.itemsize, self.target.tile_vectors, self.target)

    @property
    def strip_groups(self) -> int:
        """Groups that have strips of their own."""
        return 1 if self.depthwise else self.groups


def geometry(unit: Node, target: Target) -> Geometry | None:
    """The sizes of a convolution or weight gradient with tiled kernels; None where it has none."""
    found = _images(unit, target)
    return _flattened(found, wanted_cut(unit, target)) if found is not None and found.by_position else found


def has_tiled_kernel(unit: Node) -> bool:
    """Whether a convolution or weight gradient has tiled kernels: over one or two spatial axes, none of them empty."""
    x, y, w = _operands(convolution_of(unit))
    return 1 <= x.ndim - 2 <= 2 and 0 not in (x.size, y.size, w.size)


def _images(unit: Node, target: Target) -> Geometry | None:
    """The same with images as they are."""
    node = convolution_of(unit)
    x, y, w = _operands(node)
    if not has_tiled_kernel(unit):
        return None
    spatial = x.ndim - 2
    once = Window(1, 0, 0, 1, 1)
    padding = (1,) * (2 - spatial)
    lengths, steps, kernel = ((*padding, *shape) for shape in (x.shape[1:-1], y.shape[1:-1], w.shape[2:]))
    first, second = (*(once for _ in padding), *windows(node.attrs))
    groups: int = node.attrs["groups"]
    return Geometry(
        x.shape[0],
        (lengths[0], lengths[1]),
        (steps[0], steps[1]),
        (kernel[0], kernel[1]),
        (first, second),
        groups,
        w.shape[1],
        w.shape[0] // groups,
        x.dtype.itemsize,
        target,
    )


def _operands(node: Node) -> tuple[ArrayType, ArrayType, ArrayType]:
    """The types of input, output and weight."""
    x, other = (v.type for v in node.inputs[:2])
    return (x, node.output.type, other) if is_convolution(node) else (x, other, node.output.type)


def _flattened(g: Geometry, cut: RowTiles | None) -> Geometry:
    """Positions in rows that register tiles divide well, where each stands for itself: those of all images in one, or
    of each image where tiles of sums are cut in it.
    """
    image = math.prod(g.lengths)
    images, positions = (g.images, image) if cut is not None and cut.parts > 1 else (1, g.images * image)
    fitting = [n for n in range(56, 225) if positions % n == 0 and (cut is None or cut.step % n == 0)]
    if not fitting:
        return g
    width = next((n for n in fitting if n % 7 == 0), fitting[-1])
    shape = (positions // width, width)
    return replace(g, images=images, lengths=shape, steps=shape)


@dataclass(frozen=True)
class ConvTiles:
    """Tiles of the outputs of a convolution.

    A tile is `images` images (only where `bands` is 1) or one of the `bands` of an image, `band` rows of every phase.
    Unless `direct`, its input is first copied with its padding: `copied` rows and columns that begin at `origin`.
    A strip's weights are packed by phase, place of the kernel and input channel; `packed` counts those elements for all
    strips of a vector. With `by_kernel_row` all positions of a tile pass one kernel row before the next.
    """

    geometry: Geometry
    phases: tuple[tuple[Phase, Phase], ...]
    images: int
    bands: int
    band: int
    direct: bool
    copied: tuple[int, int]
    origin: tuple[int, int]
    packed: int
    by_kernel_row: bool

    @property
    def tiles(self) -> int:
        """All tiles."""
        return -(-self.geometry.images // self.images) * self.bands

    @property
    def band_bytes(self) -> int:
        """Bytes of the copied input of one worker."""
        g = self.geometry
        if self.direct:
            return 0
        return g.target.round_to_line(self.images * math.prod(self.copied) * g.groups * g.inner * g.itemsize)

    def copied_columns(self, number: int) -> int:
        """Columns of the copied input."""
        return self.copied[1]

    @property
    def cut(self) -> RowTiles:
        """The tiles as runs of positions of the output, one after another."""
        image = math.prod(self.geometry.steps)
        if self.bands == 1:
            return RowTiles(self.images * image, 1, self.images * image)
        return RowTiles(self.band * self.phases[0][0].apart * self.geometry.steps[1], self.bands, image)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        g = self.geometry
        vectors = g.strip_groups * g.channel_strips.vectors * self.packed
        return g.target.round_to_line(vectors * g.target.vector_bytes)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of scratch for so many workers."""
        return self.packed_bytes + threads * self.band_bytes


def conv_tiles(unit: Node, target: Target) -> ConvTiles | None:
    """The tiles of a `conv`, or None where it has no tiled kernel."""
    g = geometry(unit, target)
    if g is None:
        return None
    made = has_prologue(unit, 0)
    by_axis = [axis_phases(*axis) for axis in zip(g.windows, g.lengths, g.kernel)]
    phases = tuple((first, second) for first, second in product(*by_axis))
    met = [pair for pair in phases if pair[0].taps and pair[1].taps]
    height, width = (max(p.count for p in axis) for axis in by_axis)
    positions = width * len(phases)
    channels = g.groups * g.inner
    reaches = [[pair[axis].reach for pair in met] or [(0, -1)] for axis in (0, 1)]
    low = [min(first for first, _ in reach) for reach in reaches]
    high = [max(last for _, last in reach) for reach in reaches]
    direct = not made and all(a >= 0 and b < n for a, b, n in zip(low, high, g.lengths))
    step = phases[0][0].step
    columns = max(high[1] - low[1] + 1, 0)

    last_tap = max((pair[0].source + (pair[0].taps - 1) * pair[0].tap_apart for pair in met), default=low[0] - 1)

    def copied_rows(band: int) -> int:
        return max((band - 1) * step + last_tap - low[0] + 1, 0)

    def fits(images: int, band: int) -> bool:
        copied = images * copied_rows(band) * columns * channels * g.itemsize
        return direct or copied <= _BAND_SHARE * target.l2_bytes // 16

    band = min(height, max(1, -(-_POSITIONS // positions)))
    while band > 1 and not fits(1, band):
        band -= 1
    bands = -(-height // band)
    while g.images * bands < _LEAST_TILES and band * positions > 112 and bands < height:
        bands += 1
    band = -(-height // bands)
    bands = -(-height // band)
    images = 1
    if bands == 1:
        most = max(g.images // _LEAST_TILES, 1)
        while images < most and images * height * positions < _POSITIONS and fits(images + 1, band):
            images += 1
    cut = wanted_cut(unit, target)
    if cut is not None and _can_be_made(cut, g):
        images, bands, band = _fitted(cut, g, phases[0][0].apart) or (images, bands, band)
    elif has_sums(unit):
        raise ValueError("sums over tiles that no convolution makes")
    taps = sum(a.taps * b.taps for a, b in phases)
    most_taps = max((a.taps * b.taps for a, b in phases), default=0)
    widest = g.channel_strips.width * target.vector_bytes * g.inner * most_taps
    copied, origin = (copied_rows(band), columns), (low[0], low[1])
    by_kernel_row = widest > _STRIP_SHARE * target.l2_bytes // 16
    return ConvTiles(g, phases, images, bands, band, direct, copied, origin, taps * g.inner, by_kernel_row)


def _fitted(cut: RowTiles, g: Geometry, apart: int) -> tuple[int, int, int] | None:
    """Images of a tile, bands of an image and rows of each phase in a band, so that tiles are those of `cut`."""
    image, line = math.prod(g.steps), g.steps[1] * apart
    if cut.parts == 1 and cut.step % image == 0:
        return cut.step // image, 1, -(-g.steps[0] // apart)
    if cut.step % line or (cut.parts == 1 and g.images > 1) or (cut.parts > 1 and cut.whole != image):
        return None
    return 1, -(-image // cut.step), cut.step // line


def can_sum(unit: Node, target: Target) -> bool:
    """Whether a convolution can make its output in the tiles of sums over positions, with the rows that it reads of
    each in the cache.
    """
    g, cut = _images(unit, target), output_cut(convolution_of(unit), target)
    if g is None:
        return False
    return _can_be_made(cut, _flattened(g, cut) if g.by_position else g)


def _can_be_made(cut: RowTiles, g: Geometry) -> bool:
    apart = axis_phases(g.windows[0], g.lengths[0], g.kernel[0])[0].apart
    found = _fitted(cut, g, apart)
    if found is None:
        return False
    images, _, band = found
    rows_ = band * apart * g.windows[0].stride // g.windows[0].expand + (g.kernel[0] - 1) * g.windows[0].dilation
    return images * rows_ * g.lengths[1] * g.groups * g.inner * g.itemsize <= 2 * _BAND_SHARE * g.target.l2_bytes // 16


def merged(g: Geometry, tap_apart: int) -> bool:
    """Whether the places of a kernel row and the channels in are one run of elements."""
    return g.groups == 1 and tap_apart == 1


@dataclass(frozen=True)
class WeightGradientTiles:
    """How a weight gradient is summed.

    The output positions are passed over in `passes` passes: `images` images at a time, or `band` rows of one image
    where `bands` is above 1. `parts` sums of neighbouring passes are added in the end, in their order. Each part is
    made by `shares` tiles, which divide its units: a group, a place of the kernel, a block of input channels, a strip;
    where every channel goes by itself, a row of the kernel and a strip.

    A tile goes through a pass by turns: an image of it after the other, or the band. Where it makes an operand itself
    (`made`), it does so for a turn at a time. Where nothing is made a pass is one turn, to the same sums; but where
    every channel goes by itself the order of sums at the edges follows from the turns, which are always the same there.
    """

    geometry: Geometry
    images: int
    bands: int
    band: int
    parts: int
    shares: int
    made: tuple[bool, bool] = (False, False)

    @property
    def section(self) -> int:
        """Terms of the sections of a long sum: a part adds up sections of rows of one image, about as many as they have
        terms. 0 where a part has few terms, and where images are so small that their sections would be too short.
        """
        image = math.prod(self.geometry.steps)
        terms = -(-self.geometry.images * image // self.parts)
        if terms <= _FEW_TERMS or (image < _SHORT_SECTION and terms <= _SHORT_SECTION * _FEW_TERMS // 16):
            return 0
        return max(_SECTION, math.isqrt(terms))

    @property
    def turns(self) -> int:
        """Turns of a pass."""
        return self.images if any(self.made) or self.geometry.depthwise else 1

    def copied(self, number: int) -> tuple[int, int, int]:
        """Of what a tile makes of an operand for a turn: rows from one band to the next, the first row, rows."""
        g = self.geometry
        if self.bands == 1:
            return 0, 0, g.images_of(number)[1]
        if number == 1:
            return self.band, 0, self.band
        w = g.windows[0]
        return self.band * w.stride, -w.low, (self.band - 1) * w.stride + (g.kernel[0] - 1) * w.dilation + 1

    def copied_columns(self, number: int) -> int:
        """Columns of an operand: all are copied."""
        return self.geometry.images_of(number)[2]

    def copied_bytes(self, number: int) -> int:
        """Bytes of what a tile makes of an operand for a turn."""
        if not self.made[number]:
            return 0
        _, _, columns, channels = self.geometry.images_of(number)
        g = self.geometry
        return g.target.round_to_line(self.copied(number)[2] * columns * channels * g.itemsize)

    @property
    def passes(self) -> int:
        """Passes over the positions."""
        return -(-self.geometry.images // self.images) * self.bands

    @property
    def part_bytes(self) -> int:
        """Bytes of one part."""
        g = self.geometry
        return g.strip_groups * g.channel_strips.vectors * math.prod(g.kernel) * g.inner * g.target.vector_bytes

    @property
    def all_parts_bytes(self) -> int:
        """Bytes of all parts."""
        return self.geometry.target.round_to_line(self.parts * self.part_bytes)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of all parts, and of what each worker copies."""
        return self.all_parts_bytes + threads * (self.copied_bytes(0) + self.copied_bytes(1))

    @property
    def blocks(self) -> Rows:
        """Blocks of the input channels of a group."""
        return channel_blocks(self.geometry)

    @property
    def units(self) -> int:
        """What can be computed apart."""
        g = self.geometry
        if g.depthwise:
            return g.kernel[0] * g.channel_strips.count
        return g.groups * math.prod(g.kernel) * self.blocks.blocks * g.channel_strips.count


def channel_blocks(g: Geometry) -> Rows:
    """The input channels of a group in register tiles."""
    return rows(g.inner, g.channel_strips.width, g.target)


def weight_gradient_tiles(unit: Node, target: Target) -> WeightGradientTiles | None:
    """The tiles of a `conv_weight_gradient` (or `_add`), or None where it has no tiled kernel."""
    g = geometry(unit, target)
    if g is None:
        return None
    of_input = math.prod(g.lengths) * g.groups * g.inner * g.itemsize
    of_output = math.prod(g.steps) * g.groups * g.outer * g.itemsize
    image = of_input + of_output
    images, band = 1, g.steps[0]
    at_a_time = _PASS_SHARE * target.l2_bytes // 16
    if image > at_a_time:
        band = max(1, min(g.steps[0], at_a_time * g.steps[0] // image))
    else:
        images = max(1, min(at_a_time // max(image, 1), -(-g.images // _LEAST_TILES)))
    bands = -(-g.steps[0] // band)
    band = -(-g.steps[0] // bands)
    bands = -(-g.steps[0] // band)
    whole = WeightGradientTiles(g, images, bands, band, 1, 1)
    room = max(256 << 10, g.images * image // 8)
    parts = max(1, min(_LEAST_TILES, room // whole.part_bytes, whole.passes))
    shares = max(1, min(whole.units, -(-_LEAST_TILES // parts)))
    return WeightGradientTiles(g, images, bands, band, parts, shares, (has_prologue(unit, 0), has_prologue(unit, 1)))


@dataclass(frozen=True, slots=True)
class Meeting:
    """Which outputs along an axis meet the input at one place of the kernel: `first + t * apart`, for t below `count`,
    with the input at `source + t * step`.
    """

    first: int
    count: int
    apart: int
    source: int
    step: int


def meetings(window: Window, length: int, steps: int, kernel: int) -> list[Meeting]:
    """For each place of the kernel along one axis, the outputs that meet an element of the input there."""
    apart = window.expand // math.gcd(window.expand, window.stride)
    step = apart * window.stride // window.expand
    result: list[Meeting] = []
    for k in range(kernel):
        shift = k * window.dilation - window.low
        starts = [o for o in range(min(apart, steps)) if (o * window.stride + shift) % window.expand == 0]
        if not starts:
            result.append(Meeting(0, 0, apart, 0, step))
            continue
        first = starts[0]
        source = (first * window.stride + shift) // window.expand
        # Leave out what lies before and behind the input.
        skipped = max(0, -(source // step))
        last = min((length - 1 - source) // step, (steps - 1 - first) // apart)
        count = max(0, last - skipped + 1)
        result.append(Meeting(first + skipped * apart, count, apart, source + skipped * step, step))
    return result


@dataclass(frozen=True, slots=True)
class PlainGradient:
    """How a weight gradient without a tiled kernel is summed: tiles of so many output `channels`; `positions` in
    sections of so many terms, each in `worker_bytes` of scratch, where there are several.
    """

    channels: int
    positions: int
    section: int
    worker_bytes: int

    @staticmethod
    def of(node: Node, target: Target) -> PlainGradient:
        """That of a node, by its shapes and the target alone."""
        w, g = node.output.type, node.inputs[1].type
        positions, weights = math.prod(g.shape[:-1]), math.prod(w.shape[1:])
        channels = max(1, PLAIN_TILE // max(weights * positions, 1))
        if positions <= _FEW_TERMS:
            return PlainGradient(channels, positions, max(positions, 1), 0)
        section = max(_SECTION, math.isqrt(positions))
        return PlainGradient(channels, positions, section, target.round_to_line(channels * weights * w.dtype.itemsize))


def scratch_bytes(unit: Node, threads: int, views: Mapping[Value, View], target: Target) -> int:
    """Bytes of scratch that a convolution or weight gradient needs: its tiles', then lines for what each worker makes
    of its operands.
    """
    node = convolution_of(unit)
    tiles = conv_tiles(unit, target) if is_convolution(node) else weight_gradient_tiles(unit, target)
    if tiles is None:
        return 0 if is_convolution(node) else threads * PlainGradient.of(node, target).worker_bytes
    made = [number for number in range(data_operands(node)) if has_prologue(unit, number)]
    of_lines = 0
    for number in made:
        read = operand(unit, number, views, tiles.geometry.images_of(number))
        of_lines += sum(read.line_bytes(tiles.copied_columns(number), target))
    return tiles.scratch_bytes(threads) + threads * of_lines
