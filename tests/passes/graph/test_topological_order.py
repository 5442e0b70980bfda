"""Orders of units against networkx's."""

from __future__ import annotations

import networkx
import pytest
from gradloom.ir import Graph
from gradloom.passes.graph.topological_order import topological_order
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs


@settings(max_examples=60)
@given(graph=graphs(max_nodes=15), data=st.data())
def test_the_order_is_that_of_networkx_with_the_place_of_a_units_last_node_as_its_key(
    graph: Graph, data: st.DataObject
):
    count = data.draw(st.integers(1, len(graph.nodes)))
    unit_of = {node: data.draw(st.integers(0, count - 1)) for node in graph.nodes}
    units = networkx.DiGraph()
    units.add_nodes_from(unit_of.values())
    for node in graph.nodes:
        made = {unit_of[v.node] for v in node.inputs if v.node is not None}
        units.add_edges_from((unit, unit_of[node]) for unit in made - {unit_of[node]})
    if not networkx.is_directed_acyclic_graph(units):
        with pytest.raises(ValueError, match="cycle"):
            topological_order(graph, unit_of)
        return
    last = {unit: i for i, unit in enumerate(unit_of.values())}
    expected = list(networkx.lexicographical_topological_sort(units, key=lambda unit: last[unit]))
    assert topological_order(graph, unit_of) == expected


@settings(max_examples=25)
@given(graph=graphs(max_nodes=25))
def test_the_phases_of_a_plan_are_no_fewer_than_the_units_of_its_longest_chain(graph: Graph):
    made = plan(run_passes(graph), 2)
    units = networkx.DiGraph()
    place = {unit: i for i, phase in enumerate(made.phases) for unit in phase}
    for unit in place:
        units.add_node(unit)
        units.add_edges_from((made.views[v].base.node, unit) for v in unit.inputs if made.views[v].base.node in place)
    assert all(place[of] < place[to] for of, to in units.edges())
    assert len(made.phases) >= len(networkx.dag_longest_path(units))
