"""Operands of a convolution: arrays as they lie in memory, or the results of a prologue on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import Graph, Node, Value
from ...ir.ops.convolution import conv, conv_add, conv_weight_gradient
from ..graph.dead_code import live_nodes
from ..graph.views import View
from ..target import Target

# Elements over which what differs by channel alone is repeated, so that loops over it are long.
_REPEATED = 256

PROLOGUE_CONVOLUTIONS = (conv, conv_add, conv_weight_gradient)
"""The ops that can make what they read element by element as they copy it."""


def convolution_of(unit: Node) -> Node:
    """The convolution or gradient to a weight of a unit, which is one or a `conv_region`."""
    if not unit.op.is_conv_region:
        return unit
    return next(node for node in unit.attrs["body"].nodes if node.op.family == "convolution")


def is_convolution(node: Node) -> bool:
    """Whether a node is a convolution, and not the gradient to a weight."""
    return node.op in (conv, conv_add)


def data_operands(convolution: Node) -> int:
    """How many of the first inputs of a convolution are images that it reads."""
    return 1 if is_convolution(convolution) else 2


def added_input(unit: Node) -> int | None:
    """The input of a unit that its convolution, or gradient to a weight, is added to."""
    convolution = convolution_of(unit)
    number = convolution.op.accumulates
    if number is None or convolution is unit:
        return number
    return unit.attrs["body"].inputs.index(convolution.inputs[number])


def has_prologue(unit: Node, operand: int) -> bool:
    """Whether a unit computes this operand of its convolution as it copies it."""
    convolution = convolution_of(unit)
    return convolution is not unit and convolution.inputs[operand].node is not None


@dataclass(frozen=True, slots=True)
class ArrayRead:
    """An array that is read, and its strides from one image, row, column and channel to the next, in elements.

    `form`: `dense`, as a fresh array of the operand's shape; `number`, the same for a whole row of an image;
    `channels`, the same for all but channels; `strided`, all else.
    """

    value: Value
    strides: tuple[int, int, int, int]
    form: str


@dataclass(frozen=True)
class Operand:
    """Images of `lengths` (n, rows, columns, channels) that a convolution reads: `result` of the `nodes`, in their
    order, from the `inputs` of a body, which are read as `reads` says.
    """

    result: Value
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    reads: tuple[ArrayRead, ...]
    lengths: tuple[int, int, int, int]

    @property
    def repeated(self) -> int:
        """Elements over which what differs by channel alone is repeated: whole columns."""
        channels = self.lengths[3]
        return channels * -(-_REPEATED // max(channels, 1))

    def line_bytes(self, columns: int, target: Target) -> list[int]:
        """Bytes of the line of each of `reads` for so many columns. Those that are read where they lie have none."""
        elements = {"channels": self.repeated, "strided": columns * self.lengths[3]}
        return [target.round_to_line(elements.get(s.form, 0) * s.value.type.dtype.itemsize) for s in self.reads]


def operand(unit: Node, number: int, views: Mapping[Value, View], lengths: tuple[int, int, int, int]) -> Operand:
    """Operand `number` of the convolution of `unit`, whose inputs lie as `views` says, as images of `lengths`: its own,
    or others of as many positions where all that is read `can_be_cut`.
    """
    convolution = convolution_of(unit)
    result = convolution.inputs[number]
    if convolution is unit:
        return Operand(result, (), (result,), (_array_read(result, views[result], lengths),), lengths)
    body: Graph = unit.attrs["body"]
    nodes = live_nodes(body.nodes, [result])
    read = {result, *(v for node in nodes for v in node.inputs)}
    outer = {inner: given for inner, given in zip(body.inputs, unit.inputs) if inner in read}
    reads = tuple(_array_read(given, views[given], lengths) for given in outer.values())
    return Operand(result, tuple(nodes), tuple(outer), reads, lengths)


def can_be_cut(view: View) -> bool:
    """Whether all positions of images can be cut into rows anew, as this view lies."""
    return view.contiguous or not any(s for n, s in zip(view.shape[:-1], view.strides) if n != 1)


def _array_read(value: Value, view: View, lengths: tuple[int, int, int, int]) -> ArrayRead:
    _, rows, columns, channels = lengths
    if len(view.shape) < 3:
        strides = (0, 0, 0, 0)  # one element
    elif (view.shape[0], *(1,) * (4 - len(view.shape)), *view.shape[1:]) == lengths:
        strides = (view.strides[0], *(0,) * (4 - len(view.shape)), *view.strides[1:])
    elif any(s for n, s in zip(view.shape[:-1], view.strides) if n != 1):
        assert view.contiguous, "what does not lie in one piece cannot be cut into other images"
        strides = (rows * columns * channels, columns * channels, channels, 1)
    else:
        strides = (0, 0, 0, view.strides[-1])
    a, b, c, d = (0 if n == 1 else s for n, s in zip(lengths, strides, strict=True))
    strides = (a, b, c, d)
    if not strides[2] and not strides[3]:
        form = "number"
    elif not any(strides[:3]) and lengths[:3] != (1, 1, 1):
        form = "channels"
    elif (strides[2] == channels or columns == 1) and (strides[3] == 1 or channels == 1):
        form = "dense"
    else:
        form = "strided"
    return ArrayRead(value, strides, form)
