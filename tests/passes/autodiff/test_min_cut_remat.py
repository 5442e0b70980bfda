"""What the backward reads is kept only where it cannot be rebuilt for free."""

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.ir import OPS, Builder, Graph, Value, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.autodiff.backward import vjp_graph
from gradloom.passes.autodiff.min_cut_remat import MinCutRemat
from gradloom.passes.fusion.regions import Fuse
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import passed, preparation, scheduling
from gradloom.passes.simplify.canonicalize import Canonicalize
from gradloom.passes.simplify.simplify import Simplify
from hypothesis import given, settings
from random_graphs import graphs, random_inputs


def crossing(graph: Graph) -> set[Value]:
    """Computed forward values that the backward reads."""
    forward = {v for node in graph.nodes if node.origin.role == "forward" and node.inputs for v in node.outputs}
    return {v for node in graph.nodes if node.origin.role != "forward" for v in node.inputs if v in forward}


def gradient(build) -> Graph:
    b = Builder()
    x = b.input(spec((64, 32)), "x")
    w = b.input(spec((32, 48)), "w")
    product = OPS["dot"](b, x, w, contract=((1,), (0,)), batch=((), ()))
    return Simplify()(Canonicalize()(Simplify()(vjp_graph(b.graph([build(b, product)]), [0, 1]))))


def gelu(b: Builder, x: Value) -> Value:
    u = ew.mul(b, x, ew.add(b, ew.mul(b, ew.mul(b, x, x), b.full_like(x, 0.07)), b.full_like(x, 1.6)))
    return ew.mul(b, x, ew.sigmoid(b, u))


def test_a_chain_of_elementwise_ops_keeps_its_source_alone():
    graph = gradient(gelu)
    assert len(crossing(graph)) > 1
    rebuilt = MinCutRemat()(graph)
    rebuilt.verify()
    (kept,) = crossing(rebuilt)
    assert kept.node is not None
    assert kept.node.op.name == "dot"


def test_of_two_values_of_equal_size_the_later_is_kept():
    rebuilt = MinCutRemat()(gradient(lambda b, x: ew.tanh(b, x)))
    (kept,) = crossing(rebuilt)
    assert kept.node is not None
    assert kept.node.op.name == "tanh"


def test_a_smaller_value_is_kept_instead_of_what_is_computed_from_it():
    def small_source(b: Builder, x: Value) -> Value:
        scale = ew.exp(b, OPS["reduce_sum"](b, x, axes=(1,)))
        wide = OPS["broadcast"](b, ew.sigmoid(b, scale), shape=x.type.shape, axes=(0,))
        return ew.mul(b, wide, ew.sin(b, wide))

    assert max(v.type.size for v in crossing(MinCutRemat()(gradient(small_source)))) == 64


def test_a_graph_without_backward_is_left_alone():
    b = Builder()
    x = b.input(spec((4, 4)))
    graph = b.graph([gelu(b, x)])
    assert MinCutRemat()(graph) is graph


@pytest.mark.parametrize("order", [1, 2])
@settings(max_examples=40)
@given(graph=graphs(max_nodes=20, smooth=True))
def test_numbers_and_types_stay_and_no_more_bytes_are_kept(order: int, graph: Graph):
    for _ in range(order):
        floats = [i for i, v in enumerate(graph.inputs) if v.type.dtype.kind == "f"]
        graph = vjp_graph(graph, floats)
    graph = Canonicalize()(Simplify()(graph))
    rebuilt = MinCutRemat()(graph)
    rebuilt.verify()
    before = sum(v.type.nbytes for v in crossing(graph))
    after = sum(v.type.nbytes for v in crossing(rebuilt))
    # Capacities are counted in units of 256 bytes.
    assert after <= before + 256 * len(crossing(graph))
    inputs = random_inputs(graph)
    for a, b in zip(interpret(graph, *inputs), interpret(rebuilt, *inputs), strict=True):
        np.testing.assert_array_equal(a, b)


def residual_stream(layers: int) -> Graph:
    """The derivative of a chain of `x + tanh(x @ w)`."""
    b = Builder()
    x = b.input(spec((64, 32)), "x")
    weights = [b.input(spec((32, 32)), f"w{i}") for i in range(layers)]
    h = x
    for w in weights:
        h = ew.add(b, h, ew.tanh(b, OPS["dot"](b, h, w, contract=((1,), (0,)), batch=((), ()))))
    return Simplify()(Canonicalize()(Simplify()(vjp_graph(b.graph([h]), range(layers + 1)))))


def test_within_reach_a_stream_through_all_layers_is_kept_every_few_of_them():
    graph = residual_stream(8)

    def kept(reach: float) -> list[str]:
        rebuilt = MinCutRemat(reach=reach)(graph)
        rebuilt.verify()
        inputs = random_inputs(graph)
        for a, b in zip(interpret(graph, *inputs), interpret(rebuilt, *inputs), strict=True):
            np.testing.assert_array_equal(a, b)
        return [v.node.op.name for v in crossing(rebuilt) if v.node is not None and v.node.op.name == "add"]

    # x + 7 terms that the backward reads, from what all layers before made: nothing of it, or every second sum.
    assert len(kept(np.inf)) == 0
    assert len(kept(2.5)) == 3
    assert len(kept(1.5)) == 7


def arena_bytes(graph: Graph, rebuild: MinCutRemat) -> int:
    first, *rest = scheduling()
    assert isinstance(first, MinCutRemat)
    return plan(passed(graph, [Canonicalize(), rebuild, *rest])).arena_bytes


def test_a_stream_that_would_be_rebuilt_whole_is_kept_every_few_layers():
    graph = residual_stream(24)
    rebuilt = MinCutRemat()(graph)
    rebuilt.verify()
    inputs = random_inputs(graph)
    for a, b in zip(interpret(graph, *inputs), interpret(rebuilt, *inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(v.node is not None and v.node.op.name == "add" for v in crossing(rebuilt)) in range(2, 7)
    assert arena_bytes(graph, MinCutRemat()) < 0.75 * arena_bytes(graph, MinCutRemat(np.inf))


@pytest.mark.parametrize(("size", "keeps"), [(8, True), (32, False)])
def test_a_stream_is_not_kept_where_convolutions_make_it_for_themselves(size: int, keeps: bool):
    def loss(x: Any, *weights: Any) -> Any:
        for w in weights:
            x = x + nn.relu(nn.conv2d(x, w, padding=1))
        return np.mean(x)

    images, weight = gl.spec((4, 8, size, size), "float32"), gl.spec((8, 8, 3, 3), "float32")
    gradient = gl.trace(gl.grad(loss, argnums=range(1, 9)), images, *[weight] * 8)
    graph = passed(gradient, preparation())
    assert (str(MinCutRemat()(graph)) != str(MinCutRemat(np.inf)(graph))) == keeps
    if keeps:
        assert arena_bytes(graph, MinCutRemat()) < 0.9 * arena_bytes(graph, MinCutRemat(np.inf))
    else:
        assert arena_bytes(graph, MinCutRemat()) < arena_bytes(graph, MinCutRemat(3))


def test_where_only_the_sign_of_a_value_is_read_booleans_are_kept():
    b = Builder()
    x, w = b.input(spec((64, 32)), "x"), b.input(spec((32, 48)), "w")
    product = OPS["dot"](b, x, w, contract=((1,), (0,)), batch=((), ()))
    graph = vjp_graph(b.graph([OPS["reduce_sum"](b, ew.relu(b, product), axes=(0, 1))]), [1])
    rebuilt = MinCutRemat()(Simplify()(Canonicalize()(Simplify()(graph))))
    (kept,) = crossing(rebuilt)
    assert kept.type == spec((64, 48), "bool")
    (region,) = [n for n in Fuse()(rebuilt).nodes if any(v.type == kept.type for v in n.outputs)]
    assert [v.type.dtype.kind for v in region.outputs if v.type.size > 1] == ["b"]


def test_where_a_value_is_read_as_well_it_is_kept_alone():
    b = Builder()
    x, w = b.input(spec((64, 32)), "x"), b.input(spec((32, 48)), "w")
    product = OPS["dot"](b, x, w, contract=((1,), (0,)), batch=((), ()))
    hidden = ew.relu(b, product)
    graph = vjp_graph(b.graph([OPS["dot"](b, hidden, hidden, contract=((0,), (0,)), batch=((), ()))]), [1])
    rebuilt = MinCutRemat()(Simplify()(Canonicalize()(Simplify()(graph))))
    (kept,) = crossing(rebuilt)
    assert kept.type == spec((64, 48))
