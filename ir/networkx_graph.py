"""A graph as one of networkx, for analysis by its algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .graph import Graph, Node, node_flops
from .printer import name_values

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.MultiDiGraph[str]:
    """See `Graph.to_networkx`."""
    from networkx import MultiDiGraph  # which takes a third of a second to import

    made: Any = MultiDiGraph
    result: Any = made()
    names = name_values(graph)
    # A node is named by its first output; one without outputs by its place, which no value is named by.
    keys: dict[Node | None, str] = {n: names[n.outputs[0]] if n.outputs else str(i) for i, n in enumerate(graph.nodes)}
    for value in graph.inputs:
        result.add_node(
            names[value], op="input", scope="", source="", role="input", bytes=value.type.nbytes, flops=0,
            types=(str(value.type),), body=None,
        )  # fmt: skip
    for node in graph.nodes:
        origin, body = node.origin, node.attrs.get("body")
        result.add_node(
            keys[node],
            op=node.op.name,
            scope=origin.scope,
            source=origin.source,
            role=origin.role,
            bytes=sum(v.type.nbytes for v in node.outputs),
            flops=node_flops(node),
            types=tuple(str(v.type) for v in node.outputs),
            body=to_networkx(body) if isinstance(body, Graph) else None,
        )
        for i, value in enumerate(node.inputs):
            maker = names[value] if value.node is None else keys[value.node]
            result.add_edge(maker, keys[node], key=i, value=names[value], bytes=value.type.nbytes)
    result.graph["inputs"] = [names[v] for v in graph.inputs]
    result.graph["outputs"] = [names[v] for v in graph.outputs]
    return result
