"""Tiles of the gradient of a convolution's weight: parts of a sum over positions, each shared by several tiles.

The cut follows from shapes and target alone, so that the order of the sums, and with it their bits, is the same for
every number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from ...ir import Node
from ..target import Target
from .conv_geometry import Geometry, geometry
from .conv_operands import has_prologue
from .conv_tiles import LEAST_TILES
from .line_blocks import LineBlocks, gradient_blocks
from .polyphase import tap_outputs
from .register_tiles import Rows, rows
from .taps_together import TapsTogether, taps_together

# Kernel columns that a weight gradient takes together where groups share vectors, at most.
_MOST_TOGETHER = 9
# Sums of a register tile from which on multiplications need not wait for one another: two of them begin in each of the
# four cycles that one takes.
_BUSY_SUMS = 8
# Sixteenths of the L2 cache for the rows of input and cotangent of a chunk of a weight gradient.
_CHUNK_SHARE = 6
# Bytes that all parts may take in any case, and the part of the bytes of the operands that they may take.
_LEAST_ROOM, _ROOM_SHARE = 256 << 10, 8
FEW_TERMS = 1024
"""Terms of a part that are added up one after the other: from there on rounding errors are felt."""
SECTION = 512
"""Terms of a section of a longer sum, at least."""
# Places and strips that read a block of channels, from which on it is worth copying it.
_LEAST_READERS = 16
# A section lies within one image. Images of fewer positions have sections only where a part has thousands of terms:
# for fewer, such short sections cost more than the digits are worth.
_SHORT_SECTION = 64


@dataclass(frozen=True)
class WeightGradientTiles:
    """Tiles of a weight gradient.

    The output positions are cut into `chunks`: `images` images of a volume each, or `band` rows of one image where
    `bands` is above 1. `parts` sums over neighbouring chunks are added in the end, in their order. Each part is
    computed by `shares` tiles, which divide its units: a group, a tap of the kernel, a block of input channels, a
    strip; where register tiles have columns of the kernel as rows (`by_kernel_row`), a group, a row of the kernel, a
    block of its columns, a strip.

    A chunk has `iterations`: one for each image, or one for a band. A tile that computes operands in `prologues` does
    so an iteration at a time, so that it holds one image of them. Without prologues a chunk is one iteration, with the
    same sums. By kernel rows there is always one for each image, since the order of sums at the edges of an image
    follows from them.
    """

    geometry: Geometry
    images: int
    bands: int
    band: int
    parts: int
    shares: int
    prologues: tuple[bool, bool] = (False, False)

    @property
    def section(self) -> int:
        """Terms of the sections of a long sum: a part adds up sections of rows of one image, about as many as they have
        terms. 0 where a part has few terms, and where images are so small that their sections would be too short.
        """
        image = math.prod(self.geometry.output_lengths)
        terms = -(-self.geometry.images * image // self.parts)
        if terms <= FEW_TERMS or (image < _SHORT_SECTION and terms <= _SHORT_SECTION * FEW_TERMS // 16):
            return 0
        return max(SECTION, math.isqrt(terms))

    @property
    def line_blocks(self) -> list[LineBlocks]:
        """The blocks in which a line of the cotangent is passed. Empty where there are none, and where sections, which
        lie within one block, would be so short that a part adds up more than `FEW_TERMS`.
        """
        blocks, g = gradient_blocks(self.geometry), self.geometry
        rows = self.band if self.bands > 1 else g.output_lengths[0]
        sections = sum(run.blocks * -(-rows // max(self.section // run.rows, 1)) for run in blocks)
        if self.section and g.images * self.bands * sections > FEW_TERMS * self.parts:
            return []
        return blocks

    @property
    def iterations(self) -> int:
        """Iterations of a chunk."""
        return self.images if any(self.prologues) or self.by_kernel_row else 1

    def copied(self, operand: int) -> tuple[int, int, int]:
        """The rows of an operand that a tile computes in an iteration: step between bands, first row, number."""
        g = self.geometry
        if self.bands == 1:
            return 0, 0, g.images_of(operand)[1]
        if operand == 1:
            return self.band, 0, self.band
        w = g.windows[0]
        return self.band * w.stride, -w.low, (self.band - 1) * w.stride + (g.kernel[0] - 1) * w.dilation + 1

    def copied_columns(self, operand: int) -> int:
        """Columns of an operand: all are copied."""
        return self.geometry.images_of(operand)[2]

    def copied_bytes(self, operand: int) -> int:
        """Bytes of what a tile computes of an operand in an iteration."""
        if not self.prologues[operand]:
            return 0
        _, _, columns, channels = self.geometry.images_of(operand)
        g = self.geometry
        return g.target.round_to_line(self.copied(operand)[2] * columns * channels * g.itemsize)

    @property
    def chunks(self) -> int:
        """Chunks of all positions."""
        return self.geometry.volumes * self.runs * self.bands

    @property
    def runs(self) -> int:
        """Runs of images that the chunks of a volume are of."""
        return -(-self.geometry.depths[1] // self.images)

    @property
    def part_bytes(self) -> int:
        """Bytes of one part."""
        g = self.geometry
        return g.strip_groups * g.channel_strips.vectors * g.places * g.channels_in * g.target.vector_bytes

    @property
    def all_parts_bytes(self) -> int:
        """Bytes of all parts."""
        return self.geometry.target.round_to_line(self.parts * self.part_bytes)

    @property
    def packs(self) -> bool:
        """Whether a tile copies a block of the input's channels, which it then reads for all places and strips.

        The few channels of a block lie in a line of each position. Where vectors are short these lines come from the
        second cache as slowly as they are multiplied; the copy stays in the first.
        """
        g = self.geometry
        alike = g.depth_kernel == 1 and g.depths[0] == g.depths[1] and g.depth_window.stride == 1
        in_rows = self.bands == 1 or g.windows[0].expand == 1
        readers = g.places * g.channel_strips.count // math.prod(window.stride for window in g.windows)
        worth = self.blocks.blocks > 1 and readers >= _LEAST_READERS
        return g.target.packs and not self.by_kernel_row and alike and in_rows and worth

    @property
    def packed_bytes(self) -> int:
        """Bytes of that copy: of what an iteration reads of the input."""
        if not self.packs:
            return 0
        g = self.geometry
        positions = self.images // self.iterations * self.copied(0)[2] * g.input_lengths[1]
        return g.target.round_to_line(positions * self.blocks.most * g.itemsize)

    def scratch_bytes(self, threads: int) -> int:
        """Bytes of all parts, and of what each worker copies."""
        return self.all_parts_bytes + threads * (self.packed_bytes + self.copied_bytes(0) + self.copied_bytes(1))

    @property
    def blocks(self) -> Rows:
        """Blocks of the input channels of a group."""
        return rows(self.geometry.channels_in, self.geometry.channel_strips.width, self.geometry.target)

    @property
    def columns(self) -> Rows:
        """Blocks of the kernel's columns whose channels into a group are the rows of a register tile.

        Where groups share vectors, each element of the cotangent is loaded once for all columns of a block. Else the
        rows of a register tile are channels of one column; where those are so few that multiplications would wait for
        one another, columns fill it up.
        """
        g = self.geometry
        if g.shares_vectors:
            return Rows.of(g.kernel[1], max(1, min(_MOST_TOGETHER, (g.target.vector_registers - 4) // g.channels_in)))
        width = g.channel_strips.width
        meet_alike = g.windows[1].dilation % g.windows[1].expand == 0
        few = g.channels_in * width < _BUSY_SUMS
        filled = Rows.of(g.kernel[1], max(1, g.target.tile_rows(width) // g.channels_in) if few and meet_alike else 1)
        # Each piece of a line is added to what there is, so that many small images would add up too many of them.
        pieces = max((len(pieces) for pieces in self._together(filled)), default=0)
        felt = self.section and g.images * self.bands * pieces > FEW_TERMS * self.parts
        return Rows.of(g.kernel[1], 1) if felt else filled

    @property
    def by_kernel_row(self) -> bool:
        """Whether register tiles have columns of the kernel as rows."""
        return self.geometry.shares_vectors or self.columns.most > 1

    @property
    def columns_together(self) -> list[list[TapsTogether]]:
        """For each block of columns, those that meet the same outputs, with these."""
        return self._together(self.columns)

    def _together(self, blocks: Rows) -> list[list[TapsTogether]]:
        g = self.geometry
        of_columns = tap_outputs(g.windows[1], g.input_lengths[1], g.output_lengths[1], g.kernel[1])
        sizes = sorted({*blocks.sizes(), *(1 << i for i in range(blocks.most.bit_length()))})
        begins = [b * blocks.most - max(b - blocks.long, 0) for b in range(blocks.blocks + 1)]
        return [taps_together(of_columns, begin, end, sizes) for begin, end in pairwise(begins)]

    @property
    def units(self) -> int:
        """Units of a part, no two of which add to the same element."""
        g = self.geometry
        if self.by_kernel_row:
            return g.strip_groups * g.depth_kernel * g.kernel[0] * self.columns.blocks * g.channel_strips.count
        return g.groups * g.places * self.blocks.blocks * g.channel_strips.count


def weight_gradient_tiles(unit: Node, target: Target) -> WeightGradientTiles | None:
    """The tiles of a `conv_weight_gradient` (or `_add`), or None where it has no tiled kernel."""
    g = geometry(unit, target)
    if g is None:
        return None
    of_input = math.prod(g.input_lengths) * g.groups * g.channels_in * g.itemsize
    of_output = math.prod(g.output_lengths) * g.groups * g.channels_out * g.itemsize
    image = of_input + of_output
    # All units of a share read the positions of a chunk, so these stay in the cache.
    images, band = 1, g.output_lengths[0]
    room_of_chunk = _CHUNK_SHARE * target.l2_bytes // 16
    if image > room_of_chunk:
        band = max(1, min(g.output_lengths[0], room_of_chunk * g.output_lengths[0] // image))
    else:
        images = max(1, min(room_of_chunk // max(image, 1), -(-g.images // LEAST_TILES), g.depths[1]))
    # Bands as equal as can be. The second division leaves out bands that would be empty then.
    bands = -(-g.output_lengths[0] // band)
    band = -(-g.output_lengths[0] // bands)
    bands = -(-g.output_lengths[0] // band)
    whole = WeightGradientTiles(g, images, bands, band, 1, 1)
    # A part is as large as the weight. Many parts of a large weight would take more memory, and more time to add, than
    # they save: where there is no room for them, tiles share the units of a part instead.
    room = max(_LEAST_ROOM, g.images * image // _ROOM_SHARE)
    parts = max(1, min(LEAST_TILES, room // whole.part_bytes, whole.chunks))
    tiles = replace(whole, parts=parts, prologues=(has_prologue(unit, 0), has_prologue(unit, 1)))
    return replace(tiles, shares=max(1, min(tiles.units, -(-LEAST_TILES // parts))))
