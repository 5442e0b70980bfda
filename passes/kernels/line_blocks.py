"""A line of outputs of a convolution in blocks for register tiles, some of which know the columns that they meet.

Such a tile has the columns of the kernel unrolled. So it leaves out those of its outputs that meet padding; and where
every channel goes by itself, it reads each column of the input once for all columns of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .conv_geometry import Geometry
from .polyphase import PolyphaseComponent, polyphase_components
from .register_tiles import Rows, rows

_MOST_TAPS = 9
"""Columns of a kernel that a tile may unroll."""
_MOST_OUTPUTS = 14
"""Outputs that a tile of a gradient unrolls."""
_LEAST_ROWS = 4
"""A tile of fewer outputs, each channel by itself, reads as much as one that does not know its columns."""
_LEAST_CHANNELS = 8
"""A tile that leaves out padding has a loop over the channels of a group for each column: shorter ones cost more."""
_MISSING_SHARE = 32
"""Tiles leave out padding where it is more than one of so many products of a line: fewer are not worth a tile more."""


class Columns(NamedTuple):
    """The columns that neighbouring outputs meet: output r meets tap t at column `r * stride + t * dilation` of their
    input, which is there for the outputs from `met[t][0]` on, up to `met[t][1]`. All else is padding.
    """

    stride: int
    dilation: int
    met: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class LineBlocks:
    """So many neighbouring blocks of `rows` outputs; where their tile knows its columns, these."""

    blocks: int
    rows: int
    columns: Columns | None


def line_blocks(across: PolyphaseComponent, g: Geometry) -> list[LineBlocks]:
    """The blocks of a line of a component of a convolution."""
    always = knows_columns([across], g)
    return _blocks(across, _cut(across, g), g, always or _clips(across, g), always)


def _blocks(across: PolyphaseComponent, cut: Rows, g: Geometry, knows: bool, always: bool) -> list[LineBlocks]:
    """The blocks, of which those that meet padding know their columns if the line `knows`, or `always` all of them."""
    result: list[LineBlocks] = []
    first = 0
    for size in [cut.most] * cut.long + [cut.most - 1] * (cut.blocks - cut.long):
        columns = _columns(across, first, size, g.input_lengths[1])
        if not knows or not (always or _products(columns) < size * across.taps):
            columns = None
        same = result and (result[-1].rows, result[-1].columns) == (size, columns)
        result.append(LineBlocks(result.pop().blocks + 1 if same else 1, size, columns))
        first += size
    return result


def gradient_blocks(g: Geometry) -> list[LineBlocks]:
    """The blocks of a line of the cotangent, for tiles that sum all columns of a kernel row where every channel goes by
    itself. Empty where there are none: registers hold the sums, and the outputs that a column of the input meets.
    """
    taps, window = g.kernel[1], g.windows[1]
    registers = (2 * taps + 1) * g.channel_strips.width
    if not g.is_depthwise or window.expand > 1 or not 1 < taps <= _MOST_TAPS or registers > g.target.vector_registers:
        return []
    (across,) = polyphase_components(window, g.input_lengths[1], taps)
    cut = Rows.of(across.count, _MOST_OUTPUTS)
    return _blocks(across, cut, g, True, True)


def knows_columns(components: Sequence[PolyphaseComponent], g: Geometry) -> bool:
    """Whether every channel goes by itself, and all tiles know their columns."""
    return g.is_depthwise and all(a.taps <= _MOST_TAPS and _unrolled_rows(a.taps, g) >= _LEAST_ROWS for a in components)


def meets_input(component: PolyphaseComponent, length: int) -> bool:
    """Whether each output of a component along an axis meets an element of an input of `length`."""
    taps = range(0, component.taps * component.dilation, component.dilation)
    starts = (component.input_first + q * component.input_stride for q in range(component.count))
    return all(any(0 <= start + tap < length for tap in taps) for start in starts)


def _unrolled_rows(taps: int, g: Geometry) -> int:
    """Outputs of a tile where every channel goes by itself: their sums stay in registers, a row of the kernel too."""
    vectors = g.channel_strips.width
    return min(g.target.tile_rows(1), (g.target.vector_registers - 2) // vectors - taps)


def _cut(across: PolyphaseComponent, g: Geometry) -> Rows:
    if knows_columns([across], g):
        return Rows.of(across.count, _unrolled_rows(across.taps, g))
    if g.is_depthwise or not g.shares_vectors:
        return rows(across.count, g.channel_strips.width, g.target)
    return Rows.of(across.count, max(1, min(g.target.tile_rows(1), g.target.vector_registers - g.channels_in - 2)))


def _columns(across: PolyphaseComponent, first: int, outputs: int, length: int) -> Columns:
    """What `outputs` from the `first` on meet in lines of `length`."""
    stride, met = across.input_stride, list[tuple[int, int]]()
    for t in range(across.taps):
        begin = across.input_first + first * stride + t * across.dilation
        low, high = max(0, -(begin // stride)), min(outputs, (length - 1 - begin) // stride + 1)
        met.append((low, high) if low < high else (0, 0))
    return Columns(stride, across.dilation, tuple(met))


def _products(columns: Columns) -> int:
    return sum(high - low for low, high in columns.met)


def _clips(across: PolyphaseComponent, g: Geometry) -> bool:
    """Whether tiles leave out padding."""
    if g.shares_vectors or g.channels_in < _LEAST_CHANNELS or not 1 < across.taps <= _MOST_TAPS:
        return False
    every = across.count * across.taps
    missing = every - _products(_columns(across, 0, across.count, g.input_lengths[1]))
    return missing * _MISSING_SHARE > every
