"""Compiled functions: as NumPy computes them, one program for each signature, and nothing shared with the caller."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import optree
import pytest


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centered = x - x.mean(axis=-1, keepdims=True)
    return centered / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) * gain + shift


def attention(q: Any, k: Any, v: Any, heads: int = 4) -> Any:
    batch, length, width = q.shape

    def split(x: Any) -> Any:
        return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    q, k, v = split(q), split(k), split(v)
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(width // heads)
    future = np.triu(np.ones((length, length), bool), 1)
    return (softmax(np.where(future, -1e9, scores)) @ v).transpose(0, 2, 1, 3).reshape(batch, length, width)


def floats(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def numbers(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    if dtype.startswith("float"):
        return floats(dtype, *shapes)
    return [rng.integers(-9, 9, shape).astype(dtype) for shape in shapes]


def assert_as_numpy(fn: Callable[..., Any], *args: Any) -> None:
    expected, actual = fn(*args), gl.compile(fn, threads=2)(*args)
    # A float64 result of float32 operands has the digits of these.
    narrow = any(np.asarray(arg).dtype == np.float32 for arg in args)
    tolerances = {"float32": 3e-5, "float64": 3e-5 if narrow else 1e-11}
    assert optree.tree_structure(actual) == optree.tree_structure(expected)
    for got, wanted in zip(optree.tree_leaves(actual), map(np.asarray, optree.tree_leaves(expected))):
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        assert got.flags.owndata
        tolerance = tolerances.get(str(wanted.dtype), 0)
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


FLOAT_FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "softmax": (softmax, ((7, 33),)),
    "layer norm": (layer_norm, ((6, 40), (40,), (40,))),
    "attention": (attention, ((2, 8, 16),) * 3),
    "element-wise": (lambda x: np.where(x > 0, np.log1p(abs(x)), np.tanh(x) * 2) - x**2, ((50,),)),
    "statistics": (lambda x: (x.mean(), x.std(axis=0), x.prod(axis=1), x.argmax(axis=1)), ((5, 6),)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FLOAT_FUNCTIONS)
def test_functions_of_floats(name: str, dtype: str):
    fn, shapes = FLOAT_FUNCTIONS[name]
    assert_as_numpy(fn, *floats(dtype, *shapes))


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "slices": (lambda x: {"a": x[1:4, ::2], "b": x[..., -1], "c": x[None, 2], "d": x[::-1]}, ((6, 7),)),
    "cumsum": (lambda x: np.cumsum(x, axis=1), ((4, 9),)),
    "concatenate": (lambda x, y: np.concatenate([x, y, x], axis=1), ((4, 9), (4, 2))),
    "pad": (lambda x: np.pad(x, ((1, 2), (0, 3)), constant_values=4), ((4, 5),)),
    "reductions": (lambda x: [x.sum(), x.max(axis=0), x.min(axis=1, keepdims=True), x.sum(axis=(0, 1))], ((4, 5),)),
    "matmul": (lambda x, y: x @ y, ((4, 5), (5, 3))),
    "einsum": (lambda x, y: np.einsum("bij,bjk->bik", x, y), ((2, 3, 4), (2, 4, 5))),
    "arithmetic": (
        lambda x, y: (x + y * 2 - 3, x // (abs(y) + 1), x % 7, np.maximum(x, y), np.sign(x)),
        ((4, 5), (5,)),
    ),
    "division": (lambda x, y: x / (y * y + 1), ((4, 5), (5,))),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dtype: str):
    fn, shapes = FUNCTIONS[name]
    assert_as_numpy(fn, *numbers(dtype, *shapes))


@pytest.mark.parametrize("index_dtype", ["int32", "int64", "uint8"])
def test_gather(index_dtype: str):
    low = 0 if index_dtype == "uint8" else -6
    index = np.random.default_rng(0).integers(low, 6, (3, 2)).astype(index_dtype)
    assert_as_numpy(lambda x, i: (x[i], np.take(x, i, axis=1), x[i, 0]), *floats("float32", (6, 7)), index)


# ---- derivatives


def test_gradient_of_a_compiled_gradient_agrees_with_differences():
    def f(x: Any) -> Any:
        return np.sum(np.sin(x) * x**3)

    gradient = gl.compile(gl.grad(f))
    product = gl.compile(lambda x, v: gl.grad(lambda y: np.sum(gl.grad(f)(y) * v))(x))
    x, v = floats("float64", (5,), (5,))
    np.testing.assert_allclose(gradient(x), np.cos(x) * x**3 + 3 * np.sin(x) * x**2, rtol=1e-12)
    step = 1e-5
    differences = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    np.testing.assert_allclose(product(x, v), differences, rtol=1e-6)


def test_gradient_of_a_pytree():
    (x,) = floats("float32", (8, 3))
    parameters = {"w": np.ones((3, 2), "float32"), "b": [np.zeros(2, "float32")]}
    both = gl.value_and_grad(lambda p, x: np.mean((x @ p["w"] + p["b"][0]) ** 2))
    value, gradient = gl.compile(both)(parameters, x)
    expected_value, expected = both(parameters, x)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    assert gradient.keys() == expected.keys()
    np.testing.assert_allclose(gradient["w"], expected["w"], rtol=1e-5)
    np.testing.assert_allclose(gradient["b"][0], expected["b"][0], rtol=1e-5)


def test_attention_has_the_same_gradient_compiled():
    args = floats("float64", (2, 6, 8), (2, 6, 8), (2, 6, 8))
    gradient = gl.grad(lambda q, k, v: np.sum(attention(q, k, v) ** 2), argnums=(0, 1, 2))
    for got, wanted in zip(gl.compile(gradient)(*args), gradient(*args), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


# ---- signatures


class Counted:
    """Counts how often it is traced."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, x: Any, k: Any = 1) -> Any:
        self.traces += 1
        return x * k


def test_one_program_for_each_shape_and_dtype():
    fn = Counted()
    f = gl.compile(fn)
    (x,) = floats("float32", (6, 4))
    for _ in range(3):
        f(x)
    f(np.asfortranarray(x))
    f(x.astype(">f4"))
    assert fn.traces == 1
    f(x[1:])
    f(x.astype("float64"))
    assert fn.traces == 3
    f(x[:-1])
    assert fn.traces == 3


def test_numbers_are_part_of_the_program():
    fn = Counted()
    f = gl.compile(fn)
    x = np.arange(3, dtype="int64")
    assert f(x, 2).tolist() == [0, 2, 4]
    assert f(x, 3).tolist() == [0, 3, 6]
    assert f(x, 2).tolist() == [0, 2, 4]
    assert fn.traces == 2
    assert [f(x, k).dtype for k in (1, 1.0, np.float32(1))] == ["int64", "float64", "float64"]
    assert fn.traces == 5


def test_zeros_of_both_signs_make_two_programs():
    f = gl.compile(lambda x, zero: x * zero)
    x = np.ones(1)
    assert not np.signbit(f(x, 0.0)[0])
    assert np.signbit(f(x, -0.0)[0])


def test_a_nan_makes_one_program():
    fn = Counted()
    f = gl.compile(fn)
    assert np.isnan(f(np.ones(2), float("nan"))).all()
    f(np.ones(2), float("nan"))
    assert fn.traces == 1


def test_keyword_arguments_strings_and_none():
    f = gl.compile(lambda x, y=None, *, how="sum": getattr(x if y is None else x + y, how)())
    x = np.arange(4.0)
    assert f(x) == 6
    assert f(x, how="mean") == 1.5
    assert f(x, None) == 6
    assert f(x, y=x) == 12


def test_what_cannot_be_hashed_is_refused():
    f = gl.compile(lambda x, names: x)
    with pytest.raises(TypeError, match=r"<lambda> was given a set, which is no array and has no hash"):
        f(np.ones(2), {"a"})


def test_constants_are_those_of_the_first_call():
    table = np.arange(3.0)
    f = gl.compile(lambda x: (x + table, table, 2.5, True))
    first = f(np.ones(3))
    assert [leaf.tolist() for leaf in first] == [[1, 2, 3], [0, 1, 2], 2.5, True]
    first[1][:] = 99
    table[:] = 99
    assert [leaf.tolist() for leaf in f(np.ones(3))] == [[1, 2, 3], [0, 1, 2], 2.5, True]


def test_arguments_and_results_may_be_pytrees():
    f = gl.compile(lambda d, pair: {"sum": d["a"] + pair[0], "both": (d["a"], [pair[1]]), "none": None})
    a, b, c = (np.full(2, float(i)) for i in range(3))
    result = f({"a": a}, (b, c))
    assert result["none"] is None
    assert [leaf.tolist() for leaf in optree.tree_leaves(result)] == [[0, 0], [2, 2], [1, 1]]
    assert gl.compile(lambda x: None)(a) is None


# ---- inputs


def _misaligned(x: np.ndarray) -> np.ndarray:
    bytes_ = np.zeros(x.nbytes + 1, np.uint8)
    result = bytes_[1:].view(x.dtype).reshape(x.shape)
    result[...] = x
    assert not result.flags.aligned
    return result


def _read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x[::2, ::3],
        lambda x: x[::-1],
        lambda x: x.T,
        np.asfortranarray,
        lambda x: np.broadcast_to(x[0], (5, 8)),
        _misaligned,
        _read_only,
        lambda x: x.astype(">f4"),
        lambda x: x.view(type("Mine", (np.ndarray,), {})),
        lambda x: x[:0],
        lambda x: x[:, :0],
        lambda x: x[0, 0],
        lambda x: x[0, :1].reshape(()),
    ],
    ids=lambda f: f.__name__,
)
def test_arrays_of_any_layout(layout: Callable[[np.ndarray], np.ndarray]):
    (x,) = floats("float32", (6, 8))
    given = layout(x)
    before = given.tobytes()
    double, total = gl.compile(lambda x: (x * 2 + 1, x.sum()))(given)
    assert type(double) is np.ndarray
    np.testing.assert_array_equal(double, np.asarray(given) * 2 + 1)
    np.testing.assert_allclose(total, np.asarray(given, "float64").sum(), rtol=1e-5, atol=1e-5)
    assert double.dtype == "float32"
    assert given.tobytes() == before


@pytest.mark.parametrize("dtype", ["float16", "complex256", "object", "uint16", "U3", "datetime64[s]"])
def test_an_unsupported_dtype_is_named(dtype: str):
    f = gl.compile(lambda batch, scale: batch["x"] * scale)
    with pytest.raises(TypeError, match=r"batch\.x is .*, which is not supported; write batch\.x\.astype\(.*float32"):
        f({"x": np.zeros(3, dtype)}, np.ones(3))


def test_not_a_number_passes():
    double, total = gl.compile(lambda x: (x * 2, x.sum()))(np.array([np.nan, np.inf, 1]))
    np.testing.assert_array_equal(double, [np.nan, np.inf, 2])
    assert np.isnan(total)


# ---- results


def test_results_share_no_memory():
    def fn(x: Any) -> Any:
        y = x + 1
        return y, y, x, x, x.T, x[1:], y.reshape(-1)

    (x,) = floats("float32", (4, 4))
    f = gl.compile(fn)
    arrays = [x, *f(x), *f(x)]
    for i, a in enumerate(arrays):
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in arrays[:i])
    for got, wanted in zip(arrays[1:], fn(x)):
        np.testing.assert_array_equal(got, wanted)


def test_arguments_and_results_are_not_held():
    f = gl.compile(lambda x: x + 1)
    x = np.ones(1000)
    result = f(x)
    held = weakref.ref(x), weakref.ref(result)
    del x, result
    gc.collect()
    assert held[0]() is None
    assert held[1]() is None


def test_the_bits_do_not_depend_on_the_number_of_threads():
    (x,) = floats("float32", (300, 400))
    results = [
        gl.compile(lambda x: (softmax(x @ x.T), np.tanh(x).sum(axis=0), (x * x).sum()), threads=threads)(x)
        for threads in (1, 2, 3, 4)
    ]
    for other in results[1:]:
        assert [leaf.tobytes() for leaf in other] == [leaf.tobytes() for leaf in results[0]]


# ---- errors, and where it is called


@pytest.mark.parametrize("fn", [lambda x, i: x[i], lambda x, i: np.take(x, i, axis=1) + 1], ids=["getitem", "take"])
def test_an_index_out_of_range_names_the_line(fn: Callable[..., Any]):
    f = gl.compile(fn)
    (x,) = floats("float32", (6, 6))
    with pytest.raises(IndexError, match=r"out of range for 6 entries at .*test_compile\.py:\d+"):
        f(x, np.array([1, 6]))
    with pytest.raises(IndexError, match="indices run from -6 to 5"):
        f(x, np.array([-7, 1]))
    np.testing.assert_array_equal(f(x, np.array([5, -6])), fn(x, np.array([5, -6])))


def test_a_failed_trace_leaves_the_function_usable():
    f = gl.compile(lambda x, y: x @ y)
    a, b = floats("float32", (3, 4), (4, 2))
    with pytest.raises(gl.ShapeError, match=r"test_compile\.py:\d+"):
        f(a, a)
    np.testing.assert_allclose(f(a, b), a @ b, rtol=1e-5)


def test_a_branch_on_a_value_is_refused():
    f = gl.compile(lambda x: x if x > 0 else -x)
    with pytest.raises(gl.TracingError, match=r"write np\.where"):
        f(np.float32(3))


def test_a_spec_is_refused():
    with pytest.raises(TypeError, match=r"got a spec; .* np\.zeros"):
        gl.compile(lambda x: x)(gl.spec((3,)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads is a whole number of 1 or more"),
        ({"threads": 1.5}, ValueError, "threads is a whole number of 1 or more"),
        ({"threads": True}, ValueError, "threads is a whole number of 1 or more"),
        ({"fn": 3}, TypeError, "compile takes a function, got int"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        gl.compile(**{"fn": abs, **options})


def test_inside_a_trace_it_becomes_part_of_it():
    inner = gl.compile(lambda x: np.tanh(x) * 2)
    (x,) = floats("float64", (5,))
    assert "tanh" in str(gl.trace(lambda x: inner(x) + 1, x))
    np.testing.assert_allclose(gl.grad(lambda x: inner(x).sum())(x), 2 / np.cosh(x) ** 2, rtol=1e-12)
    # With arrays that are not traced, and a closure over one that is.
    outer = gl.compile(lambda y: gl.compile(lambda z: z + y)(np.ones(5)))
    np.testing.assert_array_equal(outer(x), x + 1)


def test_it_looks_like_the_function():
    def my_function(x: Any) -> Any:
        """Its docstring."""
        return x

    f = gl.compile(my_function)
    assert f.__name__ == "my_function"
    assert f.__doc__ == "Its docstring."
    assert f.__wrapped__ is my_function
