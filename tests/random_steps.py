"""Random graphs as a training step makes them: with derivatives, and with outputs that overwrite inputs."""

from __future__ import annotations

from gradloom.ir import Graph, is_float
from gradloom.passes.backward import vjp_graph
from hypothesis import strategies as st
from random_graphs import graphs


@st.composite
def backward_graphs(draw: st.DrawFn, scans: bool = False) -> Graph:
    """A random graph together with its derivative by all of its inputs; with `scans` some nodes are loops."""
    graph = draw(graphs(max_nodes=12, dtypes=("float64", "float32", "int64"), smooth=True, scans=scans))
    return vjp_graph(graph, [i for i, v in enumerate(graph.inputs) if is_float(v.type.dtype)])


@st.composite
def step_graphs(draw: st.DrawFn, scans: bool = False) -> Graph:
    """A random graph, perhaps with its derivative, whose outputs overwrite inputs where their types allow; with `scans`
    some nodes are loops.
    """
    graph = draw(st.one_of(graphs(max_nodes=16, scans=scans), backward_graphs(scans)))
    aliases: dict[int, int] = {}
    for i, value in enumerate(graph.outputs):
        free = [j for j, v in enumerate(graph.inputs) if v.type == value.type and j not in aliases.values()]
        if free and draw(st.integers(0, 3)):
            aliases[i] = draw(st.sampled_from(free))
    return Graph(graph.inputs, graph.nodes, graph.outputs, aliases, graph.output_names)
