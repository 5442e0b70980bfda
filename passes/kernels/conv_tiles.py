"""Tiles of the output of a convolution: bands of image rows, or some images; strips of channels inside.

The cut follows from shapes and target alone, never from the number of threads. The planner takes scratch by these
numbers, and the lowering makes loops of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from ...ir import Node
from ..target import Target
from .conv_epilogue import has_epilogue, has_sums, output_cut, wanted_cut
from .conv_geometry import Geometry, geometry, tiled_geometry
from .conv_operands import convolution_of, has_prologue
from .line_blocks import knows_columns, meets_input
from .polyphase import PolyphaseComponent, polyphase_components
from .row_tiles import RowTiles

# Output positions of a tile: enough to use a strip of the weight again and again.
_POSITIONS = 392
# A tile of fewer positions uses a strip of the weight too seldom, even where more tiles would balance better.
_LEAST_POSITIONS = 112
# Sixteenths of the L2 cache: for the copied rows of one worker, and for a strip of the weight.
_BAND_SHARE, _STRIP_SHARE = 4, 5
LEAST_TILES = 16
"""Tiles of a convolution where it is large enough, so that threads end at about the same time."""


@dataclass(frozen=True)
class ConvTiles:
    """Tiles of the output of a convolution.

    A tile is `images` images of a volume, and of each one of its `bands`: `band` rows of every polyphase component;
    `components` has a pair for each, of rows and of columns. Unless `direct`, its input is first
    copied with its padding: `copied` rows and columns that begin at `origin`, of all images that meet those of the
    tile. A strip's weights are packed by image of the kernel,
    component, tap and input channel; `packed` counts those elements of one image for all strips of a vector. With
    `by_kernel_row` all positions of a tile meet one kernel row before the next.
    """

    geometry: Geometry
    components: tuple[tuple[PolyphaseComponent, PolyphaseComponent], ...]
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
        return self.geometry.volumes * self.runs * self.bands

    @property
    def runs(self) -> int:
        """Runs of images that the tiles of a volume are of."""
        return -(-self.geometry.depths[1] // self.images)

    @property
    def copied_images(self) -> int:
        """Images of the input that are copied, where all of them are there."""
        return met_images(self.geometry, self.images)

    @property
    def band_bytes(self) -> int:
        """Bytes of the copied input of one worker."""
        g = self.geometry
        if self.direct:
            return 0
        copied = self.copied_images * math.prod(self.copied)
        return g.target.round_to_line(copied * g.groups * g.channels_in * g.itemsize)

    def copied_columns(self, operand: int) -> int:
        """Columns of the copied input."""
        return self.copied[1]

    @property
    def cut(self) -> RowTiles:
        """The tiles as runs of positions of the output, one after another."""
        image = math.prod(self.geometry.output_lengths)
        if self.bands == 1 and (self.geometry.volumes == 1 or self.runs == 1):
            return RowTiles(self.images * image, 1, self.images * image)
        if self.bands == 1:
            return RowTiles(self.images * image, self.runs, self.geometry.depths[1] * image)
        rows = self.band * self.components[0][0].stride
        return RowTiles(rows * self.geometry.output_lengths[1], self.bands, image)

    @property
    def kernel_rows_are_dense(self) -> bool:
        """Whether the taps of a kernel row and the input channels are one run of elements, so one loop walks both."""
        return self.geometry.groups == 1 and self.components[0][1].dilation == 1

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        g = self.geometry
        vectors = g.depth_kernel * g.strip_groups * g.channel_strips.vectors * self.packed
        return g.target.round_to_line(vectors * g.target.vector_bytes)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of scratch for so many workers."""
        return self.packed_bytes + threads * self.band_bytes


def conv_tiles(unit: Node, target: Target) -> ConvTiles | None:
    """The tiles of a `conv`, or None where it has no tiled kernel."""
    g = geometry(unit, target)
    if g is None:
        return None
    by_axis = [polyphase_components(*axis) for axis in zip(g.windows, g.input_lengths, g.kernel)]
    components = tuple((rows, columns) for rows, columns in product(*by_axis))
    # A component that meets no tap is zeros: it reads nothing.
    met = [pair for pair in components if pair[0].taps and pair[1].taps]
    height, width = (max(p.count for p in axis) for axis in by_axis)
    positions = width * len(components)
    reaches = [[pair[axis].reach for pair in met] or [(0, -1)] for axis in (0, 1)]
    low = [min(first for first, _ in reach) for reach in reaches]
    high = [max(last for _, last in reach) for reach in reaches]
    # Padding is copied as zeros, unless tiles know where it is, and a prologue computes as it copies. Else the input is
    # read where it lies.
    within = all(a >= 0 and b < n for a, b, n in zip(low, high, g.input_lengths))
    knows = knows_columns(by_axis[1], g) and all(meets_input(rows, g.input_lengths[0]) for rows in by_axis[0])
    direct = not has_prologue(unit, 0) and (within or knows)
    columns = max(high[1] - low[1] + 1, 0)
    input_stride = components[0][0].input_stride
    last_tap = max((pair[0].input_last_tap for pair in met), default=low[0] - 1)

    def copied_rows(band: int) -> int:
        return max((band - 1) * input_stride + last_tap - low[0] + 1, 0)

    def fits(images: int, band: int) -> bool:
        copied = met_images(g, images) * copied_rows(band) * columns * g.groups * g.channels_in * g.itemsize
        return direct or copied <= _BAND_SHARE * target.l2_bytes // 16

    # As few rows as have enough positions, and fewer where their copy would leave the cache.
    band = min(height, max(1, -(-_POSITIONS // positions)))
    while band > 1 and not fits(1, band):
        band -= 1
    bands = -(-height // band)
    # More bands where there are too few tiles, as long as each has enough positions.
    while g.images * bands < LEAST_TILES and band * positions > _LEAST_POSITIONS and bands < height:
        bands += 1
    # Bands as equal as can be. The second division leaves out bands that would be empty then.
    band = -(-height // bands)
    bands = -(-height // band)
    images = 1
    if bands == 1:
        most = min(max(g.images // LEAST_TILES, 1), g.depths[1])
        while images < most and images * height * positions < _POSITIONS and fits(images + 1, band):
            images += 1
    if g.depth_kernel > 1 and (bands == 1 or not has_epilogue(unit)):
        # Images that meet several of the output are copied once for all of those in a tile.
        most = min(max(g.images * bands // LEAST_TILES, 1), g.depths[1])
        while images < most and fits(images + 1, band):
            images += 1
        images = -(-g.depths[1] // -(-g.depths[1] // images))
    # The tiles of sums over positions fix the order of these sums, so they come first where there are some.
    cut = wanted_cut(unit, target)
    if cut is not None and _can_be_tiled(cut, g):
        images, bands, band = _fitted(cut, g, components[0][0].stride) or (images, bands, band)
    elif has_sums(unit):
        raise ValueError("sums over tiles that no convolution makes")
    taps = sum(a.taps * b.taps for a, b in components)
    most_taps = max((a.taps * b.taps for a, b in components), default=0)
    # A strip of the weight that leaves the cache would be read again for each row of positions. One kernel row of it
    # stays, so all positions meet that one before the next.
    strip_bytes = g.channel_strips.width * target.vector_bytes * g.channels_in * most_taps
    by_kernel_row = strip_bytes > _STRIP_SHARE * target.l2_bytes // 16
    copied, origin = (copied_rows(band), columns), (low[0], low[1])
    return ConvTiles(g, components, images, bands, band, direct, copied, origin, taps * g.channels_in, by_kernel_row)


def met_images(g: Geometry, images: int) -> int:
    """How many images of the input meet so many neighbouring ones of the output, at most."""
    window = g.depth_window
    between = (images - 1) * window.stride + (g.depth_kernel - 1) * window.dilation
    return between // window.expand + 1 + int(window.expand > 1)


def _fitted(cut: RowTiles, g: Geometry, stride: int) -> tuple[int, int, int] | None:
    """Images of a tile, bands of an image and rows of each component in a band, so that tiles are those of `cut`.

    None where no tiles are: a band has `stride` neighbouring rows of the output for each row of a component.
    """
    image, line = math.prod(g.output_lengths), g.output_lengths[1] * stride
    volume = g.depths[1] * image
    of_volume = cut.step % image == 0 and volume in ((cut.step,) if cut.parts == 1 else (cut.whole,))
    if of_volume or (g.volumes == cut.parts == 1 and cut.step % image == 0):
        return cut.step // image, 1, -(-g.output_lengths[0] // stride)
    if cut.step % line or (cut.parts == 1 and g.images > 1) or (cut.parts > 1 and cut.whole != image):
        return None
    return 1, -(-image // cut.step), cut.step // line


def can_sum(unit: Node, target: Target) -> bool:
    """Whether a convolution can compute its output in the tiles of sums over positions, with the rows that it reads of
    each in the cache.
    """
    cut = output_cut(convolution_of(unit), target)
    g = tiled_geometry(unit, cut, target)
    return g is not None and _can_be_tiled(cut, g)


def _can_be_tiled(cut: RowTiles, g: Geometry) -> bool:
    stride = polyphase_components(g.windows[0], g.input_lengths[0], g.kernel[0])[0].stride
    found = _fitted(cut, g, stride)
    if found is None:
        return False
    images, _, band = found
    rows = band * stride * g.windows[0].stride // g.windows[0].expand + (g.kernel[0] - 1) * g.windows[0].dilation
    read = met_images(g, images) * rows * g.input_lengths[1] * g.groups * g.channels_in * g.itemsize
    # Twice the share of tiles that are free to be smaller: to read the output once more for its sums costs more.
    return read <= 2 * _BAND_SHARE * g.target.l2_bytes // 16
