"""What only numbers can do, done with traced arrays: each message quotes what was written, names the line, and says
what to write.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.special
from gradloom import nn
from gradloom.engine.tracing.known_array import KnownArray

TABLE = np.arange(12.0).reshape(4, 3)
V = np.arange(3.0)
SPARSE = scipy.sparse.csr_matrix(np.eye(3))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    MATRIX = np.matrix(TABLE)
MASKED = np.ma.masked_less(V, 1)
STORE = "cannot be assigned into a NumPy array.*write y = np.where"
INDEX = "is an index into a NumPy array.*write .*gl.numpy.asarray"


def set_element(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y[1] = x[1]
    return y


def set_integer(x: Any, i: Any) -> Any:
    y = np.zeros(3, int)
    y[1] = i
    return y


def set_truth(x: Any, i: Any) -> Any:
    y = np.zeros(3, bool)
    y[1] = x[0] > 0
    return y


def set_row(x: Any, i: Any) -> Any:
    y = np.zeros((2, 3))
    y[0] = x
    return y


def set_slice(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y[:2] = x[:2]
    return y


def set_masked(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y[V > 0] = x[0]
    return y


def set_at_traced_index(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y[i] = 1
    return y


def set_flat(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y.flat[1] = x[0]
    return y


def set_of_a_class(x: Any, i: Any) -> Any:
    class Holder:
        y = np.zeros(3)

    held = Holder()
    held.y[1] = x[1]
    return held.y


def fill(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    y.fill(x[0])
    return y


def in_a_loop(x: Any, i: Any) -> Any:
    y = np.zeros(3)
    for k in range(3):
        y[k] = 2 * x[k]
    return y


# (what, function, what the message quotes, what it says)
CASES: list[tuple[Callable[..., Any], str, str]] = [
    (set_element, "y[1] = ...", STORE),
    (set_integer, "y[1] = ...", STORE),
    (set_truth, "y[1] = ...", STORE),
    (set_row, "y[0] = ...", STORE),
    (set_slice, "y[:2] = ...", STORE),
    (set_masked, "y[V > 0] = ...", STORE),
    (set_at_traced_index, "y[i] = ...", STORE),
    (set_flat, "y.flat[1] = ...", STORE),
    (set_of_a_class, "held.y[1] = ...", STORE),
    (in_a_loop, "y[k] = ...", STORE),
    (fill, "y.fill(x[0])", STORE),
    (lambda x, i: np.zeros(3).fill(x[0]), "np.zeros(3).fill(x[0])", STORE),
    (lambda x, i: np.zeros(3).put(0, x[0]), "np.zeros(3).put(0, x[0])", STORE),
    (lambda x, i: np.put(V.copy(), [0], x[0]), "np.put", r"gl\.numpy\.put\(x, ind, v, inplace=False\)"),
    (lambda x, i: np.copyto(V.copy(), x), "np.copyto", "traced"),
    (lambda x, i: np.full(3, x[0]), "np.full(3, x[0])", r"gl\.numpy\.full"),
    # A NumPy array is asked, which does not ask back.
    (lambda x, i: TABLE[i], "TABLE[i]", INDEX + r"\(TABLE\)\[i\]"),
    (lambda x, i: V[i], "V[i]", r"gl\.numpy\.take\(V, i\) or gl\.numpy\.asarray\(V\)\[i\]"),
    (lambda x, i: TABLE[i, 0], "TABLE[i, 0]", INDEX + r"\(TABLE\)\[i, 0\]"),
    (lambda x, i: TABLE[[i, 1]], "TABLE[[i, 1]]", INDEX),
    (lambda x, i: TABLE[:i], "TABLE[:i]", r"bound of a slice.*x\.shape"),
    (lambda x, i: V[x > 0], "V[x > 0]", r"mask.*np\.where\(mask"),
    (lambda x, i: np.take(TABLE, i, axis=0), "np.take(TABLE, i, axis=0)", r"gl\.numpy\.take\(TABLE, i, axis=0\)"),
    (lambda x, i: V.take(i), "V.take(i)", r"gl\.numpy\.take\(V, i\)"),
    (lambda x, i: np.r_[V, x], "np.r_[V, x]", r"a part of a NumPy array.*np\.concatenate"),
    (lambda x, i: np.c_[V, x], "np.c_[V, x]", r"a part of a NumPy array.*np\.column_stack"),
    (lambda x, i: np.vectorize(lambda v: v * 2)(x), "np.vectorize(lambda v: v * 2)(x)", "on the whole array"),
    (lambda x, i: np.trim_zeros(x[0]), "np.trim_zeros", "its shape depends on values"),
    (lambda x, i: np.fromiter(x, float), "np.fromiter(x, float)", r"np\.stack"),
    (lambda x, i: np.fromiter((v for v in x), float), "np.fromiter(", r"np\.stack"),
    (lambda x, i: np.arange(i), "np.arange(i)", r"x\.shape"),
    (lambda x, i: np.zeros(i), "np.zeros(i)", r"x\.shape"),
    (lambda x, i: np.eye(i), "np.eye(i)", r"x\.shape"),
    (lambda x, i: np.ones((2, i)), "np.ones((2, i))", r"x\.shape"),
    (lambda x, i: np.float64(x[0]), "np.float64(x[0])", r"x\.astype\('float64'\)"),
    (lambda x, i: np.broadcast(x, V), "np.broadcast(x, V)", r"np\.broadcast_arrays"),
    (lambda x, i: np.random.default_rng(0).normal(x), "normal(x)", "traced array"),
    (lambda x, i: MASKED * x, "MASKED * x", r"masked arrays are not traced: write np\.where"),
    (lambda x, i: x * MASKED, "", r"masked array would lose its mask; write x\.filled"),
    (lambda x, i: np.ma.masked_where(x > 0, V), "np.ma.masked_where(x > 0, V)", "masked arrays are not traced"),
    # Python.
    (lambda x, i: math.sin(x[0]), "math.sin(x[0])", r"write np\.sin"),
    (lambda x, i: math.sqrt(x[0]), "math.sqrt(x[0])", r"write np\.sqrt"),
    (lambda x, i: math.floor(x[0]), "math.floor(x[0])", r"write np\.floor"),
    (lambda x, i: math.fsum(x), "math.fsum(x)", r"write np\.sum"),
    (lambda x, i: max(x), "max(x)", r"write np\.max\(x\)"),
    (lambda x, i: min(x[0], 0.0), "min(x[0], 0.0)", r"np\.minimum\(a, b\)"),
    (lambda x, i: sorted(x), "sorted(x)", r"np\.sort\(x\)"),
    (lambda x, i: any(x), "any(x)", r"write np\.any"),
    (lambda x, i: all(x), "all(x)", r"write np\.all"),
    (lambda x, i: 0 < x[0] < 1, "", r"\(a < x\) & \(x < b\)"),
    (lambda x, i: x[0] and x[1], "", "& | ~".replace("|", r"\|")),
    (lambda x, i: not x[0], "", r"& \| ~"),
    (lambda x, i: x[0] in [1.0, 2.0], "", "np.where"),
    (lambda x, i: round(x[0]), "round(x)", r"write np\.round"),
    (lambda x, i: f"{x[0]:.3f}", "'.3f'", "format it there"),
    (lambda x, i: f"{x[0]:.2e}", "'.2e'", "format it there"),
    (
        lambda x, i: "%d" % i,  # noqa: UP031
        '"%d" % i',
        "traced array",
    ),
    (
        lambda x, i: "%.3f" % x[0],  # noqa: UP031
        "float(x)",
        "convert it there",
    ),
    (lambda x, i: {0: 1}[i], "{0: 1}[i]", "traced array"),
    (lambda x, i: [V, V][i], "", r"np\.stack\(arrays\)\[i\]"),
    (lambda x, i: pow(i, 2, 3), "pow(x, y, n)", r"x \*\* y % n"),
    (lambda x, i: memoryview(x), "memoryview(x)", "traced array"),
    (lambda x, i: len(x[0]), "len()", "no axes"),
    # SciPy.
    (lambda x, i: scipy.special.hyp2f1(1, 2, 3, x), "scipy.special.hyp2f1", "not traced"),
    (lambda x, i: scipy.special.softmax(x), "scipy.special.softmax(x)", r"write gl\.special\.softmax"),
    (lambda x, i: scipy.special.logsumexp(x), "scipy.special.logsumexp(x)", r"write gl\.special\.logsumexp"),
    (lambda x, i: math.lgamma(i), "math.lgamma(i)", r"write gl\.special\.gammaln"),
    (lambda x, i: scipy.linalg.expm(x * np.eye(3)), "scipy.linalg.expm(x * np.eye(3))", "SciPy's functions"),
    (lambda x, i: SPARSE @ x, "SPARSE @ x", r"m\.toarray\(\)"),
    (lambda x, i: SPARSE.dot(x), "SPARSE.dot(x)", r"m\.toarray\(\)"),
    (lambda x, i: SPARSE * x, "SPARSE * x", r"m\.toarray\(\)"),
    (lambda x, i: x @ SPARSE, "csr_matrix", r"toarray\(\)"),
    (lambda x, i: scipy.sparse.csr_matrix(x), "scipy.sparse.csr_matrix(x)", r"m\.toarray\(\)"),
    (lambda x, i: MATRIX @ x, "matrix", r"np\.asarray\(m\)"),
]


@pytest.mark.parametrize(("function", "quoted", "message"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_the_message_quotes_what_was_written_and_says_what_to_write(
    function: Callable[..., Any], quoted: str, message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        gl.trace(function, np.ones(3), np.int64(1))
    text = str(caught.value)
    assert type(caught.value) in (TypeError, gl.TracingError)
    assert quoted in text
    assert re.search(message, text), text
    where = re.search(r", at (?:\S*/)?test_misuse\.py:(\d+)$", text)
    assert where, text
    lines = [line for _, _, line in function.__code__.co_lines() if line]
    assert min(lines) <= int(where[1]) <= max(lines)


def test_a_step_and_a_compiled_function_say_the_same() -> None:
    model = gl.nn.Linear(3, 1)

    def loss_fn(model: Any, batch: Any) -> Any:
        y = np.zeros(3, "float32")
        y[0] = model(batch)[0, 0]
        return y.sum()

    with pytest.raises(gl.TracingError, match=STORE):
        gl.plan_step(model, loss_fn, gl.optim.SGD(0.1), gl.spec((2, 3)))
    with pytest.raises(gl.TracingError, match=STORE):
        gl.compile(set_element)(np.ones(3), np.int64(1))
    with pytest.raises(gl.TracingError, match=STORE):
        gl.grad(lambda x: set_element(x, 0).sum())(np.ones(3))


def test_errors_of_the_user_stay_what_they_are() -> None:
    def own(x: Any) -> Any:
        raise ValueError(f"my own words about {x}")

    def chained(x: Any) -> Any:
        try:
            return float(x[0])
        except TypeError as error:
            raise KeyError("mine") from error

    def wrong_call(x: Any) -> Any:
        def two(a: Any, b: Any) -> Any:
            return a

        return two(x)  # pyright: ignore[reportCallIssue]

    def of_another_array(x: Any) -> Any:
        return x * np.ones(3)[5]

    for function, kind, words in (
        (own, ValueError, "my own words"),
        (chained, KeyError, "mine"),
        (wrong_call, TypeError, "missing 1 required positional argument"),
        (of_another_array, IndexError, "out of bounds"),
        (lambda x: x + undefined, NameError, "undefined"),  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    ):
        with pytest.raises(kind, match=words) as caught:
            gl.trace(function, np.ones(3))
        assert type(caught.value) is kind


def test_code_without_source_has_the_plain_message() -> None:
    space: dict[str, Any] = {"np": np}
    exec("def f(x):\n    y = np.zeros(3)\n    y[0] = x[0]\n    return y", space)
    with pytest.raises(gl.TracingError, match=STORE):
        gl.trace(space["f"], np.ones(3))


def test_questions_of_shape_and_dtype_are_answered() -> None:
    def ask(x: Any, i: Any) -> Any:
        assert np.shape(x) == (3, 4)
        assert np.ndim(x) == 2
        assert (np.size(x), np.size(x, 0), np.size(x, axis=-1)) == (12, 3, 4)
        assert np.result_type(x, np.float64) == np.float64
        assert np.result_type(x, i) == np.float64
        assert np.result_type(x, 1.0) == np.float32
        assert np.result_type(i, 1.0) == np.float64
        assert not np.iscomplexobj(x)
        assert np.isrealobj(x)
        assert np.can_cast(x.dtype, np.float64)
        assert np.common_type(x, V) is np.float64
        assert np.min_scalar_type(i) == np.int64
        return x

    gl.trace(ask, gl.spec((3, 4)), gl.spec((), "int64"))
    assert gl.numpy.shape([[1, 2]]) == (1, 2)
    assert gl.numpy.size(3) == 1
    assert gl.numpy.result_type(np.float32(1), 1) == np.float32
    assert gl.numpy.iscomplexobj(np.ones(2)) is False


def test_whole_arrays_are_compared() -> None:
    def compare(x: Any, y: Any) -> Any:
        nan = x * np.nan
        return (
            np.allclose(x, y),
            np.allclose(x, y + 1e-9),
            np.allclose(x, y + 1),
            np.array_equal(x, y),
            np.array_equal(x, y[:2]),
            np.array_equal(nan, nan),
            np.array_equal(nan, nan, equal_nan=True),
            np.allclose(nan, nan, equal_nan=True),
            np.array_equal(x[:0], y[:0]),
            np.allclose(x[:0], y[:0]),
            np.array_equal(x[0], y[0]),
        )

    results = gl.compile(compare)(V, V.copy())
    assert [bool(r) for r in results] == [bool(r) for r in compare(V, V.copy())]


def test_linspace_between_traced_ends_is_numpys() -> None:
    cases = [
        (np.float32(1), np.float32(4)),
        (V, 7 * V + 1),
        (np.int64(2), np.int64(9)),
        (np.float32(3.3), 10.0),
        (np.float64(2), np.ones((2, 2))),
    ]
    options = [
        {"num": num, "endpoint": endpoint, "axis": axis, "dtype": dtype}
        for num in (0, 1, 2, 5)
        for endpoint in (True, False)
        for axis in (0, -1)
        for dtype in (None, "float32", "int64")
    ]
    for start, stop in cases:
        graph = gl.trace(lambda a, stop=stop: [np.linspace(a, stop, **o) for o in options], start)
        results = gl.interpret(graph, start)
        for o, result in zip(options, results):
            expected = np.linspace(start, stop, **o)
            assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(result, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="num is 0 or more"):
        gl.trace(lambda a: np.linspace(a, 1.0, -1), np.float64(0))


def test_arrays_made_by_gradloom_numpy_take_traced_indices() -> None:
    def look_up(x: Any, i: Any) -> Any:
        table = gl.numpy.asarray(TABLE)
        return (
            table[i],
            table[i, 1],
            table[[i, 0]],
            table[x.astype("int64")],
            table.take(i, axis=0),
            np.take(table, i),
            (2 * table)[i],
            table[1:][i],
            gl.numpy.take(TABLE, i, axis=0),
            gl.numpy.arange(5)[i],
            gl.numpy.array([[1, 2], [3, 4]])[..., i],
            table @ x,
            np.stack([table[0], x]),
        )

    x, i = np.array([0.0, 1.0, 2.0]), np.int64(1)
    graph = gl.trace(look_up, x, i)
    index = x.astype("int64")
    expected = (
        TABLE[1],
        TABLE[1, 1],
        TABLE[[1, 0]],
        TABLE[index],
        TABLE[1],
        TABLE.flat[1],
        2 * TABLE[1],
        TABLE[2],
        TABLE[1],
        1,
        [2, 4],
        TABLE @ x,
        np.stack([TABLE[0], x]),
    )
    for result, wanted in zip(gl.interpret(graph, x, i), expected):
        np.testing.assert_array_equal(result, wanted)
    assert all(type(node.attrs.get("value")) is not KnownArray for node in graph.nodes)


def test_arrays_made_by_gradloom_numpy_are_numpy_arrays() -> None:
    def use(x: Any) -> Any:
        y = gl.numpy.zeros(3)
        y[1] = 5
        assert isinstance(y, np.ndarray)
        assert y.sum() == 5
        assert isinstance(y.max(), np.float64)
        assert y.tolist() == [0, 5, 0]
        with pytest.raises(gl.TracingError, match=r"cannot be assigned into a NumPy array.*test_misuse\.py"):
            y[0] = x[0]
        return x[gl.numpy.asarray([True, False, True])] + y[:2]

    np.testing.assert_array_equal(gl.compile(use)(V), [0, 7])
    assert type(gl.numpy.zeros(3)) is np.ndarray


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("foo", 1, "keep it in a variable"),
        ("shape", (2, 2), r"x = x\.reshape\(shape\)"),
        ("requires_grad", True, "gl.grad"),
    ],
)
def test_attributes_of_traced_arrays_that_are_assigned_name_what_to_write(name: str, value: Any, instead: str) -> None:
    def assigning(x: Any) -> Any:
        setattr(x, name, value)
        return x

    with pytest.raises(gl.TracingError, match=f"'{name}' of .* cannot be assigned; .*{instead}.*test_misuse"):
        gl.trace(assigning, gl.spec((4,), "float32"))


def test_an_index_beyond_a_shape_is_the_users_own_error() -> None:
    with pytest.raises(IndexError, match=r"^tuple index out of range$"):
        gl.trace(lambda x: x * x.shape[3], gl.spec((4,), "float32"))


@pytest.mark.parametrize(
    ("misuse", "instead"),
    [
        (lambda x: x.fill(0), "np.full_like"),
        (lambda x: np.add.at(x, [0], 1), r"x\.at\[indices\]\.add\(values\)"),
        (lambda x: x.__setitem__(0, 1), r"x\.at\[index\]\.set\(new\)"),
        (lambda x: np.putmask(x, x > 0, x), "np.where"),
        (lambda x: np.place(V, x > 0, 1), r"gl\.numpy\.place\(x, mask, vals, inplace=False\)"),
        (lambda x: np.copyto(V, x), "np.where"),
    ],
)
def test_what_writes_or_chooses_names_the_function_that_does_so(misuse: Callable[[Any], Any], instead: str) -> None:
    with pytest.raises((gl.TracingError, AttributeError), match=f"write .*{instead}.*, at .*test_misuse"):
        gl.trace(misuse, gl.spec((3,), "float32"))


@pytest.mark.parametrize(
    ("index", "instead"),
    [
        (lambda i: TABLE[:, i], r"asarray\(TABLE\)\[:, i\]"),
        (lambda i: TABLE.T[i], r"take\(TABLE.T, i, axis=0\)"),
        (lambda i: {"t": TABLE}["t"][i], r"gl.numpy.asarray\(\{'t': TABLE\}\['t'\]\)\[i\]"),
        (lambda i: np.eye(3)[i], r"take\(np.eye\(3\), i, axis=0\)"),
        (lambda i: V[i], r"take\(V, i\) or"),
        (lambda i: TABLE[: i[0]], "as the bound of a slice, which must be known while tracing"),
        (lambda i: TABLE[i[0] : i[1], 0], "as the bound of a slice"),
    ],
)
def test_an_index_into_an_array_of_numpy_is_told_wherever_the_array_is_held(
    index: Callable[[Any], Any], instead: str
) -> None:
    with pytest.raises(gl.TracingError, match=f"is an index into a NumPy array here.*{instead}.*, at .*test_misuse"):
        gl.trace(index, gl.spec((3,), "int64"))


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda x: np.sum(x, dim=0), "torch's dim=; write axis="),
        (lambda x: np.mean(x, axis=0, keepdim=True), "torch's keepdim=; write keepdims="),
        (lambda x: np.concatenate([x, x], dim=0), "torch's dim=; write axis="),
    ],
)
def test_arguments_of_torch_that_numpy_refuses_name_numpys(call: Callable[[Any], Any], instead: str) -> None:
    with pytest.raises(gl.TracingError, match=f"NumPy's functions do not take {instead}.*, at .*test_misuse"):
        gl.trace(call, gl.spec((3,), "float32"))


def test_what_a_loss_function_takes_for_an_array_is_told() -> None:
    def of_predictions(prediction: Any, target: Any) -> Any:
        return nn.mse_loss(prediction, target)

    def unpacking(model: Any, batch: Any) -> Any:
        x, y = batch
        return nn.mse_loss(model(x), y)

    batch = {"x": gl.spec((2, 3), "float32"), "y": gl.spec((2, 3), "float32")}
    for loss_fn, told in ((of_predictions, r"called with \(model, batch\)"), (unpacking, r"write batch\['x'\]")):
        with pytest.raises(TypeError, match=f"{told}.*, at .*test_misuse"):
            gl.plan_step(nn.Linear(3, 3), loss_fn, gl.optim.SGD(0.1), batch)
