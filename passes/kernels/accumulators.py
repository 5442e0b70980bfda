"""What units begin with and add to, and sums that several units add to in the place of an input of the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ...ir import Node, Value
from ..graph.scan import Scan
from ..graph.views import View
from .conv_epilogue import home_of
from .conv_operands import added_input


def carried_input(node: Node, o: int) -> int | None:
    """The input that a unit other than a region begins output `o` with, and may therefore be given for it."""
    if node.op.family == "convolution":
        return added_input(node) if o == home_of(node) else None
    return Scan(node).carried_input(o) if node.op.is_scan else node.op.accumulates


def reads_of_bases(nodes: Iterable[Node], outputs: Iterable[Value], views: Mapping[Value, View]) -> Counter[Value]:
    """How often units read each value, through views or not; being an output counts too."""
    found = Counter(views[v].base for node in nodes if not node.op.is_view for v in node.inputs)
    found.update(views[v].base for v in outputs)
    return found


def links(value: Value, old: Value, reads: Mapping[Value, int]) -> list[Value]:
    """The values through which `value` goes on with what the input `old` holds, the last first: each unit adds to what
    the one before has left, and nothing else reads it. Empty where it is made in another way.
    """
    found: list[Value] = []
    while value is not old:
        i = None if value.node is None else carried_input(value.node, value.index)
        if value.node is None or i is None:
            return []
        found.append(value)
        value = value.node.inputs[i]
        if reads[value] > 1 and (value is not old or len(found) > 1):
            return []
    return found
