"""Updates of parameters as early as they can be: state moves back to host memory while the rest of the step runs."""

from __future__ import annotations

from ...ir import Graph, Node
from ..graph.views import resolve_views
from ..memory.late_updates import updates
from ..memory.schedule import extra_dependencies


def updates_early(graph: Graph) -> Graph:
    """The graph with each update right behind the last node that it waits for. Gradients are then free sooner, and a
    GPU makes more launches; see `updates_last`.
    """
    views = resolve_views(graph.inputs, graph.nodes)
    extra = extra_dependencies(graph, views)
    moving = updates(graph)
    place = {node: i for i, node in enumerate(graph.nodes)}
    behind: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node in moving:
            before = [*(v.node for v in node.inputs if v.node is not None), *extra.get(node, ())]
            # What waits for another update stands behind it, as both do now.
            if any(one in moving for one in before):
                return graph
            behind.setdefault(max((place[one] for one in before), default=-1), []).append(node)
    order = list(behind.get(-1, ()))
    for i, node in enumerate(graph.nodes):
        if node not in moving:
            order += [node, *behind.get(i, ())]
    return Graph(graph.inputs, order, graph.outputs, graph.aliases, graph.output_names)
