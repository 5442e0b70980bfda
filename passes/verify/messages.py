"""Messages between ranks in a finished plan: what is under way is left alone until it is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir import Graph, Node, Value
from ...ir.ops import collectives
from .errors import PlanVerificationError, describe

_BEGINNING = (collectives.start_gather, collectives.start_exchange, collectives.start_swap)


def check_messages(graph: Graph, readers: Mapping[Value, Sequence[Node]]) -> None:
    """Raise `PlanVerificationError` unless every message that begins is waited for once, by a unit that also reads what
    was sent: so neither what is sent nor what is received has another use meanwhile. No two have the same tag.
    """
    tags: set[int] = set()
    for node in graph.nodes:
        if node.op not in _BEGINNING:
            if node.op is collectives.finish and (
                node.inputs[0].node is None or node.inputs[0].node.op not in _BEGINNING
            ):
                raise PlanVerificationError(f"{describe(node)} waits for what has not begun")
            continue
        tag: int = node.attrs["tag"]
        if tag in tags:
            raise PlanVerificationError(f"{describe(node)} has tag {tag}, which other messages have")
        tags.add(tag)
        waiting = readers.get(node.output, ())
        if len(waiting) != 1 or waiting[0].op is not collectives.finish or node.output in graph.outputs:
            raise PlanVerificationError(f"what {describe(node)} receives is read before it is there")
        if waiting[0].attrs["tag"] != tag or waiting[0].inputs[1] is not node.inputs[0]:
            raise PlanVerificationError(f"{describe(node)} is waited for as if it were another one")
