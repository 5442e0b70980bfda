"""Messages that gather a parameter of which each rank has a shard: they may run again, as any unit may."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import collectives


def begins_gather(node: Node, inputs: Collection[Value]) -> bool:
    """Whether a message gathers `inputs` of its graph: what it sends is there until they are overwritten."""
    return node.op is collectives.start_gather and copies_of_inputs(node.inputs[0], inputs) is not None


def copies_of_inputs(value: Value, inputs: Collection[Value]) -> list[Node] | None:
    """The nodes that copy some of the `inputs` to a bucket, in order: none for an input; None where it is computed."""
    if value in inputs:
        return []
    node = value.node
    if node is None or not node.inputs or not (node.op.is_view or node.op.only_moves):
        return None
    made: dict[Node, None] = {}
    for read in node.inputs:
        before = copies_of_inputs(read, inputs)
        if before is None:
            return None
        made.update(dict.fromkeys(before))
    return [*made, node]


def is_regathered(node: Node) -> bool:
    """Whether a message gathers for the backward what another has gathered for the forward."""
    return node.op is collectives.start_gather and node.origin.role == "recompute"


def finish_of_each(graph: Graph) -> dict[Node, Node]:
    """What begins a message, with what waits for it."""
    waiting = [node for node in graph.nodes if node.op is collectives.finish]
    return {node.inputs[0].node: node for node in waiting if node.inputs[0].node is not None}


def prefetched(graph: Graph) -> Graph:
    """A graph whose gathers may run again -> each has a tag of its own, begins when the one before it has come, and is
    waited for right before what reads it.

    All other nodes keep their order, so that one more parameter is held than where each gather begins when it is
    waited for.
    """
    inputs = set(graph.inputs)
    begun = [n for n in graph.nodes if begins_gather(n, inputs)]
    if not begun:
        return graph
    finish = finish_of_each(graph)
    behind = {finish[before]: node for before, node in pairwise(begun)}
    copies = {node: copies_of_inputs(node.inputs[0], inputs) or [] for node in begun}
    late = {finish[node] for node in begun}
    order: list[Node] = []
    done: set[Node] = set()

    def emit(node: Node) -> None:
        if node in done:
            return
        for read in node.inputs:
            if read.node in late:
                emit(read.node)
        order.append(node)
        done.add(node)
        if node in behind:
            for other in (*copies[behind[node]], behind[node]):
                emit(other)

    for node in graph.nodes:
        if node not in late:
            emit(node)
    return _with_tags(graph, order)


def _with_tags(graph: Graph, order: list[Node]) -> Graph:
    """The nodes in this order, each message with the next tag."""
    b = Builder()
    new: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    tags = 0
    for node in order:
        copied = b.copy(node, [new[v] for v in node.inputs])
        begun = copied.inputs[0].node if node.op is collectives.finish else None
        if begun is not None:
            copied.attrs["tag"] = begun.attrs["tag"]
        elif "tag" in node.attrs:
            copied.attrs["tag"], tags = tags, tags + 1
        new.update(zip(node.outputs, copied.outputs))
    return b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names)
