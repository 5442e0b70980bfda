"""Compiled `while_loop` and `cond` nodes with random bodies: the interpreter's numbers, on two threads to the bit."""

import numpy as np
from compiled import run_compiled
from gradloom.ir import Graph, interpret
from hypothesis import HealthCheck, assume, given, settings
from random_graphs import graphs, random_inputs


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(graphs(max_nodes=8, scans=True, dtypes=("float64", "int64", "bool")))
def test_random_bodies(graph: Graph):
    assume(any(node.op.is_decided_at_run_time for node in graph.nodes))
    arrays = random_inputs(graph)
    one, two = (run_compiled(graph, *arrays, threads=threads) for threads in (1, 2))
    for expected, a, b in zip(interpret(graph, *arrays), one, two, strict=True):
        assert a.tobytes() == b.tobytes()
        np.testing.assert_allclose(a, expected, rtol=1e-9, atol=1e-9)
