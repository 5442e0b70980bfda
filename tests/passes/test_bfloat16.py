"""Passes on bfloat16: casts that move, and sums that are written as float32, leave every bit of every random graph."""

import numpy as np
from gradloom.ir import Graph, interpret, verify
from gradloom.passes.fusion.narrow_products import NarrowProducts
from gradloom.passes.fusion.own_casts import OwnCasts
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import passed, run_passes
from gradloom.passes.simplify.push_casts import PushCasts
from gradloom.passes.simplify.widen_bfloat16 import WidenBfloat16
from gradloom.passes.verify.plan import check_plan
from hypothesis import given, settings
from random_graphs import graphs, random_inputs

DTYPES = ("bfloat16", "float32", "int64", "bool")
STEPS = (PushCasts(), WidenBfloat16(), PushCasts(), NarrowProducts(), OwnCasts())


@settings(max_examples=40, deadline=None)
@given(graphs(max_nodes=16, scans=True, dtypes=DTYPES))
def test_they_keep_the_bits_of_random_graphs(graph: Graph):
    arrays = random_inputs(graph)
    expected = interpret(graph, *arrays)
    for step in STEPS:
        graph = passed(graph, [step])
        verify(graph, after=step.name)
        for actual, wanted in zip(interpret(graph, *arrays), expected, strict=True):
            np.testing.assert_array_equal(actual.astype(np.float64), wanted.astype(np.float64))


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=16, scans=True, dtypes=DTYPES, regions=True))
def test_plans_of_random_graphs_are_sound(graph: Graph):
    check_plan(plan(run_passes(graph), threads=2))
