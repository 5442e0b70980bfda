"""How many bytes of the forward the backward holds at once, where it keeps some values and rebuilds others of them."""

from __future__ import annotations

from collections.abc import Callable, Container

from ...ir import Graph, Node, Value
from ..kernels.conv_operands import LEAST_PROLOGUE_BYTES, PROLOGUE_CONVOLUTIONS
from ..kernels.loop_nest import squeezed


def most_held(
    graph: Graph, kept: Container[Value], is_late: Callable[[Node], bool], is_rebuilt: Callable[[Value], bool]
) -> tuple[int, int]:
    """The most bytes that are held at once of values that are `kept` or rebuilt, and the bytes of those kept: what the
    first of the nodes that are late finds.

    It is told before anything is fused or ordered. A late node runs as soon as what it reads is there, where only
    products, sums and the like take time; what is rebuilt is made when it is first needed, by what is rebuilt of it
    too. So a chain through all layers is there whole as soon as its end is needed. What convolutions read, and
    element-wise ops of its shape alone, they make for themselves from what that is made of, see `FusePrologue`.
    """
    held = _Held(is_rebuilt)
    late = [node for node in graph.nodes if is_late(node)]
    times = _times(late)
    for node in reversed(late):
        time = times.get(node)
        if time is None:
            time = held.first_read(node)
        if time is not None:
            held.read(node, time, time, False)
    for node in reversed(graph.nodes):
        time = held.first_read(node)
        if time is not None and not is_late(node) and is_rebuilt(node.outputs[0]):
            held.rebuild(node, time)
    return held.most(kept)


def _takes_time(node: Node) -> bool:
    return node.op.family not in ("elementwise", "creation") and not node.op.is_view


def _times(late: list[Node]) -> dict[Node, int]:
    """When nodes may run first; what is made of early values alone has no time of its own."""
    times: dict[Node, int] = {}
    for node in late:
        before = [times[v.node] for v in node.inputs if v.node in times]
        if before or _takes_time(node):
            times[node] = max(before, default=0) + _takes_time(node)
    return times


class _Held:
    def __init__(self, is_rebuilt: Callable[[Value], bool]) -> None:
        self.is_rebuilt = is_rebuilt
        self.first: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        self.made_whole: set[Value] = set()
        self.by_convolutions: set[Value] = set()

    def first_read(self, node: Node) -> int | None:
        return min((self.first[v] for v in node.outputs if v in self.first), default=None)

    def read(self, node: Node, time: int, until: int, by_convolutions: bool) -> None:
        """Enter what a node reads at a `time`, or whose bytes are read through it `until` another."""
        for value in node.inputs:
            self.first[value] = min(self.first.get(value, time), time)
            self.last[value] = max(self.last.get(value, until), until)
            same_shape = squeezed(node.outputs[0].type.shape) == squeezed(value.type.shape)
            if node.op in PROLOGUE_CONVOLUTIONS:
                self.by_convolutions.add(value)
            elif _takes_time(node) or not same_shape:
                self.made_whole.add(value)
            elif by_convolutions:
                self.by_convolutions.add(value)

    def rebuild(self, node: Node, time: int) -> None:
        """Enter what a node reads that is rebuilt at a `time`."""
        made_by_readers = all(self.is_made_by_readers(v) for v in node.outputs)
        until = time
        if made_by_readers or node.op.is_view:
            until = max(self.last[v] for v in node.outputs if v in self.last)
        self.read(node, time, until, made_by_readers)

    def is_made_by_readers(self, value: Value) -> bool:
        large = value.type.nbytes >= LEAST_PROLOGUE_BYTES
        return large and value in self.by_convolutions and value not in self.made_whole

    def most(self, kept: Container[Value]) -> tuple[int, int]:
        """The most bytes at once, and those at first."""
        change = [0] * (max(self.last.values(), default=0) + 2)
        at_first = 0
        for value, last in self.last.items():
            node = value.node
            if node is None or node.op.family == "creation":
                continue
            if value in kept:
                birth = 0
                at_first += value.type.nbytes
            elif self.is_rebuilt(value) and not node.op.is_view and not self.is_made_by_readers(value):
                birth = self.first[value]
                if birth == last:
                    continue  # a fused loop holds a few numbers of it
            else:
                continue
            change[birth] += value.type.nbytes
            change[last + 1] -= value.type.nbytes
        most = now = 0
        for step in change:
            now += step
            most = max(most, now)
        return most, at_first
