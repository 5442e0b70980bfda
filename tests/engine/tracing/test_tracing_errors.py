"""What cannot be traced says so: the user's line, what was found, what to write instead."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest

X = gl.spec((3, 4))
T, S, TE, VE, IE = gl.TracingError, gl.ShapeError, TypeError, ValueError, IndexError
PLAIN = np.ones((3, 4), "float32")


def branch(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def write(x: Any) -> Any:
    x[0] = 1
    return x


def add_into(x: Any) -> Any:
    y = PLAIN.copy()
    y += x
    return y


CASES: list[tuple[str, Callable[..., Any], type[Exception], str]] = [
    # What needs values.
    ("branch", branch, T, r"np\.where\(condition, a, b\)"),
    ("and", lambda x: x > 0 and x, T, r"np\.where"),
    ("while", lambda x: [None for _ in iter(lambda: bool(x[0, 0]), False)], T, "branch"),
    ("float", lambda x: float(x[0, 0]), T, r"float\(x\).*return it"),
    ("int", lambda x: int(x[0, 0]), T, r"int\(x\).*astype"),
    ("complex", lambda x: complex(x[0, 0]), T, "complex"),
    ("item", lambda x: x[0, 0].item(), T, r"x\.item\(\)"),
    ("tolist", lambda x: x.tolist(), T, r"tolist"),
    ("index", lambda x: [1, 2][x.astype("int64")[0, 0]], T, "Python integer.*x.shape"),
    ("range", lambda x: range(x.astype("int64")[0, 0]), T, "Python integer"),
    ("operator.index", lambda x: operator.index(x), T, "Python integer"),
    ("asarray", lambda x: np.asarray(x), T, "use x as it is"),
    ("array of tracers", lambda x: np.array([x, x]), T, r"np\.stack"),
    ("in", lambda x: 1 in x, T, r"np\.any\(x == item\)"),
    ("setitem", write, T, r"np\.where\(mask, new, x\)"),
    ("len of a scalar", lambda x: len(x.sum()), TE, r"no axes"),
    ("iteration over a scalar", lambda x: list(x.sum()), TE, "no axes"),
    # NumPy's options.
    ("out", lambda x: np.add(x, 1, out=PLAIN.copy()), T, r"out=.*write y = np\.add\(\.\.\.\)"),
    ("in-place on an array", add_into, T, r"write y = y \+ x"),
    ("sum out", lambda x: np.sum(x, out=PLAIN.copy()), T, "out="),
    ("ufunc where", lambda x: np.add(x, 1, where=PLAIN > 0), T, r"np\.where\(mask"),
    ("var where", lambda x: np.var(x, where=PLAIN > 0), T, "'where' is not traced"),
    ("where of floats", lambda x: np.sum(x, where=PLAIN), TE, r"np\.sum: where is bool, got .*; write x != 0"),
    ("max where", lambda x: np.max(x, where=PLAIN > 0), ValueError, "needs initial="),
    ("max where, traced initial", lambda x: np.max(x, where=PLAIN > 0, initial=x[0, 0]), T, "known while tracing"),
    ("initial beyond a dtype", lambda x: np.max(x.astype("uint8"), initial=-1), OverflowError, "out of bounds"),
    ("ufunc casting", lambda x: np.add(x, 1, dtype="int32"), T, "same_kind"),
    ("ufunc dtype", lambda x: np.isnan(x, dtype="float32"), T, "No loop matching"),
    ("no such casting", lambda x: np.add(x, 1, casting="bogus"), ValueError, "casting must be one of"),
    ("concatenate casting", lambda x: np.concatenate([x, x], dtype="int32"), TE, r"makes no int32 .*casting='unsafe'"),
    ("astype casting", lambda x: x.astype("int32", casting="safe"), TE, "casting='safe' makes no int32 of float32"),
    ("out of a method", lambda x: x.sum(0, None, PLAIN), T, r"write y = x\.sum\(\.\.\.\)"),
    ("var in integers", lambda x: np.var(x, dtype="int64"), TE, "dtype is float32 or float64"),
    ("ddof and correction", lambda x: np.std(x, ddof=1, correction=1), ValueError, "give one of them"),
    ("clip bounds twice", lambda x: gnp.clip(x, a_min=0, min=0), ValueError, "give one of them"),
    ("diff times", lambda x: np.diff(x, n=-1), ValueError, "n is 0 or more, got -1"),
    ("meshgrid indexing", lambda x: np.meshgrid(x, x, indexing="ab"), ValueError, "'xy' or 'ij'"),
    ("edge pad with values", lambda x: np.pad(x, 1, "edge", constant_values=2), ValueError, "no constant_values"),
    ("rot90 axes", lambda x: np.rot90(x, axes=(0, -2)), S, "are the same"),
    ("linalg.outer", lambda x: np.linalg.outer(x, x), S, r"np\.outer flattens"),
    ("reduceat", lambda x: np.add.reduceat(x, [0, 1]), T, r"np\.add\.reduceat is not traced"),
    ("subtract.reduce", lambda x: np.subtract.reduce(x), T, r"np\.subtract\.reduce is not traced"),
    ("order", lambda x: x.reshape(-1, order="F"), T, "order='F'.*transpose"),
    ("too many positional", lambda x: np.sum(x, 0, None, PLAIN, True), T, "cannot write"),
    # Functions without a trace.
    ("unique", lambda x: np.unique(x), TypeError, "depends on values"),
    ("nonzero", lambda x: np.nonzero(x), TypeError, r"np\.where\(condition, a, b\)"),
    ("histogramdd", lambda x: np.histogramdd(x), T, r"np\.histogramdd is not traced: write np\.histogram2d"),
    ("ufunc", lambda x: np.isnat(x), T, r"np\.isnat is not traced: dates are no arrays"),
    ("method", lambda x: x.sort(), AttributeError, r"in place.*np\.sort\(x, axis\)"),
    ("kind of sort", lambda x: np.sort(x, kind="bogus"), ValueError, "'stable', got 'bogus'"),
    ("no kind of sort", lambda x: np.argsort(x, kind=3), TE, "kind is a string"),
    ("kind and stable", lambda x: np.sort(x, kind="stable", stable=True), ValueError, "write one of them"),
    ("order of fields", lambda x: np.argsort(x, order="f"), ValueError, "names fields"),
    ("axis of cumulative_prod", lambda x: np.cumulative_prod(x), S, r"np\.cumulative_prod needs an axis"),
    ("no such attribute", lambda x: x.foo, AttributeError, "no attribute 'foo'"),
    ("where alone", lambda x: np.where(x > 0), T, r"np\.where\(condition, a, b\)"),
    ("sublist einsum", lambda x: gnp.einsum(x, [0, 1]), T, "string"),
    ("pad mode", lambda x: np.pad(x, 1, mode="mean"), T, "mode='mean'"),
    ("norm order", lambda x: np.linalg.norm(x, "bogus"), ValueError, "got 'bogus'"),
    ("round to tens", lambda x: np.round(x.astype("int64"), -1), T, "tens"),
    ("reciprocal of integers", lambda x: np.reciprocal(x.astype("int64")), T, "1 / x"),
    ("bool minus bool", lambda x: (x > 0) - (x > 1), TE, r"subtract|sub"),
    ("negative of bool", lambda x: -(x > 0), TE, "neg"),
    ("bits of floats", lambda x: x & 1, T, r"np\.bitwise_and does not take"),
    # Dtypes.
    ("float16", lambda x: x + np.ones(4, "float16"), TE, r"float16 is not supported.*astype\('float32'\)"),
    ("long complex", lambda x: x * np.ones(4, "complex256"), TE, "complex256 is not supported"),
    ("largest of complex", lambda x: np.maximum(x * 1j, x), TE, r"does not take complex numbers.*x\.real and x\.imag"),
    ("order of complex", lambda x: x * 1j < 2, TE, r"does not take complex numbers"),
    ("floor of complex", lambda x: np.floor(x * 1j), TE, "np.floor does not take"),
    ("sort of complex", lambda x: np.sort(x * 1j), TE, "does not take complex numbers"),
    ("complex as real", lambda x: (x * 1j).astype("float32"), TE, r"imaginary parts; write x\.real"),
    ("strings", lambda x: np.where(x > 0, "a", "b"), TE, "not supported"),
    ("object", lambda x: gnp.add(x, object()), TE, "no array of numbers"),
    ("None", lambda x: x + None, TE, "no array of numbers"),
    ("uint16", lambda x: x * np.ones(4, "uint16"), TE, "uint16 is not supported"),
    ("astype", lambda x: x.astype("float16"), TE, "float16 is not supported"),
    ("int8 result", lambda x: (x > 0) // (x > 1), TE, "int8"),
    ("integer too large", lambda x: x.astype("uint8") + 300, OverflowError, "300.*uint8"),
    ("negative power", lambda x: x.astype("int64") ** -1, VE, "negative integer powers"),
    # Shapes.
    (
        "broadcast",
        lambda x: x + np.ones(3, "float32"),
        S,
        r"np\.add: \(3, 4\) float32 and \(3,\) float32 do not broadcast",
    ),
    ("matmul", lambda x: x @ x, S, r"np\.matmul: \(3, 4\) float32 and \(3, 4\) float32 do not fit"),
    ("matmul batch", lambda x: np.stack([x, x]) @ np.ones((3, 4, 5), "float32"), S, "leading axes broadcast"),
    ("matmul scalar", lambda x: x @ 2, S, r"write x \* y"),
    ("dot", lambda x: np.dot(x, x), S, r"np\.dot"),
    ("tensordot", lambda x: np.tensordot(x, x, axes=([0], [1])), S, "differ in length"),
    ("einsum lengths", lambda x: np.einsum("ij,jk", x, x), S, "lengths 4 and 3"),
    ("einsum operand", lambda x: np.einsum("ijk->i", x), S, "does not fit"),
    ("einsum result", lambda x: np.einsum("ij->ik", x), S, "no operand has"),
    ("einsum count", lambda x: np.einsum("ij,jk", x), S, "does not describe 1 operands"),
    (
        "reshape",
        lambda x: x.reshape(5, 3),
        S,
        r"np\.reshape: \(3, 4\) float32 of 12 elements does not fit shape \(5, 3\)",
    ),
    ("reshape unknown", lambda x: x.reshape(-1, -1), S, "does not fit"),
    ("concatenate", lambda x: np.concatenate([x, x.T]), S, r"\(3, 4\) float32, \(4, 3\) float32"),
    ("concatenate of scalars", lambda x: np.concatenate([x.sum(), x.sum()]), S, r"np\.stack"),
    ("concatenate of nothing", lambda x: gnp.concatenate([]), S, "at least one"),
    ("stack", lambda x: np.stack([x, x[0]]), S, "differ in shape"),
    ("split", lambda x: np.split(x, 2), S, "2 equal parts"),
    ("squeeze", lambda x: x.squeeze(0), S, "not of length 1"),
    ("broadcast_to", lambda x: np.broadcast_to(x, (3, 5)), S, "does not broadcast"),
    ("transpose", lambda x: x.transpose(0, 0), S, "no permutation"),
    ("axis", lambda x: x.sum(axis=2), np.exceptions.AxisError, "axis 2 is out of bounds for an array of 2"),
    ("axis twice", lambda x: x.sum(axis=(0, -2)), S, "twice"),
    ("empty max", lambda x: x[:0].max(), S, "of no elements"),
    ("empty argmax", lambda x: x[:0].argmax(0), S, "of no elements"),
    ("where shapes", lambda x: np.where(x > 0, x, np.ones(3, "float32")), S, "do not broadcast"),
    ("negative pad", lambda x: np.pad(x, -1), S, "not negative"),
    ("take_along_axis", lambda x: np.take_along_axis(x, np.array([0]), 0), S, "number of axes"),
    ("repeat counts", lambda x: np.repeat(x, [1, 2], axis=0), S, "2 repeats"),
    ("traced repeats", lambda x: np.repeat(x, x[0].astype("int64"), axis=1), T, "depends on values"),
    ("traced length", lambda x: np.broadcast_to(x[0, 0], (x.astype("int64")[0, 0],)), T, "derive it from x.shape"),
    # Indices.
    ("index out of range", lambda x: x[3], IE, r"index 3 is out of range for axis 0 of \(3, 4\) float32"),
    ("negative index out of range", lambda x: x[0, -5], IE, "index -5 .* axis 1"),
    ("index array out of range", lambda x: x[np.array([0, 7])], IE, "index 7"),
    ("take out of range", lambda x: np.take(x, [4], axis=1), IE, "index 4"),
    ("too many indices", lambda x: x[0, 0, 0], IE, "too many indices: 3"),
    ("two ellipses", lambda x: x[..., ...], IE, r"more than one '\.\.\.'"),
    ("float index", lambda x: x[0.5], IE, "an index is an integer"),
    ("traced float index", lambda x: x[x[0]], IE, "an index is an integer"),
    ("traced mask", lambda x: x[x > 0], T, r"np\.where\(mask, x, 0\)"),
    ("mask of another shape", lambda x: x[np.array([True, False])], IE, r"mask of shape \(2,\) does not fit axis 0"),
    ("True", lambda x: x[True], T, r"x\[None\]"),
    ("traced slice", lambda x: x[: x.astype("int64")[0, 0]], T, "bound of a slice must be known"),
    ("index arrays", lambda x: x[np.arange(2), np.arange(3)], IE, r"\(2,\) and \(3,\)"),
    # Results.
    ("string result", lambda x: "a", T, "type str; return arrays"),
    ("spec result", lambda x: X, T, "ArrayType"),
]


@pytest.mark.parametrize(
    ("function", "error", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_message(function: Callable[..., Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        gl.trace(function, X)
    text = str(caught.value)
    if "no attribute" not in text:
        where = re.search(r", at (?:\S*/)?test_tracing_errors\.py:(\d+)$", text)
        assert where, text
        code = function.__code__
        lines = [line for _, _, line in code.co_lines() if line]
        # A result is seen when the traced function has returned.
        assert "returned" in text or min(lines) <= int(where[1]) <= max(lines)


def test_shape_errors_are_value_errors_and_the_rest_type_errors() -> None:
    assert issubclass(gl.ShapeError, ValueError)
    assert issubclass(gl.TracingError, TypeError)


def test_an_array_that_outlives_its_trace() -> None:
    kept: list[Any] = []
    gl.trace(lambda x: kept.append(x), X)
    with pytest.raises(gl.TracingError, match="left over from a trace that has ended"):
        kept[0] + 1
    with pytest.raises(gl.TracingError, match="left over"):
        gl.trace(lambda x: x + kept[0], X)


def test_an_array_of_another_trace() -> None:
    with pytest.raises(gl.TracingError, match="belongs to another trace"):
        gl.trace(lambda x: gl.trace(lambda y: x + y, X), X)
    with pytest.raises(gl.TracingError, match="takes arrays and specs"):
        gl.trace(lambda x: gl.trace(np.sin, x), X)
    with pytest.raises(gl.TracingError, match="belongs to another trace"):
        gl.trace(lambda x: [gl.trace(lambda y: x, X)] and x, X)


def test_arguments_of_unsupported_dtypes() -> None:
    with pytest.raises(TypeError, match="float16 is not supported"):
        gl.trace(np.sin, np.ones(3, "float16"))


def test_eager_calls_have_the_same_messages() -> None:
    with pytest.raises(gl.ShapeError, match=r"do not broadcast together, at .*test_tracing_errors\.py"):
        gnp.add(np.ones(3), np.ones(4))
    with pytest.raises(IndexError, match="index 7 is out of range"):
        gnp.take(np.ones(3), [7])
    with pytest.raises(TypeError, match="float16"):
        gnp.add(np.ones(3, "float16"), 1)
