"""The interpreter's contract with its caller."""

import numpy as np
import pytest
from gradloom.ir import OPS, Builder, Origin, interpret, spec
from gradloom.ir.ops import elementwise as ew


def graph_of(*types, build=lambda b, *inputs: inputs):
    b = Builder()
    return b.graph(build(b, *(b.input(t, f"x{i}") for i, t in enumerate(types))))


F = spec((2,), "float32")


def test_the_number_of_arrays():
    with pytest.raises(TypeError, match="the graph has 2 inputs, got 1 arrays"):
        interpret(graph_of(F, F), np.zeros(2, "float32"))


def test_an_array_of_another_shape():
    with pytest.raises(TypeError, match=r"input x0 is f32\[2\], got an array of shape \(3,\) and float32"):
        interpret(graph_of(F), np.zeros(3, "float32"))


def test_an_array_of_another_dtype():
    with pytest.raises(TypeError, match=r"input x0 is f32\[2\], got an array of shape \(2,\) and float64"):
        interpret(graph_of(F), np.zeros(2))


def test_an_input_without_a_name_is_told_by_its_number():
    b = Builder()
    b.input(F)
    with pytest.raises(TypeError, match="input number 0 is"):
        interpret(b.graph([]), np.zeros(2))


def test_what_numpy_makes_an_array_of_is_taken():
    assert interpret(graph_of(spec((), "int64")), 3) == (3,)
    (result,) = interpret(graph_of(spec((2,), "float64")), [1.0, 2.0])
    np.testing.assert_array_equal(result, [1, 2])


def test_outputs_are_arrays_even_where_they_are_scalars():
    (result,) = interpret(graph_of(F, build=lambda b, x: [OPS["reduce_sum"](b, x, axes=(0,))]), np.ones(2, "float32"))
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((), np.float32)


@pytest.mark.parametrize(
    ("name", "attrs"), [("gather", {"axis": 0, "batch": 0}), ("scatter_add", {"axis": 0, "batch": 0})]
)
@pytest.mark.parametrize("bad", [3, -4])
def test_an_index_out_of_range_is_refused_with_the_users_line(name, attrs, bad):
    b = Builder(Origin(source="model.py:12"))
    x, i = b.input(spec((3,), "float32")), b.input(spec((2,), "int64"))
    more = [b.input(spec((2,), "float32"))] if name == "scatter_add" else []
    graph = b.graph([b.emit(OPS[name], x, i, *more, **attrs)])
    arrays = [np.zeros(3, "float32"), np.array([0, bad]), np.zeros(2, "float32")][: 2 + len(more)]
    with pytest.raises(IndexError, match=rf"^model\.py:12: index {bad} is out of range for 3 entries$"):
        interpret(graph, *arrays)


@pytest.mark.parametrize("bad", [5, -1])
def test_check_index_takes_only_what_lies_in_0_to_size(bad):
    graph = graph_of(spec((2,), "int32"), build=lambda b, x: [ew.check_index(b, x, size=5)])
    np.testing.assert_array_equal(interpret(graph, np.array([0, 4], "int32"))[0], [0, 4])
    with pytest.raises(IndexError, match=f"^check_index: index {bad} is out of range for 5 entries$"):
        interpret(graph, np.array([0, bad], "int32"))


def test_check_index_of_bytes_with_a_size_beyond_a_byte():
    graph = graph_of(spec((1,), "uint8"), build=lambda b, x: [ew.check_index(b, x, size=1000)])
    assert interpret(graph, np.array([255], "uint8"))[0] == 255


def test_a_negative_exponent_of_an_integer_is_refused_with_the_users_line():
    b = Builder(Origin(source="model.py:12"))
    graph = b.graph([ew.check_exponent(b, b.input(spec((2,), "int32")))])
    np.testing.assert_array_equal(interpret(graph, np.array([0, 4], "int32"))[0], [0, 4])
    with pytest.raises(ValueError, match=r"^model\.py:12: integers to negative integer powers .* exponent -3$"):
        interpret(graph, np.array([2, -3], "int32"))


def test_several_outputs_in_their_order_and_one_value_twice():
    def build(b, x):
        y = ew.exp(b, x)
        return [ew.neg(b, y), y, x, y]

    x = np.array([0, 1], "float32")
    results = interpret(graph_of(F, build=build), x)
    for result, expected in zip(results, (-np.exp(x), np.exp(x), x, np.exp(x)), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_an_input_that_is_an_output_and_read_as_well_stays():
    x = np.array([1, 2], "float32")
    plain, doubled = interpret(graph_of(F, build=lambda b, x: [x, ew.add(b, x, x)]), x)
    np.testing.assert_array_equal(plain, x)
    np.testing.assert_array_equal(doubled, 2 * x)


def test_no_op_changes_an_input():
    graph = graph_of(F, build=lambda b, x: [ew.relu(b, ew.neg(b, x))])
    x = np.array([1, 2], "float32")
    x.flags.writeable = False
    interpret(graph, x)
    np.testing.assert_array_equal(x, [1, 2])


def test_floating_point_warnings_are_values_not_warnings():
    graph = graph_of(spec((3,), "float64"), build=lambda b, x: [ew.log(b, x), ew.div(b, x, x)])
    with np.errstate(all="raise"):
        logs, ratios = interpret(graph, np.array([-1, 0, 1e308]))
    np.testing.assert_array_equal(logs[:2], [np.nan, -np.inf])
    np.testing.assert_array_equal(ratios, [1, np.nan, 1])


def test_a_region_gives_the_outputs_of_its_body():
    inner = Builder()
    y = inner.input(F)
    body = inner.graph([ew.exp(inner, y), y])
    b = Builder()
    x = b.input(F)
    node = b.emit_node(OPS["region"], x, body=body, domain=(2,), rows=1)
    x = np.array([0, 1], "float32")
    first, second = interpret(b.graph(node.outputs), x)
    np.testing.assert_array_equal(first, np.exp(x))
    np.testing.assert_array_equal(second, x)
