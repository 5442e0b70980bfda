"""Which nodes of a graph compute with the same few parameters that are gathered from all ranks."""

from __future__ import annotations

from ...ir import Graph, Node, Value
from ...ir.ops import collectives
from ...ir.ops import elementwise as ew

_LAYERS = 16
"""Layers end where so large a part of all that is gathered has been read."""
_SMALL = 2000
"""What is no more than so small a part of it, such as a bias, is read in any layer."""


class Layers:
    """Layers of a graph, in the order of its nodes: each reads its part of what is gathered, or one large parameter."""

    def __init__(self, graph: Graph) -> None:
        inputs = set(graph.inputs)
        self._of: dict[Value, Value] = {}
        """What is gathered, and what is a view or a cast of it, with the gather."""
        for node in graph.nodes:
            if node.op is collectives.all_gather and node.inputs[0] in inputs:
                self._of[node.output] = node.output
            elif (node.op.is_view or node.op is ew.cast) and node.inputs[0] in self._of:
                self._of[node.output] = self._of[node.inputs[0]]
        total = sum(v.type.nbytes for v in set(self._of.values()))
        self._most, self._small = total // _LAYERS, total // _SMALL
        self._read: set[Value] = set()
        self._number = 0

    def next(self, node: Node) -> int:
        """The number of the layer of a node, where those before it have been asked for: 0, 1, ... in their order."""
        read = {self._of[v] for v in node.inputs if v in self._of and v.type.nbytes > self._small}
        if node.op.is_view or read <= self._read:
            return self._number
        if self._read and sum(v.type.nbytes for v in self._read | read) > self._most:
            self._number, self._read = self._number + 1, set()
        self._read |= read
        return self._number
