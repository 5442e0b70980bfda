"""Accumulators in memory: the input that a unit adds to or changes, and inputs of the graph that several units do so
to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ...ir import Node, Value
from ..graph.carries import carried_input
from ..graph.views import View
from .conv_epilogue import accumulator_output
from .conv_operands import added_input


def accumulated_input(node: Node, o: int) -> int | None:
    """The input that output `o` of a unit, no region, is added to, or is but for a part; so both may lie in the same
    memory.

    For a loop that is the first value of the carry.
    """
    if node.op.family == "convolution":
        return added_input(node) if o == accumulator_output(node) else None
    return carried_input(node, o) if node.op.is_loop else node.op.begins_with


def reads_of_bases(nodes: Iterable[Node], outputs: Iterable[Value], views: Mapping[Value, View]) -> Counter[Value]:
    """How often units read each value, through views or not; being an output counts too."""
    found = Counter(views[v].base for node in nodes if not node.op.is_view for v in node.inputs)
    found.update(views[v].base for v in outputs)
    return found


def accumulator_chain(value: Value, old: Value, reads: Mapping[Value, int]) -> list[Value]:
    """The values through which `value` adds to the input `old`, the last first. Empty where it is computed in another
    way.

    Each unit adds to what the unit before it has left, and nothing else reads that: so all may lie in the memory of
    `old`.
    """
    found: list[Value] = []
    while value is not old:
        i = None if value.node is None else accumulated_input(value.node, value.index)
        if value.node is None or i is None:
            return []
        found.append(value)
        value = value.node.inputs[i]
        if reads[value] > 1 and (value is not old or len(found) > 1):
            return []
    return found
