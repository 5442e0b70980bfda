"""Every rule of the IR, broken once."""

import numpy as np
import pytest
from gradloom.ir import OPS, ArrayType, Builder, Graph, Node, Op, Origin, Value, VerificationError, parse, spec, verify
from gradloom.ir.ops import elementwise as ew

F = spec((2,), "float32")


def chain(length, bad=None, at=0):
    """x -> exp -> exp -> ..., with the node `bad(previous value)` in place of number `at`."""
    value = x = Value(F, name="x")
    nodes = []
    for i in range(length):
        node = bad(value) if bad and i == at else Node(ew.exp, [value], {}, [F])
        nodes.append(node)
        value = node.outputs[0]
    return Graph([x], nodes, [value])


def refused(graph, after=""):
    with pytest.raises(VerificationError) as error:
        verify(graph, after)
    return str(error.value)


def problem(node):
    """The message about the one bad node that `node(previous value)` makes."""
    message = refused(chain(3, node, 1))
    assert message.startswith("bad graph: ")
    first, *window = message.splitlines()
    assert [line[0] for line in window] == [" ", ">", " "]
    return first.removeprefix("bad graph: ")


def test_a_good_graph_passes():
    chain(3).verify()
    Builder().graph([]).verify()


def test_the_window_shows_the_bad_node_between_its_neighbours():
    def of_another_type(x):
        return Node(ew.exp, [x], {}, [spec((3,), "float32")], Origin("layers.0", "model.py:3", "backward"))

    assert (
        refused(chain(12, of_another_type, 5), after="fuse")
        == """\
bad graph after fuse: type is f32[3], the op gives f32[2]
  ...
  %2: f32[2] = exp(%1)
  %3: f32[2] = exp(%2)
  %4: f32[2] = exp(%3)
> %5: f32[3] = exp(%4) scope="layers.0" at="model.py:3" backward
  %6: f32[2] = exp(%5)
  %7: f32[2] = exp(%6)
  %8: f32[2] = exp(%7)
  ..."""
    )


def test_the_window_marks_a_value_that_the_graph_does_not_compute():
    def reads_a_stranger(x):
        return Node(ew.add, [x, Value(F)], {}, [F])

    assert (
        refused(chain(2, reads_a_stranger, 1))
        == """\
bad graph: input 1 is used before it is computed
  %0: f32[2] = exp(%x)
> %1: f32[2] = add(%0, %?)"""
    )


def test_a_value_used_before_it_is_computed():
    graph = chain(3)
    backwards = Graph(graph.inputs, graph.nodes[::-1], graph.outputs)
    assert "input 0 is used before it is computed" in refused(backwards)


def test_an_op_that_is_not_registered():
    unknown = Op("unknown", "none", ew.exp.infer, ew.exp.reference, ew.exp.flops, ew.exp.axes)
    assert problem(lambda x: Node(unknown, [x], {}, [F])) == "op 'unknown' is not registered"


def test_a_role_that_does_not_exist():
    assert (
        problem(lambda x: Node(ew.exp, [x], {}, [F], Origin(role="sideways")))
        == "role 'sideways' is none of forward, backward, recompute, optimizer"
    )


def test_a_node_that_stands_twice():
    graph = chain(2)
    twice = Graph(graph.inputs, [*graph.nodes, graph.nodes[0]], graph.outputs)
    assert "an output does not belong to this node alone" in refused(twice)


def test_an_output_that_is_another_nodes():
    def steals(x):
        node = Node(ew.exp, [x], {}, [F])
        node.outputs = (Value(F, x.node),)
        return node

    assert problem(steals) == "an output does not belong to this node alone"


@pytest.mark.parametrize("bad", [ArrayType((-2,), np.dtype("float32")), ArrayType((2,), np.dtype("int8"))], ids=str)
def test_a_type_that_does_not_exist(bad):
    assert problem(lambda x: Node(ew.exp, [x], {}, [bad])) == f"{bad!r} is no type"
    x = Value(bad, name="x")
    assert refused(Graph([x], [], [x])) == f"bad graph: {bad!r} of input <x: {bad}> is no type"


def test_inputs_that_do_not_fit_the_op():
    other = spec((3,), "float32")

    def adds_another_shape(x):
        return Node(ew.add, [x, x], {}, [other])

    assert problem(adds_another_shape) == "type is f32[3], the op gives f32[2]"
    graph = Graph([Value(F), Value(other)], [], [])
    graph = Graph(graph.inputs, [Node(ew.add, graph.inputs, {}, [F])], [])
    assert "shapes differ: f32[2], f32[3]" in refused(graph)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("reduce_sum", 1, {}),
        ("reduce_sum", 1, {"axes": 0}),
        ("reduce_sum", 1, {"axes": (0,), "more": 1}),
        ("reduce_sum", 2, {"axes": (0,)}),
        ("reshape", 1, {"shape": ("a",)}),
        ("dot", 2, {"contract": ((0,),), "batch": ((), ())}),
        ("cast", 1, {"dtype": "float32"}),
        ("full", 0, {"value": 0, "shape": (2,), "dtype": "float32"}),
        ("constant", 0, {"value": 3}),
    ],
)
def test_attributes_that_do_not_fit_the_op(op, inputs, attrs):
    assert problem(lambda x: Node(OPS[op], [x] * inputs, attrs, [F]))


def test_an_unknown_attribute_is_named():
    message = problem(lambda x: Node(ew.exp, [x], {"speed": 3}, [F]))
    assert message.startswith("inputs or attributes do not fit the op: ")
    assert "'speed'" in message


@pytest.mark.parametrize("value", [[0], np.int64(3), {1: 2}, (1, [2]), np.dtype("int8"), np.zeros(2, "int8")])
def test_an_attribute_that_has_no_text(value):
    assert problem(lambda x: Node(ew.exp, [x], {"a": value}, [F])) == f"attribute a={value!r} has no text"


def test_the_number_of_outputs():
    def gives_two(x):
        return Node(ew.exp, [x], {}, [F, F])

    assert problem(gives_two) == "type is f32[2], f32[2], the op gives f32[2]"


def test_an_input_that_is_no_fresh_input():
    x = Value(F, name="x")
    assert refused(Graph([x, x], [], [])) == "bad graph: input <x: f32[2]> is no fresh input"
    computed = chain(1).outputs[0]
    assert refused(Graph([computed], [], [])) == "bad graph: input <exp output: f32[2]> is no fresh input"


def test_an_output_that_is_not_computed():
    assert refused(Graph([Value(F)], [], [Value(F)])) == "bad graph: output 0 is not computed by this graph"


def test_the_number_of_output_names():
    x = Value(F)
    assert refused(Graph([x], [], [x], output_names=())) == "bad graph: there are not as many output names as outputs"


def test_two_outputs_written_to_one_input():
    x = Value(F)
    assert refused(Graph([x], [], [x, x], {0: 0, 1: 0})) == "bad graph: two outputs are written to one input"


@pytest.mark.parametrize("aliases", [{1: 0}, {0: 2}, {0: -1}])
def test_aliases_of_what_does_not_exist(aliases):
    x, y = Value(F), Value(F)
    assert "to pair" in refused(Graph([x, y], [], [x], aliases))


def test_an_output_written_to_an_input_of_another_type():
    x, y = Value(F), Value(spec((2,), "float64"))
    assert (
        refused(Graph([x, y], [], [x], {0: 1})) == "bad graph: output 0 of type f32[2] is written to input 1 of f64[2]"
    )


def test_a_bad_body():
    text = """
        graph(%x: f32[2]) {
          %0: f32[2] = region(%x) {body=graph(%y: f32[2]) { %0: f32[3] = exp(%y) return %0 }, domain=(2,), rows=1}
          return %0
        }"""
    graph = parse(text.replace("f32[3]", "f32[2]"))
    graph.verify()
    assert "the op gives f32[2]\n> %0: f32[3] = exp(%y)" in refused(parse(text.replace("%0: f32[2]", "%0: f32[3]")))


def test_a_body_for_other_inputs():
    graph = parse("""
        graph(%x: f32[3]) {
          %0: f32[2] = region(%x) {body=graph(%y: f32[2]) { return %y }, domain=(2,), rows=1}
          return %0
        }""")
    assert "the body takes f32[2], got f32[3]" in refused(graph)
