"""What stands for the values of a graph while it is copied, where that changes on the way."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir import Builder, Graph, Value
from .views import base_of


class CurrentValues:
    """The values of a new graph that stand now for those of `graph`; a view is taken anew of what its base is now.

    Inputs and what is stored stand for themselves at first.
    """

    def __init__(self, b: Builder, graph: Graph) -> None:
        self._b = b
        self._of = {v: b.input(v.type, v.name) for v in graph.inputs}
        self._views: dict[Value, tuple[Value, Value]] = {}
        """For each view what its base was, and what was taken of that."""
        for node in graph.nodes:
            if node.op.is_stored:
                self._of[node.output] = b.copy(node, []).output

    def update(self, pairs: Iterable[tuple[Value, Value]]) -> None:
        """Let new values stand for old ones, none of which is a view."""
        self._of.update(pairs)

    def value(self, value: Value) -> Value:
        """What stands for `value` now; a view is taken of what its base is now."""
        base = base_of(value)
        now = self._of[base]
        if value is base:
            return now
        known = self._views.get(value)
        if known is not None and known[0] is now:
            return known[1]
        assert value.node is not None
        result = self._b.copy(value.node, [self.value(value.node.inputs[0])]).output
        self._views[value] = (now, result)
        return result
