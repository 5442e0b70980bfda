"""The sizes of a convolution, or of the gradient of its weight, that tiles are cut from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...ir import Node
from ...ir.ops.convolution import Window, windows
from ...ir.types import ArrayType
from ..target import Target
from .conv_epilogue import wanted_cut
from .conv_operands import convolution_of, is_convolution
from .register_tiles import Strips, strips
from .row_tiles import RowTiles

_DENSE = Window(1, 0, 0, 1, 1)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution over two spatial axes: one that has fewer got axes of length 1 in front.

    `channels_in` and `channels_out` are those of one group.
    """

    images: int
    input_lengths: tuple[int, int]
    output_lengths: tuple[int, int]
    kernel: tuple[int, int]
    windows: tuple[Window, Window]
    groups: int
    channels_in: int
    channels_out: int
    itemsize: int
    target: Target

    def images_of(self, operand: int) -> tuple[int, int, int, int]:
        """(n, rows, columns, channels) of operand 0, the input, or of operand 1 of a weight gradient, the cotangent."""
        if operand == 0:
            return self.images, *self.input_lengths, self.groups * self.channels_in
        return self.images, *self.output_lengths, self.groups * self.channels_out

    @property
    def is_pointwise(self) -> bool:
        """Whether each output meets one position of the input, and each position is met: a matrix product."""
        return self.kernel == (1, 1) and all(window == _DENSE for window in self.windows)

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.channels_in == self.channels_out == 1

    @property
    def channel_strips(self) -> Strips:
        """The strips of one group's output channels, or of the channels of all groups where it is depthwise."""
        # A depthwise product has a vector of channels on both sides, and one of them is loaded for every product.
        # Strips of two vectors are enough then to keep the registers busy.
        if self.is_depthwise:
            return strips(self.groups, self.itemsize, 2, self.target)
        return strips(self.channels_out, self.itemsize, self.target.tile_vectors, self.target)

    @property
    def strip_groups(self) -> int:
        """Groups that have strips of their own."""
        return 1 if self.is_depthwise else self.groups


def has_tiled_kernel(unit: Node) -> bool:
    """Whether a convolution or weight gradient has tiled kernels: over one or two spatial axes, none of them empty."""
    x, y, w = _operands(convolution_of(unit))
    return 1 <= x.ndim - 2 <= 2 and 0 not in (x.size, y.size, w.size)


def geometry(unit: Node, target: Target) -> Geometry | None:
    """The sizes of a convolution or weight gradient with tiled kernels; None where it has none."""
    return tiled_geometry(unit, wanted_cut(unit, target), target)


def tiled_geometry(unit: Node, cut: RowTiles | None, target: Target) -> Geometry | None:
    """The same where the epilogue wants tiles of positions `cut` so, whether the unit has that epilogue or not."""
    if target.is_gpu:
        return None
    g = _image_geometry(unit, target)
    return _flattened(g, cut) if g is not None and g.is_pointwise else g


def _image_geometry(unit: Node, target: Target) -> Geometry | None:
    """The sizes with images as they are."""
    if not has_tiled_kernel(unit):
        return None
    node = convolution_of(unit)
    x, y, w = _operands(node)
    missing = 2 - (x.ndim - 2)
    input_lengths, output_lengths, kernel = (
        (*(1,) * missing, *shape) for shape in (x.shape[1:-1], y.shape[1:-1], w.shape[2:])
    )
    first, second = (*(_DENSE,) * missing, *windows(node.attrs))
    groups: int = node.attrs["groups"]
    return Geometry(
        x.shape[0],
        (input_lengths[0], input_lengths[1]),
        (output_lengths[0], output_lengths[1]),
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
    """A pointwise convolution with its positions in rows that register tiles divide well.

    Each position stands for itself, so the positions of all images may form one image. Where `cut` has several tiles in
    an image, those of each image form an image of their own, and rows divide the tiles.
    """
    image = math.prod(g.input_lengths)
    images, positions = (g.images, image) if cut is not None and cut.parts > 1 else (1, g.images * image)
    fitting = [n for n in range(56, 225) if positions % n == 0 and (cut is None or cut.step % n == 0)]
    if not fitting:
        return g
    # Register tiles of one or two vectors have 14 rows, which divide half of the multiples of 7.
    width = next((n for n in fitting if n % 7 == 0), fitting[-1])
    shape = (positions // width, width)
    return replace(g, images=images, input_lengths=shape, output_lengths=shape)
