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
# Channels into a group that a register tile keeps the weights of, and vectors that those of all groups of a vector may
# fill: each of these takes a shuffle more.
_FEW_CHANNELS, _MOST_SOURCES = 8, 4


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution over two spatial axes of an image, and over the images of a volume. One over one axis got an axis
    of length 1 in front. One over two axes has a single volume, and each image of its output meets that of the input.

    `channels_in` and `channels_out` are those of one group, `depths` the images of a volume of the input and of the
    output. Along them `depth_kernel` images meet through `depth_window`.
    """

    volumes: int
    depths: tuple[int, int]
    depth_kernel: int
    depth_window: Window
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
        images = self.volumes * self.depths[operand]
        if operand == 0:
            return images, *self.input_lengths, self.groups * self.channels_in
        return images, *self.output_lengths, self.groups * self.channels_out

    @property
    def images(self) -> int:
        """Images of the output."""
        return self.volumes * self.depths[1]

    @property
    def places(self) -> int:
        """Places of the kernel."""
        return self.depth_kernel * math.prod(self.kernel)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output meets one position of the input, and each position is met: a matrix product."""
        return self.places == 1 and all(window == _DENSE for window in (self.depth_window, *self.windows))

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.channels_in == self.channels_out == 1

    @property
    def groups_of_vector(self) -> int:
        """Groups whose output channels share a vector; 1 where those of each group begin one of their own.

        Groups of few channels would leave most lanes of their vectors empty.
        """
        lanes = self.target.vector_bytes // self.itemsize
        together = lanes // self.channels_out
        few = self.channels_in <= _FEW_CHANNELS and together * self.channels_in <= _MOST_SOURCES * lanes
        return together if self.is_depthwise or (self.groups > 1 and together > 1 and few) else 1

    @property
    def shares_vectors(self) -> bool:
        """Whether groups share vectors, as in a depthwise convolution."""
        return self.is_depthwise or self.groups_of_vector > 1

    @property
    def channel_strips(self) -> Strips:
        """The strips of one group's output channels, or of those of all groups where they share vectors."""
        # A depthwise product has a vector of channels on both sides, and one of them is loaded for every product.
        # Strips of two vectors are enough then to keep the registers busy.
        if self.is_depthwise:
            return strips(self.groups, self.itemsize, 2, self.target)
        if self.shares_vectors:
            vectors = -(-self.groups // self.groups_of_vector)
            return Strips(vectors, vectors, 1, vectors)
        return strips(self.channels_out, self.itemsize, self.target.tile_vectors, self.target)

    @property
    def strip_groups(self) -> int:
        """Groups that have strips of their own."""
        return 1 if self.shares_vectors else self.groups


def has_tiled_kernel(unit: Node) -> bool:
    """Whether a convolution or weight gradient has tiled kernels: over one to three spatial axes, none empty."""
    x, y, w = _operands(convolution_of(unit))
    return 1 <= x.ndim - 2 <= 3 and 0 not in (x.size, y.size, w.size)


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
    groups: int = node.attrs["groups"]
    missing = 2 - (x.ndim - 2)
    if missing < 0:
        volumes, (depth, *lengths), (outputs, *made) = x.shape[0], x.shape[1:-1], y.shape[1:-1]
        (deep, *kernel), (window, *across) = w.shape[2:], windows(node.attrs)
    else:
        volumes, depth, outputs, deep, window = 1, x.shape[0], x.shape[0], 1, _DENSE
        lengths, made, kernel = ((*(1,) * missing, *s) for s in (x.shape[1:-1], y.shape[1:-1], w.shape[2:]))
        across = (*(_DENSE,) * missing, *windows(node.attrs))
    return Geometry(
        volumes,
        (depth, outputs),
        deep,
        window,
        (lengths[0], lengths[1]),
        (made[0], made[1]),
        (kernel[0], kernel[1]),
        (across[0], across[1]),
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
    every = g.images * math.prod(g.input_lengths)
    images, positions = (every // cut.whole, cut.whole) if cut is not None and cut.parts > 1 else (1, every)
    fitting = [n for n in range(56, 225) if positions % n == 0 and (cut is None or cut.step % n == 0)]
    if not fitting:
        return g
    # Register tiles of one or two vectors have 14 rows, which divide half of the multiples of 7.
    width = next((n for n in fitting if n % 7 == 0), fitting[-1])
    shape = (positions // width, width)
    return replace(g, volumes=1, depths=(images, images), input_lengths=shape, output_lengths=shape)
