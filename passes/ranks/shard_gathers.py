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


def gathers_shard(node: Node, inputs: Collection[Value]) -> bool:
    """Whether a node begins such a message, or waits for one."""
    if node.op is collectives.finish:
        begun = node.inputs[0].node
        return begun is not None and begins_gather(begun, inputs)
    return begins_gather(node, inputs)


def prefetched(graph: Graph) -> Graph:
    """A graph whose gathers may run again -> each has a tag of its own, and begins when the one before it has come.

    All other nodes keep their order, so that one more parameter is held than where each gather begins when it is
    waited for.
    """
    inputs = set(graph.inputs)
    begun = [n for n in graph.nodes if begins_gather(n, inputs)]
    if not begun:
        return graph
    finish = {n.inputs[0].node: n for n in graph.nodes if n.op is collectives.finish}
    behind = {finish[before]: node for before, node in pairwise(begun)}
    copies = {node: copies_of_inputs(node.inputs[0], inputs) or [] for node in begun}
    order: list[Node] = []
    done: set[Node] = set()

    def emit(node: Node) -> None:
        order.append(node)
        done.add(node)
        if node in behind and behind[node] not in done:
            for other in (*copies[behind[node]], behind[node]):
                if other not in done:
                    emit(other)

    for node in graph.nodes:
        if node not in done:
            emit(node)
    return _with_tags(graph, order)


def _with_tags(graph: Graph, order: list[Node]) -> Graph:
    """The nodes in this order, each message with the next tag."""
    b = Builder()
    new: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    tags = 0
    for node in order:
        inputs = [new[v] for v in node.inputs]
        begun = inputs[0].node if node.op is collectives.finish else None
        if begun is not None:
            # The copy to a bucket may have been made again meanwhile.
            inputs[1] = begun.inputs[0]
        copied = b.copy(node, inputs)
        if begun is not None:
            copied.attrs["tag"] = begun.attrs["tag"]
        elif "tag" in node.attrs:
            copied.attrs["tag"], tags = tags, tags + 1
        new.update(zip(node.outputs, copied.outputs))
    return b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names)
