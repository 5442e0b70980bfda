"""Random graphs as a training step makes them: with derivatives, and with outputs that overwrite inputs."""

from __future__ import annotations

from gradloom.ir import Graph, is_float
from gradloom.passes.backward import vjp_graph
from hypothesis import strategies as st
from random_graphs import graphs


@st.composite
def backward_graphs(draw: st.DrawFn) -> Graph:
    """A random graph together with its derivative by all of its inputs."""
    graph = draw(graphs(max_nodes=12, dtypes=("float64", "float32", "int64"), smooth=True))
    return vjp_graph(graph, [i for i, v in enumerate(graph.inputs) if is_float(v.type.dtype)])


@st.composite
def step_graphs(draw: st.DrawFn) -> Graph:
    """A random graph, perhaps with its derivative, whose outputs overwrite inputs where their types allow."""
    graph = draw(st.one_of(graphs(max_nodes=16), backward_graphs()))
    aliases: dict[int, int] = {}
    for i, value in enumerate(graph.outputs):
        free = [j for j, v in enumerate(graph.inputs) if v.type == value.type and j not in aliases.values()]
        if free and draw(st.integers(0, 3)):
            aliases[i] = draw(st.sampled_from(free))
    return Graph(graph.inputs, graph.nodes, graph.outputs, aliases, graph.output_names)
