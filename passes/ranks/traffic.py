"""What a rank sends in one run of a planned graph, and how long its units are predicted to wait for that."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir.ops import collectives
from ..kernels.cost import node_nanoseconds
from ..target import Target
from .buckets import message_nanoseconds


@dataclass(frozen=True)
class Traffic:
    """Messages and their bytes, the time that they take one after another, and the part of it for which units wait."""

    messages: int = 0
    sent_bytes: int = 0
    nanoseconds: float = 0.0
    exposed_nanoseconds: float = 0.0
    unit_nanoseconds: float = 0.0
    """Time of the units themselves: with what they wait, that of the whole run."""


def sent(node: Node) -> tuple[int, int]:
    """The messages that a unit begins, and their bytes."""
    nbytes = node.inputs[0].type.nbytes if node.inputs else 0
    others = node.attrs.get("ranks", 1) - 1
    if node.op is collectives.start_swap:
        return 1, nbytes
    if node.op is collectives.start_exchange:
        return others, nbytes // (others + 1) * others
    return (others, nbytes * others) if node.op is collectives.start_gather else (0, 0)


def message_time(node: Node, target: Target) -> float:
    """Nanoseconds of the messages that a unit begins, one after the other."""
    count, nbytes = sent(node)
    return message_nanoseconds(nbytes, count, target)


def traffic(graph: Graph, threads: int, target: Target) -> Traffic:
    """That of one run of a scheduled graph on so many threads of a target.

    Messages travel one after another, beside units, from where they begin to where they are waited for.
    """
    messages = sent_bytes = 0
    now = free = waited = taken = 0.0
    there: dict[Node, float] = {}
    for node in graph.nodes:
        if node.op is collectives.finish and node.inputs[0].node in there:
            waits = max(0.0, there[node.inputs[0].node] - now)
            now, waited = now + waits, waited + waits
            continue
        count, nbytes = sent(node)
        if count:
            takes = message_time(node, target)
            free = there[node] = max(free, now) + takes
            messages, sent_bytes, taken = messages + count, sent_bytes + nbytes, taken + takes
        elif node.op.has_kernel and node.op.on_ranks is None:
            now += node_nanoseconds(node, target) / threads
    return Traffic(messages, sent_bytes, taken, waited, now - waited)
