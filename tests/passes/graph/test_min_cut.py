"""Minimum cuts against networkx's."""

import networkx
from gradloom.passes.graph.min_cut import sink_side
from hypothesis import given
from hypothesis import strategies as st

edge = st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0, 1, 2, 3, 7, 1 << 20]))


@given(st.lists(edge, min_size=1, max_size=40))
def test_the_side_of_the_sink_is_that_of_networkx(edges):
    capacities = {(a, b): c for a, b, c in edges if a != b}
    network = networkx.DiGraph()
    network.add_nodes_from((0, 9))
    network.add_weighted_edges_from([(a, b, c) for (a, b), c in capacities.items()], weight="capacity")
    least, _ = networkx.minimum_cut(network, 0, 9)
    found = sink_side([(a, b, c) for (a, b), c in capacities.items()], 0, 9)
    assert sum(c for (a, b), c in capacities.items() if a not in found and b in found) == least
    # Of all minimum cuts it is the one nearest to the sink: what is not filled leads there.
    residual = networkx.algorithms.flow.edmonds_karp(network, 0, 9)
    open_edges = networkx.DiGraph((a, b) for a, b, e in residual.edges(data=True) if e["flow"] < e["capacity"])
    open_edges.add_node(9)
    assert found == networkx.ancestors(open_edges, 9) | {9}


def test_of_equal_cuts_the_one_nearest_to_the_sink_is_taken():
    assert sink_side([(0, 1, 5), (1, 2, 5), (2, 3, 9)], 0, 3) == {2, 3}


def test_what_leads_nowhere_is_on_no_side():
    assert sink_side([(0, 1, 5), (2, 3, 1), (4, 9, 1)], 0, 9) == {4, 9}


def test_a_long_chain_takes_no_deep_stack():
    edges = [(i, i + 1, 10 if i != 5000 else 3) for i in range(20_000)]
    assert sink_side(edges, 0, 20_000) == set(range(5001, 20_001))
