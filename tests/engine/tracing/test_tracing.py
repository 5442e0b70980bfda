"""What `trace` records: inputs, outputs, constants, and where every node came from."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import gradloom as gl
import numpy as np
import pytest
from gradloom.engine import Trace, current_trace, emit, role, scope, trace_with_structure
from gradloom.ir import ArrayType, Graph
from gradloom.ir.ops import elementwise as ew

X = gl.spec((3, 4))


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_the_graph_of_a_layer_reads_as_it_was_written() -> None:
    def layer(params: dict[str, Any], x: Any) -> Any:
        return np.tanh(x @ params["w"] + params["b"])

    graph = gl.trace(layer, {"w": gl.spec((4, 2)), "b": gl.spec((2,))}, X)
    text = "\n".join(line.split(" at=")[0] for line in str(graph).splitlines())
    assert text == (
        "graph(%params.b: f32[2], %params.w: f32[4,2], %x: f32[3,4]) {\n"
        "  %0: f32[3,2] = dot(%x, %params.w) {contract=((1,), (0,)), batch=((), ())}\n"
        "  %1: f32[3,2] = broadcast(%params.b) {shape=(3, 2), axes=(1,)}\n"
        "  %2: f32[3,2] = add(%0, %1)\n"
        "  %3: f32[3,2] = tanh(%2)\n"
        "  return %3\n"
        "}"
    )


class Pair(NamedTuple):
    left: Any
    right: Any


def test_inputs_are_named_after_arguments_and_paths() -> None:
    def function(x: Any, pairs: Any, *rest: Any, scale: Any, **more: Any) -> Any:
        return x

    graph = gl.trace(function, X, [Pair(X, {"a b": X})], X, (X, X), scale=X, other=X)
    names = [value.name for value in graph.inputs]
    assert names[0] == "x"
    assert names[1].startswith("pairs.0.")
    assert names[2].endswith(".a_b")
    assert names[3:] == ["rest.0", "rest.1.0", "rest.1.1", "other", "scale"]
    assert str(gl.parse(str(graph))) == str(graph)


def test_names_that_clash_are_told_apart_in_the_text() -> None:
    graph = gl.trace(lambda x: x["a"] + x["a "], {"a": X, "a ": X})
    assert str(gl.parse(str(graph))) == str(graph)


def test_outputs_are_named_after_their_paths() -> None:
    graph = gl.trace(lambda x: {"loss": x.sum(), "parts": [x, x + 1]}, X)
    assert graph.output_names == ("loss", "parts.0", "parts.1")
    assert gl.trace(lambda x: x, X).output_names == ("",)


def test_an_input_returned_unchanged_needs_no_node() -> None:
    graph = gl.trace(lambda x: x, X)
    graph.verify()
    assert graph.nodes == ()
    assert graph.outputs == graph.inputs


def test_outputs_that_are_plain_arrays_become_constants() -> None:
    array = np.arange(20, dtype="int32")
    graph = gl.trace(lambda x: (array, 1.5, np.float32(2), True, None), X)
    assert ops(graph) == ["constant", "full", "full", "full"]
    results = gl.interpret(graph, np.zeros((3, 4), "float32"))
    np.testing.assert_array_equal(results[0], array)
    assert [r.dtype.name for r in results] == ["int32", "float64", "float32", "bool"]


def test_numbers_and_strings_among_the_arguments_are_fixed_in_the_graph() -> None:
    def function(x: Any, power: int, mode: str, flag: bool | None) -> Any:
        assert isinstance(power, int)
        assert flag is None
        return x**power if mode == "power" else x

    graph = gl.trace(function, X, 3, "power", None)
    assert [value.name for value in graph.inputs] == ["x"]
    assert ops(graph) == ["mul", "mul"]


def test_a_constant_is_kept_once_and_never_changes() -> None:
    table = np.arange(12, dtype="float32").reshape(3, 4)
    graph = gl.trace(lambda x: (x + table) * table, X)
    assert ops(graph).count("constant") == 1
    table[0, 0] = 100
    assert graph.nodes[0].attrs["value"][0, 0] == 0


def test_a_constant_that_is_changed_while_tracing_is_two_constants() -> None:
    table = np.arange(12, dtype="float32").reshape(3, 4)

    def function(x: Any) -> Any:
        nonlocal table
        first = x + table
        table[0, 0] = 5
        return first + table

    x = np.zeros((3, 4), "float32")
    table = np.arange(12, dtype="float32").reshape(3, 4)
    (result,) = gl.interpret(gl.trace(function, x), x)
    assert result[0, 0] == 5
    assert result[2, 3] == 22


def test_numbers_are_filled_in_the_shape_and_dtype_of_the_result() -> None:
    graph = gl.trace(lambda x: x * 2 + np.float32(1), X)
    assert ops(graph) == ["full", "mul", "full", "add"]
    assert {node.output.type for node in graph.nodes} == {gl.spec((3, 4))}


def test_big_endian_and_strided_arrays_are_taken() -> None:
    x = np.arange(12, dtype=">f4").reshape(3, 4)
    graph = gl.trace(lambda y: y + x, x)
    assert graph.inputs[0].type == gl.spec((3, 4), "float32")
    native = x.astype("float32")
    np.testing.assert_array_equal(gl.interpret(graph, native)[0], native + native)


def test_every_node_has_the_line_it_was_written_on() -> None:
    def function(x: Any) -> Any:
        y = np.exp(x)
        return y.sum(axis=0)

    first = function.__code__.co_firstlineno
    graph = gl.trace(function, X)
    lines = [node.origin.source.rpartition("/")[2] for node in graph.nodes]
    assert lines == [f"test_tracing.py:{first + 1}", f"test_tracing.py:{first + 2}"]


def test_scopes_nest_and_roles_are_stamped() -> None:
    def function(x: Any) -> Any:
        with scope("layers"), scope("3"):
            x = x + 1
        with scope("head"), role("optimizer"):
            x = x * 2
        return x - 1

    origins = [node.origin for node in gl.trace(function, X).nodes if node.op.name != "full"]
    assert [(o.scope, o.role) for o in origins] == [("layers.3", "forward"), ("head", "optimizer"), ("", "forward")]


def test_scopes_and_roles_end_with_an_exception() -> None:
    def function(x: Any) -> Any:
        with pytest.raises(ZeroDivisionError), scope("a"), role("optimizer"):
            raise ZeroDivisionError
        return x + x

    assert gl.trace(function, X).nodes[0].origin.scope == ""
    assert gl.trace(function, X).nodes[0].origin.role == "forward"


def test_scope_and_role_mean_nothing_outside_a_trace() -> None:
    assert current_trace() is None
    with scope("a"), role("optimizer"):
        assert gl.numpy.add(1, 2) == 3


def test_emit_computes_at_once_on_arrays_and_appends_on_tracers() -> None:
    x = np.array([-1.0, 2.0], "float32")
    np.testing.assert_array_equal(emit(ew.relu, x), np.array([0, 2], "float32"))
    assert ops(gl.trace(lambda x: emit(ew.relu, x), X)) == ["relu"]
    assert ops(gl.trace(lambda x: emit(ew.add, x, np.eye(3, 4, dtype="float32")), X)) == ["constant", "add"]


def test_a_trace_can_be_written_by_hand() -> None:
    with Trace() as trace:
        w = trace.input(ArrayType((2,), np.dtype("float32")), "w")
        graph = trace.graph([w - 1], ["w"], {0: 0})
    graph.verify()
    assert graph.aliases == {0: 0}


def test_threads_have_traces_of_their_own() -> None:
    seen: list[Any] = []
    graphs: list[Graph] = []

    def function(x: Any) -> Any:
        thread = threading.Thread(target=lambda: (seen.append(current_trace()), graphs.append(gl.trace(np.sin, X))))
        thread.start()
        thread.join()
        return np.cos(x)

    assert ops(gl.trace(function, X)) == ["cos"]
    assert seen == [None]
    assert ops(graphs[0]) == ["sin"]


def test_a_trace_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError):
        gl.trace(lambda x: 1 / 0, X)
    assert current_trace() is None


def test_structure_of_arguments_and_result() -> None:
    traced = trace_with_structure(lambda d, n: (d["x"] * n, {"y": d["x"]}), {"x": X}, 3)
    assert traced.arrays == (True, False)
    x = np.ones((3, 4), "float32")
    first, second = traced({"x": x}, 3)
    np.testing.assert_array_equal(first, 3 * x)
    np.testing.assert_array_equal(second["y"], x)


def test_the_namespace_can_be_imported_as_a_module() -> None:
    import gradloom.numpy as gnp

    assert gnp is gl.numpy
    assert gnp.linalg.norm(np.array([3.0, 4.0])) == 5
