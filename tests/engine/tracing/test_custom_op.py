"""Kernels of the user as ops: what they compute compiled and interpreted, their derivatives, and what is refused."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import os
import pickle
import sys
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import Graph
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from user_kernels import (
    gated,
    gated_gradients,
    is_between,
    scaled_mish,
    segment_sum,
    stencil,
    stencil_gradients,
    tempered_softmax,
)

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(5, 7)).astype(np.float32)
LINE, WEIGHTS = RANDOM.normal(size=9), RANDOM.normal(size=3)
SEGMENTS = np.array([0, 2, 2, 0, 3])


def same(x: Any, **options: Any) -> Any:
    return x


def copied(out, x):
    for i in range(x.shape[0]):
        out[i] = x[i]


def ops_of(graph: Graph) -> list[str]:
    return [name for node in graph.nodes for name in (node.op.name, *(n for g in node.graphs for n in ops_of(g)))]


def everything(rows: Any, line: Any, weights: Any, segments: Any) -> Any:
    return (
        tempered_softmax(rows * 2, temperature=0.5),
        stencil(line, weights),
        stencil_gradients(line, line, weights),
        segment_sum(rows, segments, count=4),
        segment_sum(rows.T, np.arange(7) % 2, count=2),
        gated(rows, rows[0]),
        scaled_mish(rows * 10 + line[0], scale=2.0),
        is_between(rows, -0.5, line[:7]),
        gl.scan(lambda c, x: (stencil(c, weights), tempered_softmax(x[None])), line, rows),
        gl.cond(line.sum() > 0, lambda: stencil(line, weights), lambda: stencil(-line, weights)),
        gl.while_loop(lambda s: s[1] < 3, lambda s: (stencil(s[0], weights), s[1] + 1), (line, 0)),
        gl.vmap(stencil, in_axes=(0, None))(rows.astype("float64"), weights),
        gl.vmap(lambda x: tempered_softmax(x, temperature=2))(np.stack([rows, -rows])),
        gl.vmap(gated, in_axes=(None, 0))(rows, rows),
        gl.grad(lambda x: (tempered_softmax(x, temperature=0.5) ** 2).sum())(rows),
        gl.grad(lambda x, w: np.tanh(stencil(x, w)).sum(), argnums=(0, 1))(line, weights),
        gl.hessian(lambda w: np.tanh(stencil(line, w)).sum())(weights),
        gl.jvp(lambda x: stencil(x, weights), (line,), (line,)),
        gl.grad(lambda x: (segment_sum(x, segments, count=4) ** 3).sum())(rows),
        gl.grad(lambda x: (scaled_mish(x, scale=2.0) ** 2).sum())(rows),
    )


def test_a_kernel_does_in_a_program_what_it_does_in_python():
    arrays = (ROWS, LINE, WEIGHTS, SEGMENTS)
    graph = gl.trace(everything, *arrays)
    graph.verify()
    compiled, expected = gl.compile(everything, threads=2)(*arrays), gl.interpret(graph, *arrays)
    for one, other in zip(gl.tree.leaves(compiled), expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)
    read = gl.parse(str(graph))
    assert str(read) == str(graph)
    for one, other in zip(gl.interpret(read, *arrays), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    exact = np.exp(ROWS.astype("float64") * 4)
    np.testing.assert_allclose(compiled[0], exact / exact.sum(1, keepdims=True), 1e-5)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(everything(*arrays)[1], expected[1])


def test_derivatives_are_those_that_the_user_wrote_in_every_order():
    rows = ROWS[:2, :3].astype("float64")
    gl.check_grads(lambda x: tempered_softmax(x, temperature=0.5) ** 2, (rows,), 2)
    gl.check_grads(lambda x, w: np.tanh(stencil(x, w)), (LINE, WEIGHTS), 2)
    gl.check_grads(lambda x: segment_sum(x, np.array([1, 0]), count=2) ** 3, (rows,), 2)
    gl.check_grads(lambda x: scaled_mish(x, scale=2.0), (rows,), 2)
    gl.check_grads(lambda x, w: gated(x, w), (rows, rows[0]), 1, ("rev",))


def test_a_derivative_of_the_users_around_a_kernel_takes_its_place():
    @gl.custom_vjp
    def clipped(x):
        return tempered_softmax(x)

    clipped.defvjp(lambda x: (tempered_softmax(x), None), lambda _, g: (np.clip(g, -1, 1),))
    gradient = gl.grad(lambda x: (clipped(x) * 5).sum())(ROWS)
    np.testing.assert_array_equal(gradient, np.ones_like(ROWS))


def test_rows_make_vmap_one_call_and_other_kernels_run_example_by_example():
    rows = gl.trace(gl.vmap(tempered_softmax), np.stack([ROWS, ROWS]))
    assert ops_of(rows).count("scan") == 0
    assert ops_of(gl.trace(gl.vmap(gated, in_axes=(0, None)), np.stack([ROWS]), ROWS[0])).count("scan") == 0
    assert "scan" in ops_of(gl.trace(gl.vmap(gated), np.stack([ROWS]), ROWS[:1]))
    assert "scan" in ops_of(gl.trace(gl.vmap(stencil, in_axes=(0, None)), ROWS.astype("float64"), WEIGHTS))


def test_a_kernel_of_elements_is_fused():
    graph = gl.trace(lambda x: (scaled_mish(x * 2) + 1).sum(), ROWS)
    assert [node.op.name for node in run_passes(graph).nodes] == ["region"]


def test_inputs_of_a_kernel_of_elements_are_broadcast_and_numbers_have_their_dtype():
    assert is_between(ROWS, -1, np.float32(1)).dtype == bool
    assert scaled_mish(np.float32(1)).shape == ()

    @gl.custom_op(elementwise=True)
    def added(x, y):
        return x + y

    assert added(ROWS, 1.5).dtype == np.float32
    assert added(ROWS, LINE[:7]).dtype == np.float64
    assert added(np.arange(3), 2).dtype == np.int64
    assert added(ROWS[:, :1], ROWS[:1]).shape == (5, 7)
    with pytest.raises(gl.ShapeError, match="do not broadcast together"):
        added(ROWS, LINE)


def test_bfloat16_is_given_to_a_kernel_as_float32():
    def f(x):
        narrow = x.astype("bfloat16")
        return tempered_softmax(narrow), scaled_mish(narrow)

    results = gl.compile(f)(ROWS)
    for one, other in zip(results, gl.interpret(gl.trace(f, ROWS), ROWS)):
        assert one.dtype == other.dtype == "bfloat16"
        np.testing.assert_allclose(one.astype("float32"), other.astype("float32"), 2**-7)


def test_empty_arrays_and_numbers_are_inputs():
    @gl.custom_op(result=same_of_first)
    def times(out, x, factor):
        for i in range(x.size):
            out.flat[i] = x.flat[i] * factor[()]

    def f(x, factor):
        return times(x, factor), times(x[:0], 2), times(factor, factor), gated(ROWS[:0], ROWS[0] + factor)

    whole, none, number, rows = gl.compile(f)(ROWS, np.float32(3))
    np.testing.assert_array_equal(whole, ROWS * 3)
    assert none.shape == (0, 7)
    assert number == 9
    assert rows.shape == (0, 7)


@gl.custom_op(
    result=lambda mask, bytes, number: (
        gl.spec(mask.shape, "bool"),
        gl.spec((), "uint8"),
        gl.spec(1, "int32"),
        gl.spec((), "int64"),
    )
)
def of_each_dtype(flags, count, doubled, last, mask, bytes, number):
    count[()] = 0
    for k in range(mask.shape[0]):
        flags[k] = not mask[k]
        if mask[k]:
            count[()] += bytes[k]
    doubled[0] = number[()] * 2
    last[()] = np.int64(number[()]) + 2**40


@gl.custom_op(result=lambda x: gl.spec((), x.dtype), vjp=lambda g, y, x: np.broadcast_to(2 * g, x.shape) * x)
def sum_of_squares(out, x):
    total = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            total += x[i, j] ** 2
    out[()] = total


def test_integers_bools_and_numbers_are_inputs_and_results():
    arrays = (np.array([True, False, True]), np.array([1, 200, 3], np.uint8), np.int32(7))
    found = gl.compile(lambda *arrays: of_each_dtype(*arrays))(*arrays)
    for one, other in zip(found, ([False, True, False], 4, [14], 7 + 2**40)):
        np.testing.assert_array_equal(one, other)
    assert [x.dtype.name for x in found] == ["bool", "uint8", "int32", "int64"]
    of_each_dtype.check(*arrays)


def test_views_lie_row_by_row_for_a_kernel():
    def f(x):
        views = (x.T, x[:, ::-1], x[1:4, 2:5], np.broadcast_to(x[:1], (5, 7)), x[::2])
        return [(sum_of_squares(v), (v**2).sum()) for v in views]

    for kernel, plain in gl.compile(f)(ROWS):
        np.testing.assert_allclose(kernel, plain, 1e-5)
    gradient = gl.compile(gl.grad(lambda x: sum_of_squares(x[:, ::-1])))(ROWS)
    np.testing.assert_allclose(gradient, 2 * ROWS, 1e-6)


def test_a_result_never_lies_over_an_input():
    line = RANDOM.normal(size=1000)
    expected = line
    for _ in range(3):
        expected = gl.interpret(gl.trace(stencil, expected, WEIGHTS), expected, WEIGHTS)[0]
    thrice = gl.compile(lambda x, w: gl.fori_loop(0, 3, lambda i, x: stencil(x, w), x), donate_argnums=0)
    np.testing.assert_allclose(thrice(line.copy(), WEIGHTS), expected, 1e-12)


def same_of_first(x: Any, *others: Any) -> Any:
    return x


def test_options_are_compiled_in():
    @gl.custom_op(result=same)
    def option(out, x, *, mode, offsets=(1, 2), most=math.inf, last=None):
        for i in range(x.shape[0]):
            out[i] = x[i] + offsets[0] if mode == "first" else x[i] + offsets[1]
            out[i] = min(out[i], most)
            if last is not None:
                out[i] = last

    def f(x):
        return (
            option(x, mode="first"),
            option(x, mode="second", offsets=(1, np.int64(5)), most=np.float64(3)),
            option(x, mode="first", last=np.True_),
        )

    first, second, third = gl.compile(f)(LINE)
    np.testing.assert_array_equal(first, LINE + 1)
    np.testing.assert_array_equal(second, np.minimum(LINE + 5, 3))
    np.testing.assert_array_equal(third, np.ones(9))
    graph = gl.trace(f, LINE)
    assert '"mode", "first"' in str(graph)
    assert str(gl.parse(str(graph))) == str(graph)


def test_the_calling_form_and_methods_and_other_names():
    op = gl.custom_op(copied, result=same, name="copy_of_line")
    assert "copy_of_line(%x)" in str(gl.trace(op, LINE))
    assert "copy_of_line" in repr(op)

    class Model:
        activation = scaled_mish

    np.testing.assert_array_equal(Model().activation(ROWS), scaled_mish(ROWS))
    assert copy.deepcopy(stencil) is stencil is copy.copy(stencil) is pickle.loads(pickle.dumps(stencil))
    assert str(inspect.signature(stencil)) == "(x, w, /)"
    assert str(inspect.signature(tempered_softmax)) == "(x, /, *, temperature=1.0)"
    assert str(inspect.signature(gl.custom_op(copied, result=gl.spec(9), name="fixed"))) == "(*inputs)"


@gl.custom_op(elementwise=True)
def scaled(x, *, by=2.0):
    return x * by


def test_kernels_call_functions_of_other_kernels_and_need_no_inputs():
    @gl.custom_op(result=same)
    def both(out, x):
        for i in range(x.shape[0]):
            out[i] = scaled(x[i]) + scaled(x[i], by=3.0)

    @gl.custom_op(elementwise=True)
    def of_both(x):
        return scaled(x) + scaled(x, by=3.0)

    @gl.custom_op(result=lambda n: gl.spec(n, "int32"))
    def counted(out, *, n):
        for i in range(n):
            out[i] = i

    square = gl.custom_op(lambda x: x * x, elementwise=True, name="square_of_lambda")

    def f(x):
        return both(x), of_both(x), square(x), x[:3] * counted(n=3)

    for one, other in zip(gl.compile(f)(LINE), (5 * LINE, 5 * LINE, LINE**2, LINE[:3] * [0, 1, 2])):
        np.testing.assert_allclose(one, other, 1e-12)


def test_a_result_that_nothing_reads_has_memory_too():
    def f(x, w):
        return stencil_gradients(x, x, w)[1] * 2

    planned = plan(run_passes(gl.trace(f, LINE, WEIGHTS)))
    (found,) = run_compiled(gl.trace(f, LINE, WEIGHTS), LINE, WEIGHTS)
    assert planned.arena_bytes >= LINE.nbytes
    np.testing.assert_allclose(found, f(LINE, WEIGHTS))


def test_a_file_that_was_edited_is_compiled_as_it_was_imported(tmp_path, monkeypatch):
    file = tmp_path / "edited_kernels.py"

    def write(body: str, stamp: int) -> None:
        file.write_text(
            f"import gradloom as gl\n\n\n@gl.custom_op(elementwise=True)\ndef edited(x):\n    return {body}\n"
        )
        os.utime(file, (stamp, stamp))

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write("x * 2.0", 1)
    module = importlib.import_module("edited_kernels")
    before = module.edited
    write("x * 5.0", 2)
    np.testing.assert_array_equal(gl.compile(lambda x: before(x))(LINE), LINE * 2)
    np.testing.assert_array_equal(gl.compile(lambda x: importlib.reload(module).edited(x))(LINE), LINE * 5)
    np.testing.assert_array_equal(gl.compile(lambda x: before(x) + 1)(LINE), LINE * 2 + 1)


def test_a_name_that_several_kernels_have_is_read_by_none():
    @gl.custom_op(result=same, name="named_twice")
    def one(out, x):
        copied(out, x)

    text = str(gl.trace(one, LINE))
    assert str(gl.parse(text)) == text

    @gl.custom_op(result=same, name="named_twice")
    def other(out, x):
        copied(out, x)

    assert "named_twice(%x)" in str(gl.trace(other, LINE))
    with pytest.raises(
        ValueError, match=r"there are 2 custom ops named_twice: .*\.one, .*\.other; give one another name="
    ):
        gl.parse(text)
    with pytest.raises(ValueError, match="there is no op 'no_such_kernel'; a custom op is known once the module that"):
        gl.parse(text.replace("named_twice", "no_such_kernel"))


def test_a_kernel_that_is_defined_anew_is_compiled_anew():
    def define(source: str) -> Any:
        names: dict[str, Any] = {"gl": gl, "same": same, "__name__": "cells"}
        exec(f"@gl.custom_op(result=same)\ndef cell(out, x):\n    for i in range(x.shape[0]):\n        {source}", names)
        return names["cell"]

    before = define("out[i] = x[i] + 1")
    graph = gl.trace(before, LINE)
    np.testing.assert_array_equal(gl.compile(before)(LINE), LINE + 1)
    after = define("out[i] = x[i] + 2")
    np.testing.assert_array_equal(gl.compile(after)(LINE), LINE + 2)
    np.testing.assert_array_equal(gl.compile(before)(LINE), LINE + 1)
    np.testing.assert_array_equal(gl.interpret(gl.parse(str(graph)), LINE)[0], LINE + 2)
    graph.verify()
    with pytest.raises(gl.TracingError, match=r"two custom ops of one program are named cell; give one of them name="):
        gl.trace(lambda x: before(x) + after(x), LINE)


def test_what_a_closure_holds_is_compiled_in():
    def shifted(by: float, name: str) -> Any:
        @gl.custom_op(result=same, name=name)
        def shift(out, x):
            for i in range(x.shape[0]):
                out[i] = x[i] + by

        return shift

    one, two = shifted(1.0, "shift_1"), shifted(2.0, "shift_2")
    np.testing.assert_array_equal(gl.compile(lambda x: one(x) + two(x))(LINE), LINE + 1 + (LINE + 2))


FACTOR = 2.0
TABLE = np.arange(3.0)


def test_what_a_kernel_reads_around_it_must_not_change(monkeypatch):
    @gl.custom_op(result=same)
    def by_factor(out, x):
        for i in range(x.shape[0]):
            out[i] = x[i] * FACTOR

    np.testing.assert_array_equal(gl.compile(by_factor)(LINE), LINE * 2)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    with pytest.raises(gl.TracingError, match="by_factor: FACTOR changed since the kernel was first used; give what"):
        gl.trace(by_factor, LINE)

    @gl.custom_op(result=same)
    def by_table(out, x):
        for i in range(x.shape[0]):
            out[i] = x[i] * TABLE[0]

    with pytest.raises(gl.TracingError, match=r"by_table: TABLE is of type ndarray, .* give an array as an input"):
        by_table(LINE)


def test_a_kernel_that_raises_stops_the_run():
    @gl.custom_op(result=same)
    def root(out, x):
        for i in range(x.shape[0]):
            if x[i] < 0:
                raise ValueError("negative")
            out[i] = math.sqrt(x[i])

    @gl.custom_op(result=same, boundscheck=True)
    def beyond(out, x):
        for i in range(x.shape[0]):
            out[i] = x[i + 1]

    @gl.custom_op(elementwise=True)
    def positive(x):
        if x < 0:
            raise ValueError
        return x

    with pytest.raises(gl.TracingError, match="positive: a kernel of elements cannot raise an exception; return NaN"):
        gl.trace(positive, LINE)
    compiled = gl.compile(lambda x: root(x))
    np.testing.assert_allclose(compiled(np.abs(LINE)), np.sqrt(np.abs(LINE)))
    with pytest.raises(RuntimeError, match=r"the kernel root raised an exception at .*; call root on plain arrays"):
        compiled(-np.abs(LINE))
    with pytest.raises(ValueError, match=r"negative, at"):
        root(-np.abs(LINE))
    with pytest.raises(RuntimeError, match="the kernel beyond raised an exception"):
        gl.compile(lambda x: beyond(x))(LINE)


def test_a_custom_op_without_a_derivative_says_so():
    def loss(x):
        return gated_gradients(x, x, x[0])[0].sum()

    with pytest.raises(gl.TracingError, match=r"gated_gradients has no derivative, .* write vjp= .*test_custom_op.py"):
        gl.trace(gl.grad(loss), ROWS)
    stopped = gl.grad(lambda x: (x * gl.stop_gradient(gated_gradients(x, x, x[0])[0])).sum())
    np.testing.assert_array_equal(stopped(ROWS), ROWS * ROWS[0])
    unread = gl.grad(lambda w: (w * gated_gradients(ROWS, ROWS, ROWS[0])[0]).sum())
    np.testing.assert_allclose(unread(np.float32(2)), (ROWS * ROWS[0]).sum(), 1e-5)


def array_kernel(out, x, *, k=1):
    for i in range(x.shape[0]):
        out[i] = x[i] + k


def call(op: Any, *inputs: Any, **options: Any) -> Any:
    return gl.trace(lambda: op(*inputs, **options))


DEFINITIONS = {
    "no function": (lambda: gl.custom_op(3, result=same), r"takes a Python function, got int; write @gl.custom_op"),
    "no result": (lambda: gl.custom_op(array_kernel), r"array_kernel: custom_op is told what the results are; write"),
    "stars": (lambda: gl.custom_op(lambda *xs: None, result=same, name="stars"), r"one by one, got \*xs"),
    "no name": (lambda: gl.custom_op(lambda out, x: None, result=same), r"got '<lambda>'; write name="),
    "a primitive": (
        lambda: gl.custom_op(array_kernel, result=same, name="tanh"),
        r"a primitive named tanh, .* write name='my_tanh'",
    ),
    "rows of elements": (lambda: gl.custom_op(softened, elementwise=True, rows=0), "has no rows="),
    "result of elements": (
        lambda: gl.custom_op(softened, elementwise=True, result=same),
        r'is a dtype; write result="float32"',
    ),
    "no dtype": (lambda: gl.custom_op(softened, elementwise=True, result="float16"), "result: dtype float16"),
    "no vjp": (lambda: gl.custom_op(array_kernel, result=same, vjp=3), "vjp is a function or None, got 3"),
    "rows": (lambda: gl.custom_op(array_kernel, result=same, rows=-1), r"numbers of inputs from 0 on, got -1"),
    "keyword": (lambda: gl.custom_op(array_kernel, results=same), "similar: result"),
}


def softened(x):
    return x


@pytest.mark.parametrize("case", DEFINITIONS)
def test_what_cannot_be_a_kernel_is_refused_where_it_is_defined(case):
    define, message = DEFINITIONS[case]
    with pytest.raises(TypeError, match=message):
        define()


def wrong(name: str, **declared: Any) -> Any:
    return gl.custom_op(array_kernel, **{"result": same, "name": f"wrong_{name}", **declared})


def two_results(x: Any, k: int) -> Any:
    return x, x


CALLS = {
    "unknown option": (lambda: call(wrong("a"), LINE, kk=1), "wrong_a has no option kk; there are k"),
    "an array by name": (lambda: call(wrong("b"), x=LINE), "x is an array; give inputs by position"),
    "a list": (lambda: call(wrong("c"), LINE, k=[1]), "number, text or a tuple of them, got list; write a tuple"),
    "an array as option": (lambda: call(wrong("d"), LINE, k=LINE), "got ndarray; give an array as an input"),
    "failing flops": (
        lambda: call(wrong("e", flops=lambda x, k: x.length), LINE),
        "flops= failed for .* AttributeError",
    ),
    "negative flops": (lambda: call(wrong("m", flops=lambda x, k: -1), LINE), "a whole number of 0 or more, got -1"),
    "too many inputs": (
        lambda: call(wrong("f", result=lambda x, y, k: x), LINE, LINE),
        r"wrong_f\(out, x\) has 2 arrays, and there are 1 result, 2 inputs",
    ),
    "too many results": (lambda: call(wrong("g", result=two_results), LINE), "there are 2 results, 1 input"),
    "no spec": (
        lambda: call(wrong("h", result=lambda x, k: x.shape), LINE),
        r"gives gl.spec\(shape, dtype\), .* \(9,\)",
    ),
    "a failing rule": (
        lambda: call(wrong("i", result=lambda x, k: gl.spec(x.shape[1], x.dtype)), LINE),
        r"result= failed for \(f64\[9\], k=1\): IndexError",
    ),
    "rows of no input": (lambda: call(wrong("j", rows=2), LINE), "rows= names input 2, and there are 1"),
    "rows that stay": (
        lambda: call(wrong("k", rows=0, result=gl.spec(9, "float64")), LINE),
        r"a result has the rows of the inputs; of 9 rows f64\[9\], of one row more f64\[9\]",
    ),
    "rows of a number": (lambda: call(wrong("l", rows=0), 2.0), "have as many rows"),
    "complex numbers": (lambda: call(wrong("n"), LINE * 1j), r"takes? complex numbers, got c128\[9\]; give x.real"),
    "complex elements": (lambda: call(scaled_mish, LINE * 1j), r"complex numbers, got c128\[9\]; give x.real"),
    "elements": (lambda: call(scaled_mish, LINE, LINE), r"scaled_mish takes 1 inputs \(x\), got 2"),
}


@pytest.mark.parametrize("case", CALLS)
def test_inputs_and_options_that_do_not_fit_are_refused_with_the_users_line(case):
    refused, message = CALLS[case]
    with pytest.raises(TypeError, match=rf"{message}.*test_custom_op.py"):
        refused()


def test_a_traced_option_is_refused():
    with pytest.raises(gl.TracingError, match="the option count must be known while tracing, got a traced array"):
        gl.trace(lambda x, n: segment_sum(x, SEGMENTS, count=n), ROWS, np.int64(3))


COTANGENTS = {
    "too few": (lambda g, y, x, w: g, "a tuple with a cotangent for each of 2 inputs, got 1"),
    "another shape": (lambda g, y, x, w: (g[:1], None), r"the cotangent of input 0 \(x\) is \(1,\) float64, the input"),
    "another dtype": (lambda g, y, x, w: (g.astype("float32"), 0), r"of input 0 \(x\) is \(9,\) float32, the input"),
}


@pytest.mark.parametrize("case", COTANGENTS)
def test_cotangents_that_do_not_fit_are_refused(case):
    vjp, message = COTANGENTS[case]

    def pair(out, x, w):
        copied(out, x)

    op = gl.custom_op(pair, result=lambda x, w: x, vjp=vjp)
    with pytest.raises((TypeError, ValueError), match=rf"pair: .*{message}"):
        gl.trace(gl.grad(lambda x: op(x, x).sum()), LINE)
