"""How tests compare a function with loops and branches that are decided as it runs."""

import gradloom as gl
import numpy as np
import optree
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.verify.plan import check_plan


def check(fn, *args, rtol=1e-12):
    """`fn` at once with NumPy; interpreted and compiled it is the same, and on two threads to the bit."""
    expected = optree.tree_leaves(fn(*args))
    graph = gl.trace(fn, *args)
    graph.verify()
    assert str(gl.parse(str(graph))) == str(graph)
    for threads in (1, 2):
        check_plan(plan_graph(graph, threads))
    one, two = (optree.tree_leaves(gl.compile(fn, threads=threads)(*args)) for threads in (1, 2))
    for a, b, c in zip(expected, one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol)
        assert np.asarray(b).tobytes() == np.asarray(c).tobytes()
    return expected
