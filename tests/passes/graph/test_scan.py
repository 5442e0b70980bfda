"""The typed view of a loop: its parts by name, and the loop written anew with others."""

import numpy as np
import pytest
from gradloom.ir import Builder, interpret, parse, verify
from gradloom.passes.graph.carries import aliases_of_body, carried_input
from gradloom.passes.graph.scan import Scan, body_of, emit_only_step, emit_scan, step_type

TEXT = """graph(%w: f64[2], %v: f64[2], %s: f64[2], %x: f64[4,2]) {
  %0: f64[2], %1: f64[4,2] = scan(%w, %v, %s, %x) {body=graph(%w: f64[2], %v: f64[2], %s: f64[2], %x: f64[2]) {
      %0: f64[2] = mul(%w, %v)
      %1: f64[2] = mul(%s, %0)
      %2: f64[2] = add(%1, %x)
      return %2, %1
    }, consts=2, carries=1, length=4, reverse=True}
  return %0, %1
}"""


def loop() -> Scan:
    return Scan(parse(TEXT).nodes[0])


def names(values):
    return [v.name for v in values]


def test_the_parts_of_a_loop_have_names_outside_and_inside():
    scan = loop()
    assert (names(scan.consts), names(scan.carries), names(scan.xs)) == (["w", "v"], ["s"], ["x"])
    assert (names(scan.body_consts), names(scan.body_carries), names(scan.body_xs)) == (["w", "v"], ["s"], ["x"])
    assert [*scan.last_carries, *scan.ys] == list(scan.node.outputs)
    assert [*scan.new_carries, *scan.step_ys] == list(scan.body.outputs)
    assert (scan.length, scan.reverse, scan.first_carry, scan.carry_count, scan.first_x) == (4, True, 2, 1, 3)
    assert [carried_input(scan.node, o) for o in range(2)] == [2, None]
    assert aliases_of_body(scan.node) == {0: 2}
    assert step_type(scan.xs[0]) == scan.body_xs[0].type


def test_what_only_consts_make_is_the_same_in_every_step():
    scan = loop()
    assert scan.invariants() == {*scan.body_consts, scan.body.nodes[0].output}


def test_another_node_than_a_loop_has_no_such_parts():
    with pytest.raises(AssertionError):
        Scan(loop().body.nodes[0])


def test_a_loop_is_written_anew_with_other_inputs_and_body():
    """The product of the consts moves to before the loop, which reads it as its only const."""
    graph = parse(TEXT)
    b = Builder()
    scan = Scan(graph.nodes[0], [b.input(v.type, v.name) for v in graph.inputs])
    product = scan.body.nodes[0]
    outside = b.copy(product, scan.consts).output
    inputs = [product.output, *scan.body_carries, *scan.body_xs]
    made = scan.emit(b, body_of(inputs, scan.body.nodes[1:], scan.body.outputs), [outside])
    changed = b.graph(made.outputs)
    verify(changed)
    assert (Scan(made).first_carry, Scan(made).reverse, made.inputs[0]) == (1, True, outside)
    arrays = [np.random.default_rng(0).normal(size=v.type.shape) for v in graph.inputs]
    for actual, expected in zip(interpret(changed, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_loop_of_one_step_is_its_body():
    scan, b = loop(), Builder()
    given = [b.input(v.type, v.name) for v in (*scan.consts, *scan.carries)]
    x = b.input(scan.xs[0].type.__class__((1, 2), scan.xs[0].type.dtype), "x")
    looped = emit_scan(b, scan.body, given[:2], given[2:], [x], 1, reverse=True)
    graph = b.graph([*looped.outputs, *emit_only_step(b, scan.body, given[:2], given[2:], [x])])
    arrays = [np.random.default_rng(0).normal(size=v.type.shape) for v in graph.inputs]
    results = interpret(graph, *arrays)
    for actual, expected in zip(results[2:], results[:2], strict=True):
        np.testing.assert_array_equal(actual, expected)
