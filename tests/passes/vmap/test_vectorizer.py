"""Every op for several examples at once does what it does for each, whichever of its inputs depend on the example."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from gradloom.ir import OPS, Array, ArrayType, Builder, Graph, Value, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.ir.ops import indexing
from gradloom.ir.ops.custom_vjp import custom_vjp
from gradloom.passes.vmap.rules import RULES
from gradloom.passes.vmap.vectorizer import Vectorizer
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import CASES, OpCase, assert_matches, sample
from random_graphs import graphs, random_inputs

COUNT = 2


def vectorized(graph: Graph, flags: Sequence[bool], running: bool = False) -> Graph:
    """A graph for several examples, all of whose outputs have them as the first axis."""
    b = Builder()
    mask = b.input(spec((COUNT,), "bool")) if running else None
    vectorizer = Vectorizer(b, COUNT, RULES, mask)
    for value, is_mapped in zip(graph.inputs, flags, strict=True):
        type = ArrayType((COUNT, *value.type.shape), value.type.dtype) if is_mapped else value.type
        vectorizer.enter(value, b.input(type), is_mapped)
    vectorizer.run(graph.nodes)
    made = b.graph([vectorizer.whole(value) for value in graph.outputs])
    made.verify()
    return made


def stacked(examples: Sequence[Sequence[Array]], flags: Sequence[bool]) -> list[Array]:
    return [np.stack(arrays) if is_mapped else arrays[0] for arrays, is_mapped in zip(zip(*examples), flags)]


@pytest.mark.parametrize("case", [case for case in CASES if case.inputs], ids=str)
def test_every_op_does_for_all_examples_what_it_does_for_each(case: OpCase) -> None:
    rng = np.random.default_rng(3)
    examples = [sample(case, rng) for _ in range(COUNT)]
    for flags in product((False, True), repeat=len(case.inputs)):
        if case.name == "window_find" and flags[0] != flags[1]:
            continue  # the largest of another example are nowhere
        given = [
            [mine if is_mapped else first for mine, first, is_mapped in zip(example, examples[0], flags)]
            for example in examples
        ]
        (actual,) = interpret(vectorized(case.graph(), flags), *stacked(given, flags))
        for one, arrays in zip(actual, given, strict=True):
            assert_matches(case, np.asarray(one), interpret(case.graph(), *arrays)[0])


def graph_of(types: Sequence[ArrayType], build: Any) -> Graph:
    b = Builder()
    made = build(b, *(b.input(t) for t in types))
    return b.graph(made if isinstance(made, (list, tuple)) else [made])


def test_an_op_without_any_rule_runs_in_a_loop_over_the_examples() -> None:
    graph = graph_of([spec((3, 4))], lambda b, x: ew.exp(b, x))
    b = Builder()
    x = b.input(spec((COUNT, 3, 4)))
    vectorizer = Vectorizer(b, COUNT, RULES)
    ((whole, is_mapped),) = vectorizer.in_turn(graph.nodes[0], [x], [True])
    assert is_mapped
    array = np.random.default_rng(0).normal(size=(COUNT, 3, 4)).astype("float32")
    np.testing.assert_array_equal(interpret(b.graph([whole]), array)[0], np.exp(array))


def test_what_does_not_depend_on_the_example_is_computed_once() -> None:
    def build(b: Builder, x: Value, w: Value) -> list[Value]:
        return [ew.mul(b, x, ew.exp(b, ew.neg(b, w))), ew.exp(b, ew.neg(b, w))]

    graph = graph_of([spec((4,)), spec((4,))], build)
    made = vectorized(graph, [True, False])
    assert [node.output.type.shape for node in made.nodes if node.op is ew.exp] == [(4,), (4,)]


def test_a_shared_table_is_not_repeated() -> None:
    at = {"axis": 0, "batch": 0}
    graph = graph_of([spec((50, 8)), spec((3,), "int64")], lambda b, x, i: b.emit(indexing.gather, x, i, **at))
    assert [node.op.name for node in vectorized(graph, [False, True]).nodes] == ["gather"]


def test_indices_of_examples_that_do_not_run_may_be_out_of_range() -> None:
    at = {"axis": 0, "batch": 0}
    graph = graph_of([spec((5,), "float64"), spec((), "int64")], lambda b, x, i: b.emit(indexing.gather, x, i, **at))
    made = vectorized(graph, [False, True], running=True)
    (found,) = interpret(made, np.array([True, False]), np.arange(5.0), np.array([4, 99]))
    assert found[0] == 4
    with pytest.raises(IndexError):
        interpret(made, np.array([True, True]), np.arange(5.0), np.array([4, 99]))


def test_a_derivative_of_the_users_sums_over_the_examples_for_what_they_share() -> None:
    def pull_back(b: Builder, x: Value, g: Value) -> list[Value]:
        return [ew.mul(b, x, b.emit(OPS["broadcast"], g, shape=(2,), axes=())), g]

    backward = graph_of([spec((2,), "float64"), spec((), "float64")], pull_back)
    attrs = {"backward": backward, "values": 1, "arguments": 2}
    types = [spec((), "float64"), spec((2,), "float64"), spec((), "float64"), spec((2,), "float64")]
    graph = graph_of(types, lambda b, *inputs: b.emit(custom_vjp, *inputs, **attrs))
    made = vectorized(graph, [True, True, False, True])
    (node,) = (n for n in made.nodes if n.op is custom_vjp)
    rest, g = np.arange(4.0).reshape(2, 2), np.array([10.0, 20.0])
    of_x, of_shared = interpret(node.attrs["backward"], rest, g)
    np.testing.assert_array_equal(of_x, rest * g[:, None])
    assert of_shared == 30


def _assert_vectorized(graph: Graph, seed: int) -> None:
    flags = np.random.default_rng(seed).integers(0, 2, len(graph.inputs)).astype(bool)
    first = random_inputs(graph, seed)
    examples = [first, [new if f else old for new, old, f in zip(random_inputs(graph, seed + 1), first, flags)]]
    found = interpret(vectorized(graph, flags.tolist()), *stacked(examples, flags.tolist()))
    for k, arrays in enumerate(examples):
        for whole, one in zip(found, interpret(graph, *arrays), strict=True):
            np.testing.assert_allclose(whole[k], one, rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(graphs(dtypes=("float64", "int64", "bool"), scans=True), st.integers(0, 99))
def test_random_graphs_with_loops_and_branches_do_for_all_examples_what_they_do_for_each(graph: Graph, seed: int):
    _assert_vectorized(graph, seed)


@pytest.mark.slow
@settings(max_examples=3000)
@given(graphs(dtypes=("float64", "int64", "bool"), scans=True), st.integers(0, 99))
def test_thousands_of_random_graphs_do_for_all_examples_what_they_do_for_each(graph: Graph, seed: int):
    _assert_vectorized(graph, seed)
