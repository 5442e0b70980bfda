"""Minimum cuts against SciPy's maximum flows."""

import numpy as np
from gradloom.passes.graph.min_cut import sink_side
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

edge = st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0, 1, 2, 3, 7, 1 << 20]))


def sink_side_by_scipy(edges, source, sink):
    rows, columns, capacities = (np.array(part, np.int32) for part in zip(*edges))
    network = csr_array((capacities, (rows, columns)), shape=(10, 10))
    left = (network - maximum_flow(network, source, sink).flow).toarray() > 0
    reached = {sink}
    while new := {int(a) for a in range(10) for b in reached if left[a, b]} - reached:
        reached |= new
    return reached


@given(st.lists(edge, min_size=1, max_size=40))
def test_the_side_of_the_sink_is_scipys(edges):
    capacities = {(a, b): c for a, b, c in edges if a != b}
    network = [(a, b, c) for (a, b), c in capacities.items()]
    if network:
        assert sink_side(network, 0, 9) == sink_side_by_scipy(network, 0, 9)


def test_of_equal_cuts_the_one_nearest_to_the_sink_is_taken():
    assert sink_side([(0, 1, 5), (1, 2, 5), (2, 3, 9)], 0, 3) == {2, 3}


def test_what_leads_nowhere_is_on_no_side():
    assert sink_side([(0, 1, 5), (2, 3, 1), (4, 9, 1)], 0, 9) == {4, 9}


def test_a_long_chain_takes_no_deep_stack():
    edges = [(i, i + 1, 10 if i != 5000 else 3) for i in range(20_000)]
    assert sink_side(edges, 0, 20_000) == set(range(5001, 20_001))
