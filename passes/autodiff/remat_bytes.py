"""Live bytes of residuals and of recomputed values in the backward, as `MinCutRemat` estimates them before fusion."""

from __future__ import annotations

from collections.abc import Callable, Container

from ...ir import Graph, Node, Value
from ..kernels.conv_operands import PROLOGUE_CONVOLUTIONS
from ..kernels.loop_nest import squeezed
from ..target import Target


def peak_bytes(
    graph: Graph,
    kept: Container[Value],
    is_late: Callable[[Node], bool],
    is_recomputed: Callable[[Value], bool],
    target: Target,
) -> tuple[int, int]:
    """The most live bytes of values that are `kept` or recomputed, and the bytes of those that are kept.

    It is an estimate, since nothing is fused or scheduled yet. A late node runs as soon as its inputs are there. Only
    products, reductions and the like take time. A recomputed value is born when its first reader runs, or the first
    reader of what is recomputed from it. So a chain through all layers is live as a whole when its end is needed.
    A value that only convolutions read, and element-wise ops of its shape, is no array: `FusePrologue` computes it row
    by row.
    """
    held = _LiveRanges(is_recomputed, target)
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
        if time is not None and not is_late(node) and is_recomputed(node.outputs[0]):
            held.recompute(node, time)
    return held.peak(kept)


def _takes_time(node: Node) -> bool:
    return node.op.family not in ("elementwise", "creation") and not node.op.is_view


def _times(late: list[Node]) -> dict[Node, int]:
    """When nodes can run at the earliest; an element-wise node of early values alone has no time of its own."""
    times: dict[Node, int] = {}
    for node in late:
        before = [times[v.node] for v in node.inputs if v.node in times]
        if before or _takes_time(node):
            times[node] = max(before, default=0) + _takes_time(node)
    return times


class _LiveRanges:
    """The first and the last time at which each value is read, and who reads it."""

    def __init__(self, is_recomputed: Callable[[Value], bool], target: Target) -> None:
        self.target = target
        self.is_recomputed = is_recomputed
        self.first: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        self.read_whole: set[Value] = set()
        self.read_by_convolutions: set[Value] = set()

    def first_read(self, node: Node) -> int | None:
        return min((self.first[v] for v in node.outputs if v in self.first), default=None)

    def read(self, node: Node, time: int, until: int, by_convolutions: bool) -> None:
        """Enter the inputs of a node that runs at `time`; a view, or a prologue, reads their bytes `until` later."""
        for value in node.inputs:
            self.first[value] = min(self.first.get(value, time), time)
            self.last[value] = max(self.last.get(value, until), until)
            same_shape = squeezed(node.outputs[0].type.shape) == squeezed(value.type.shape)
            if node.op in PROLOGUE_CONVOLUTIONS:
                self.read_by_convolutions.add(value)
            elif _takes_time(node) or not same_shape:
                self.read_whole.add(value)
            elif by_convolutions:
                self.read_by_convolutions.add(value)

    def recompute(self, node: Node, time: int) -> None:
        """Enter the inputs of a node that is recomputed at `time`."""
        in_prologue = all(self.is_in_prologues(v) for v in node.outputs)
        until = time
        if in_prologue or node.op.is_view:
            until = max(self.last[v] for v in node.outputs if v in self.last)
        self.read(node, time, until, in_prologue)

    def is_in_prologues(self, value: Value) -> bool:
        """Whether convolutions are all that reads a value, so that each computes it in its prologue."""
        large = value.type.nbytes >= self.target.l1_bytes
        return large and value in self.read_by_convolutions and value not in self.read_whole

    def peak(self, kept: Container[Value]) -> tuple[int, int]:
        """The most live bytes, and those of residuals."""
        change = [0] * (max(self.last.values(), default=0) + 2)
        residual_bytes = 0
        for value, last in self.last.items():
            node = value.node
            if node is None or node.op.family == "creation":
                continue
            if value in kept:
                birth = 0
                residual_bytes += value.type.nbytes
            elif self.is_recomputed(value) and not node.op.is_view and not self.is_in_prologues(value):
                birth = self.first[value]
                if birth == last:
                    continue  # it lives inside one fused loop
            else:
                continue
            change[birth] += value.type.nbytes
            change[last + 1] -= value.type.nbytes
        most = now = 0
        for step in change:
            now += step
            most = max(most, now)
        return most, residual_bytes
