"""A program of arrays that are padded to one shape, which computes what it does for the real part of them."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Array, Builder, Graph, Node, Value
from ..graph.structural_key import attr_key
from .alignment import aligned
from .axes import Axes, plain
from .masker import Masker, PaddingError, Slot
from .rules import RULES


@dataclass(frozen=True)
class MaskedGraph:
    """A padded program: its inputs are those of the program without padding, padded with zeros, and the `slots`."""

    graph: Graph
    slots: tuple[Slot, ...]
    outputs: tuple[Axes, ...]
    """How the axes of each output are laid out."""
    of: tuple[Graph, ...]
    """The graphs that it was made of, node by node alike."""

    def numbers(self, k: int) -> list[Array]:
        """What the slots hold for the lengths of the k-th graph."""
        return [slot.values[k] for slot in self.slots]


def mask_padding(whole: Graph, *shorter: Graph) -> MaskedGraph:
    """f(x of one length), f(x of other lengths)... -> f(x padded, what depends on the length)

    `whole` is a program as it is traced for the lengths that arrays are padded to, `shorter` are the same program as it
    is traced for other lengths, none of them longer. The result has the nodes of `whole` with a `select` before
    whatever reads across padding: a sum reads zeros there, a maximum -inf, a loop keeps its carries. What else depends
    on lengths is an input: the lengths themselves, the divisor of a mean, the place of the last element. Outputs are
    padded too, behind what is real or between its rows, see `Axis`; what stands in padding may be anything.

    The program is right for the lengths of all of `shorter`, by induction over its nodes. Whether it is right for other
    lengths too is told by `first_difference` from what these give beside. It is a program to be compiled as any other,
    with derivatives already taken. Known elsewhere as bounded dynamic shapes (XLA's dynamic padder).

    Raises `PaddingError`, with the user's line, where something nowhere neutral is computed across padding, or where
    the program is another one for another length.
    """
    padded, *real = aligned([whole, *shorter])
    m = Masker(Builder(), RULES)
    for i, value in enumerate(padded.inputs):
        twins = [graph.inputs[i] for graph in real]
        sizes = zip(*(v.type.shape for v in (value, *twins)), strict=True)
        counterpart = m.b.input(value.type, value.name)
        m.zeros.add(counterpart)
        m.enter(value, counterpart, map(plain, sizes), twins)
    m.run(padded, real)
    outputs = [m.made[v] for v in padded.outputs]
    graph = m.b.graph(outputs, padded.aliases, padded.output_names)
    return MaskedGraph(graph, tuple(m.slots.values()), tuple(m.axes[v] for v in padded.outputs), (padded, *real))


def first_difference(one: Graph, other: Graph) -> Node | None:
    """The first node of `one` that `other` does not have in its place; `None` where both compute the same."""
    numbers: dict[Value, int] = {v: i for i, v in enumerate(one.inputs)}
    others: dict[Value, int] = {v: i for i, v in enumerate(other.inputs)}
    for node, twin in zip(one.nodes, other.nodes):
        same = node.op is twin.op and [numbers[v] for v in node.inputs] == [others[v] for v in twin.inputs]
        if not same or not _same_attrs(node, twin):
            return node
        for value, its in zip(node.outputs, twin.outputs, strict=True):
            numbers[value] = others[its] = len(numbers)
    same = len(one.nodes) == len(other.nodes) and [v.type for v in one.inputs] == [v.type for v in other.inputs]
    if same and [numbers[v] for v in one.outputs] == [others[v] for v in other.outputs]:
        return None
    return one.nodes[-1]


def _same_attrs(node: Node, twin: Node) -> bool:
    return attr_key(node.attrs) == attr_key(twin.attrs)


__all__ = ["MaskedGraph", "PaddingError", "first_difference", "mask_padding"]
