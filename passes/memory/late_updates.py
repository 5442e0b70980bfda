"""Updates of parameters at the end of a step, one after the other, so that a GPU does all of them in a few launches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...ir import Graph, Node, Value
from ..graph.views import View
from ..kernels.loop_nest import product_of
from .live_bytes import most_bytes, steps

_PIECE = 2 << 20
"""Bytes in which a GPU gives out memory: fewer are none."""


def updates_last(graph: Graph, views: Mapping[Value, View], order: Sequence[Node]) -> list[Node]:
    """An order with as many of the last updates at its end as can wait without more memory.

    A gradient that waits is live for longer. In the end the values of the forward are no longer, so that the gradients
    of many layers find room. The last update comes first: what it waits for, no other does then.
    """
    late_ones = updates(graph)
    waiting = [node for node in order if node in late_ones]
    most = most_bytes(steps(graph, views, order), {}) + _PIECE

    backwards = _independent(graph, views, late_ones)

    def with_last(count: int) -> list[Node]:
        """The order with so many updates at its end."""
        late = waiting[len(waiting) - count :]
        others = set(late)
        return [*(n for n in order if n not in others), *(reversed(late) if backwards else late)]

    low, high = 0, len(waiting)
    while low < high:
        count = (low + high + 1) // 2
        if most_bytes(steps(graph, views, with_last(count)), {}) <= most:
            low = count
        else:
            high = count - 1
    return with_last(low)


def updates(graph: Graph) -> set[Node]:
    """Nodes of which nothing is read but that overwrites inputs: outputs with a kernel, each with the place of an
    input.
    """
    overwriting = {graph.outputs[i] for i in graph.aliases}
    read = {value for node in graph.nodes for value in node.inputs}
    return {
        node
        for node in graph.nodes
        if node.op.has_kernel
        and node.outputs
        and not (node.op.is_region and product_of(node))  # a launch of its own in any case
        and all(v in overwriting and v not in read for v in node.outputs)
    }


def _independent(graph: Graph, views: Mapping[Value, View], nodes: Collection[Node]) -> bool:
    """Whether none of the updates reads what another one overwrites."""
    writer = {graph.inputs[j]: graph.outputs[i].node for i, j in graph.aliases.items()}
    read = ((node, views[value].base) for node in nodes for value in node.inputs)
    return all(writer.get(base, node) is node or writer[base] not in nodes for node, base in read)
