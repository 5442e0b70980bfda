"""Printing and reading: what is printed reads back as the same text and values; what is no graph is refused."""

import numpy as np
import pytest
from gradloom.ir import DTYPES, OPS, Builder, Graph, ParseError, interpret, is_float, parse, spec
from gradloom.ir.printer import print_attr, quote, unquote
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import assert_tame, graphs, random_inputs

NAN, INF = float("nan"), float("inf")


@settings(max_examples=150)
@given(graphs(decorated=True, regions=True, scans=True))
def test_every_graph_survives_its_text(graph):
    graph.verify()
    text = str(graph)
    again = parse(text)
    again.verify()
    assert str(again) == text
    assert again.aliases == graph.aliases
    assert again.output_names == graph.output_names
    assert [n.origin for n in again.nodes] == [n.origin for n in graph.nodes]
    arrays = random_inputs(graph)
    for one, other in zip(interpret(graph, *arrays), interpret(again, *arrays), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=60)
@given(graphs(regions=True, scans=True))
def test_random_graphs_stay_finite_and_moderate(graph):
    assert_tame(graph)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5))
def test_inputs_of_any_names_survive_their_text(names):
    b = Builder()
    values = [b.input(spec((), "float32"), name) for name in names]
    text = str(b.graph(values, {0: 0}, names))
    assert str(parse(text)) == text
    assert parse(text).output_names == tuple(names)
    distinct = [v.name for v in parse(text).inputs]
    assert len(set(distinct)) == len(names)


@given(st.text())
def test_unquote_undoes_quote(text):
    assert unquote(quote(text)) == text
    assert "\n" not in quote(text)


def test_a_plain_name_is_bare_and_an_odd_one_is_quoted():
    b = Builder()
    for name in ("batch['x'][0]", "layers.0/w", "two words", 'a"b', "7", ""):
        b.input(spec((), "float32"), name)
    assert str(b.graph([])) == (
        "graph(%batch['x'][0]: f32[], %layers.0/w: f32[], %\"two words\": f32[], "
        '%"a\\"b": f32[], %7_4: f32[], %in5: f32[]) {\n  return\n}'
    )


def test_equal_names_are_told_apart():
    b = Builder()
    for name in ("x", "x", "x_1", "in3", ""):
        b.input(spec((), "float32"), name)
    text = str(b.graph([]))
    assert text.startswith("graph(%x: f32[], %x_1: f32[], %x_1_2: f32[], %in3: f32[], %in4: f32[])")
    assert str(parse(text)) == text


def read_attr(value):
    text = f"graph() {{ %0: f32[] = full() {{value={print_attr(value)}}} return }}"
    return parse(text).nodes[0].attrs["value"]


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**63, 1.0, -0.0, 1e-310, 1e300, 0.1, 1e16, 1.5e-7, INF, -INF, NAN, True, False, None),
        *("", "text", 'a "quote"', "back\\slash\n"),
        *((), (1,), (1, 2.5, "x", (True, None)), ((), ((),)), spec((2, 0), "bool")),
        *DTYPES,
    ],
    ids=repr,
)
def test_every_attribute_survives_its_text(value):
    again = read_attr(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (4, 5), (40, 3)])
def test_every_array_survives_its_text(dtype, shape):
    size = int(np.prod(shape))
    array = (np.arange(size) * 37 % 5 / (3 if is_float(dtype) else 1)).astype(dtype).reshape(shape)
    again = read_attr(array)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, array)


def test_special_numbers_in_arrays_survive_their_text():
    for array in (
        np.array([NAN, INF, -INF, -0.0, 1e-45, 3.4e38], "float32"),
        np.array([2**63 - 1, -(2**63)], "int64"),
        np.array([0, 255], "uint8"),
        np.tile(np.array([NAN, -0.0, INF]), 20),
    ):
        again = read_attr(array)
        assert again.dtype == array.dtype
        np.testing.assert_array_equal(again, array)
        np.testing.assert_array_equal(np.signbit(again), np.signbit(array))


def test_an_array_that_is_not_contiguous_is_printed_in_row_major_order():
    array = np.arange(60.0).reshape(6, 10).T
    np.testing.assert_array_equal(read_attr(array), array)


def test_a_numpy_float_is_printed_as_the_number_that_it_is():
    assert print_attr(np.float64(0.5)) == "0.5"


def test_an_attribute_that_has_no_text_is_refused():
    with pytest.raises(TypeError, match="an attribute of type list cannot be printed"):
        print_attr([1])


def test_a_body_is_printed_inside_its_node():
    b = Builder()
    x = b.input(spec((2,), "float32"), "x")
    inner = Builder()
    y = inner.input(spec((2,), "float32"), "y")
    body = inner.graph([OPS["exp"](inner, y), y])
    node = b.emit_node(OPS["region"], x, body=body, domain=(2,), rows=1)
    text = str(b.graph(node.outputs))
    assert (
        text
        == """\
graph(%x: f32[2]) {
  %0: f32[2], %1: f32[2] = region(%x) {body=graph(%y: f32[2]) {
      %0: f32[2] = exp(%y)
      return %0, %y
    }, domain=(2,), rows=1}
  return %0, %1
}"""
    )
    again = parse(text)
    again.verify()
    assert str(again) == text
    assert isinstance(again.nodes[0].attrs["body"], Graph)


def test_comments_and_free_layout_are_read():
    graph = parse("""# what it does
        graph(%x:f32[2],%y: f32[2],) { # two inputs
        # nothing yet
        %a: f32[2]=add(%x, %y,) return "sum"=%a->%x } # the end
        # really""")
    graph.verify()
    assert str(graph) == ('graph(%x: f32[2], %y: f32[2]) {\n  %0: f32[2] = add(%x, %y)\n  return "sum"=%0 -> %x\n}')


def lines(*body):
    return "\n".join(["graph(%x: f32[2]) {", *body, "  return %x", "}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected 'graph', at the end"),
        ("graph(%x: f32[2])", "line 1: expected '{', at the end"),
        ("graph(%x: f32[2]) {\n", "line 2: expected a node or 'return', at the end"),
        ("graph() {\n return", "line 2: expected a value, at the end\n  return"),
        ("graph(%x: f8[2]) {\n return\n}", "line 1: 'f8' is no dtype, at '['"),
        ("graph(%x: f32[-2]) {\n return\n}", "line 1: expected a length, at '-2'"),
        ("graph(%x: f32[1.5]) {\n return\n}", "line 1: expected a length, at '1.5'"),
        ("graph(%x: f32[],\n %x: f32[]) {\n return\n}", "line 2: there are two inputs %x"),
        ("graph(%x f32[]) {\n return\n}", "line 1: expected ':', at 'f32'"),
        (lines("  %0: f32[2] = nonsense(%x)"), "line 2: there is no op 'nonsense'"),
        (lines("  %0: f32[2] = tahn(%x)"), "line 2: there is no op 'tahn'; similar: tanh"),
        (
            lines("", "  %0: f32[2] = exp(%y)"),
            "line 3: %y is used before it is computed, at '%y'\n  %0: f32[2] = exp(%y)",
        ),
        (lines("  %0: f32[2] = exp(%x)", "  %0: f32[2] = exp(%x)"), "line 3: %0 is computed twice"),
        (lines("  %0: f32[2], %0: f32[2] = exp(%x)"), "line 2: %0 is computed twice"),
        (lines("  %0: f32[2] = exp(x)"), "line 2: expected a value, at 'x'"),
        (lines("  exp(%x)"), "line 2: expected a node or 'return', at 'exp'"),
        (lines("  %0: f32[2] exp(%x)"), "line 2: expected '=', at 'exp'"),
        (lines("  %0: f32[2] = copy(%x) {a=}"), "line 2: expected an attribute value, at '}'"),
        (lines("  %0: f32[2] = copy(%x) {a=word}"), "line 2: expected an attribute value, at 'word'"),
        (lines("  %0: f32[2] = copy(%x) {1=2}"), "line 2: expected a word, at '1'"),
        (lines("  %0: f32[2] = copy(%x) scope=3"), "line 2: expected a string, at '3'"),
        (lines("  %0: f32[2] = copy(%x) @"), "line 2: unexpected text, at '@'"),
        (lines('  %0: f32[2] = copy(%x) scope="open'), "line 2: unexpected text, at '\"'"),
        (lines("  %0: f32[2] = constant() {value=array f32[2] (1,)}"), "line 2: expected the data of f32[2], at '('"),
        (
            lines('  %0: f32[2] = constant() {value=array f32[2] ("a", 1)}'),
            "line 2: expected the data of f32[2], at '('",
        ),
        (lines("  %0: u8[1] = constant() {value=array u8[1] (256,)}"), "line 2: expected the data of u8[1], at '('"),
        (
            lines('  %0: f32[2] = constant() {value=array f32[2] "????"}'),
            "line 2: expected the data of f32[2], at '\"????\"'",
        ),
        ("graph(%x: f32[]) {\n %0: f32[] = exp(%x)\n return %x -> %0\n}", "line 3: expected an input, at '%0'"),
        ("graph() {\n return\n}\n\ngraph", "line 5: text after the end of the graph, at 'graph'"),
    ],
)
def test_what_is_no_graph_is_refused_with_its_line(text, message):
    with pytest.raises(ParseError) as error:
        parse(text)
    assert str(error.value).startswith(message)
