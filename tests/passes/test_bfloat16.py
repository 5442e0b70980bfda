"""Passes on bfloat16: casts that move, and sums that are written as float32, leave every bit of every random graph."""

import numpy as np
from gradloom.ir import BFLOAT16, ArrayType, Builder, Graph, interpret, verify
from gradloom.ir.ops import contraction, movement
from gradloom.ir.ops import elementwise as ew
from gradloom.ir.types import FLOAT32
from gradloom.passes.fusion.narrow_products import NarrowProducts
from gradloom.passes.fusion.own_casts import OwnCasts
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import passed, pipeline, run_passes
from gradloom.passes.simplify.canonicalize import Canonicalize
from gradloom.passes.simplify.push_casts import PushCasts
from gradloom.passes.simplify.widen_bfloat16 import WidenBfloat16
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from hypothesis import given, settings
from random_graphs import graphs, random_inputs

DTYPES = ("bfloat16", "float32", "int64", "bool")
STEPS = (PushCasts(), WidenBfloat16(), PushCasts(), Canonicalize(), NarrowProducts(), OwnCasts())


@settings(max_examples=40, deadline=None)
@given(graphs(max_nodes=16, scans=True, dtypes=DTYPES))
def test_they_keep_the_bits_of_random_graphs(graph: Graph):
    arrays = random_inputs(graph)
    expected = interpret(graph, *arrays)
    for step in STEPS:
        graph = passed(graph, [step])
        verify(graph, after=step.name)
        if step == Canonicalize():  # which adds up in another order
            expected = interpret(graph, *arrays)
        for actual, wanted in zip(interpret(graph, *arrays), expected, strict=True):
            np.testing.assert_array_equal(actual.astype(np.float64), wanted.astype(np.float64))


@settings(max_examples=25, deadline=None)
@given(graphs(max_nodes=16, scans=True, dtypes=DTYPES))
def test_plans_of_random_graphs_are_sound(graph: Graph):
    check_plan(plan(run_passes(graph), threads=2))


def test_products_of_a_gpu_read_bfloat16_in_an_order_that_only_its_cast_had():
    b = Builder()
    x, y = (b.input(ArrayType(shape, BFLOAT16)) for shape in ((4, 3, 2, 5), (5, 6)))
    wide, other = (
        ew.cast(b, b.emit(movement.transpose, x, perm=(1, 0, 3, 2)), dtype=FLOAT32),
        ew.cast(b, y, dtype=FLOAT32),
    )
    matrix = {"contract": ((1,), (0,)), "batch": ((), ())}
    joined = b.emit(movement.reshape, wide, shape=(24, 5))  # no view of x
    first = b.emit(contraction.dot, joined, other, **matrix)
    turned = b.emit(movement.transpose, first, perm=(1, 0))
    rounded = b.emit(movement.reshape, ew.cast(b, turned, dtype=BFLOAT16), shape=(3, 48))  # no view of the product
    second = b.emit(contraction.dot, joined, other, **matrix)
    split = ew.cast(b, b.emit(movement.reshape, second, shape=(4, 36)), dtype=BFLOAT16)  # an output, and no view
    graph = b.graph([ew.neg(b, rounded), split])
    arrays = random_inputs(graph)
    target = Target.cuda("sm_90", emulated=True)
    scheduled = run_passes(graph, pipeline(target=target))
    check_plan(plan(scheduled, threads=2, target=target))
    for actual, wanted in zip(interpret(scheduled, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(actual.astype(np.float64), wanted.astype(np.float64), rtol=1e-2)


@settings(max_examples=15, deadline=None)
@given(graphs(max_nodes=16, scans=True, dtypes=DTYPES))
def test_plans_of_random_graphs_for_a_gpu_are_sound(graph: Graph):
    target = Target.cuda("sm_90", emulated=True)
    check_plan(plan(run_passes(graph, pipeline(target=target)), threads=2, target=target))
