"""Traced NumPy code gives what NumPy gives: values, shapes and dtypes, for every function of the namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
import scipy.special
from like_numpy import check

RNG = np.random.default_rng(7)


def floats(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def positive(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.uniform(0.1, 2.0, size=shape).astype(dtype)


def unit(*shape: int) -> np.ndarray:
    return RNG.uniform(-0.9, 0.9, size=shape).astype("float32")


def ints(*shape: int, dtype: str = "int64", low: int = -5, high: int = 6) -> np.ndarray:
    return RNG.integers(low, high, size=shape).astype(dtype)


def bools(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2, size=shape).astype(bool)


UNARY = {
    "abs": floats,
    "sign": floats,
    "square": floats,
    "negative": floats,
    "positive": floats,
    "exp": floats,
    "exp2": floats,
    "expm1": floats,
    "log": positive,
    "log2": positive,
    "log10": positive,
    "log1p": positive,
    "sqrt": positive,
    "reciprocal": positive,
    "sin": floats,
    "cos": floats,
    "tan": unit,
    "arcsin": unit,
    "arccos": unit,
    "arctan": floats,
    "sinh": floats,
    "cosh": floats,
    "tanh": floats,
    "arcsinh": floats,
    "arctanh": unit,
    "floor": floats,
    "ceil": floats,
    "trunc": floats,
    "rint": floats,
    "isnan": floats,
    "isinf": floats,
    "isfinite": floats,
    "logical_not": floats,
    "deg2rad": floats,
    "rad2deg": floats,
    "radians": floats,
    "degrees": floats,
    "nan_to_num": floats,
    "round": floats,
    "fabs": floats,
    "fix": floats,
    "absolute": floats,
    "conj": floats,
    "real": floats,
}


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (2, 1, 3)])
@pytest.mark.parametrize("name", UNARY)
def test_unary_function(name: str, shape: tuple[int, ...]) -> None:
    check(getattr(np, name), UNARY[name](*shape))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", [n for n in UNARY if n not in ("reciprocal",)])
def test_unary_function_of_integers(name: str, dtype: str) -> None:
    arrays = ints(3, 2, dtype=dtype, low=1) if UNARY[name] is not unit else ints(3, 2, dtype=dtype, low=0, high=1)
    check(getattr(np, name), arrays)


BINARY = {
    "add": floats,
    "subtract": floats,
    "multiply": floats,
    "divide": positive,
    "true_divide": positive,
    "arctan2": floats,
    "floor_divide": positive,
    "remainder": positive,
    "mod": positive,
    "fmod": positive,
    "power": positive,
    "float_power": positive,
    "maximum": floats,
    "minimum": floats,
    "fmax": floats,
    "fmin": floats,
    "hypot": floats,
    "logaddexp": floats,
    "equal": ints,
    "not_equal": ints,
    "less": ints,
    "less_equal": ints,
    "greater": ints,
    "greater_equal": ints,
    "logical_and": ints,
    "logical_or": ints,
    "logical_xor": ints,
    "heaviside": floats,
    "bitwise_and": ints,
    "bitwise_or": ints,
    "bitwise_xor": ints,
    "isclose": floats,
    "divmod": positive,
}


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((0, 2), (2,)), ((2, 3, 4), (3, 1))])
@pytest.mark.parametrize("name", BINARY)
def test_binary_function(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check(getattr(np, name), *(BINARY[name](*shape) for shape in shapes))


DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("second", [*DTYPES, 2, 2.5, True, np.float32(2), np.float64(2), np.int64(2)], ids=str)
@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("name", ["add", "multiply", "true_divide", "maximum", "less", "power", "arctan2", "where"])
def test_promotion_is_numpys(name: str, first: str, second: Any) -> None:
    x = np.array([1, 1, 0, 1]).astype(first)
    y = np.array([1, 1, 1, 1]).astype(second) if isinstance(second, str) else second
    function = (lambda x, y: np.where(x > 0, x, y)) if name == "where" else getattr(np, name)
    result = function(x, y).dtype
    if result == np.int8:
        with pytest.raises(TypeError, match="int8"):
            gl.trace(function, x, y)
        return
    check(function, x, y, same_dtype=result != np.float16)
    if result == np.float16:
        assert gl.trace(function, x, y).outputs[0].type.dtype == np.float32


def test_float16_results_of_small_integers_become_float32() -> None:
    assert gl.trace(np.sqrt, np.ones(3, "uint8")).outputs[0].type == gl.spec(3, "float32")
    functions = (np.deg2rad, np.rad2deg, np.radians, np.degrees, np.hypot, np.logaddexp, np.heaviside, np.exp2, np.fabs)
    for x in (np.array([0, 1, 90], "uint8"), np.array([False, True])):
        for f in functions:
            arguments = (x,) * f.nin
            (result,) = gl.interpret(gl.trace(f, *arguments), *arguments)
            assert result.dtype == "float32", f
            np.testing.assert_allclose(result, f(*(a.astype("float32") for a in arguments)), 1e-6)
    (result,) = gl.interpret(gl.trace(np.round, np.array([False, True])), np.array([False, True]))
    assert result.dtype == "float32"
    assert list(result) == [0, 1]
    assert gl.trace(np.tanh, np.ones(3, "bool")).outputs[0].type == gl.spec(3, "float32")


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 5, -1, -2, 0.5, -0.5, 1.5, np.float32(2)])
def test_powers_known_while_tracing(exponent: Any) -> None:
    check(lambda x: x**exponent, positive(3, 4))
    check(lambda x: x**exponent, positive(3, 4, dtype="float64"))
    if exponent in (0, 1, 2, 3, 4, 5):
        check(lambda x: x**exponent, ints(3, 4, dtype="int32"))


def test_comparison_with_an_integer_that_the_dtype_cannot_hold() -> None:
    check(lambda x: (x < 300, x > -1, 300 == x), ints(4, dtype="uint8", low=0))  # noqa: SIM300


def test_values_that_are_not_finite() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], "float32")
    y = np.array([1.0, np.inf, -np.inf, np.nan, 2.0, np.inf], "float32")
    for name in ("isnan", "isinf", "isfinite", "nan_to_num", "sign", "abs"):
        check(getattr(np, name), x)
    for name in ("fmax", "fmin", "maximum", "minimum", "logaddexp", "isclose"):
        check(getattr(np, name), x, y)
    check(lambda x: gnp.logsumexp(x), np.array([-np.inf, -np.inf], "float32"))
    check(lambda x: gnp.logsumexp(x), np.array([np.inf, 1.0], "float32"))


M, N = floats(3, 4), floats(4, 5)
CUBE = floats(2, 3, 4)
VECTOR = floats(4)


def calling(name: str, *rest: Any, **options: Any) -> Callable[..., Any]:
    return lambda x: getattr(np, name)(x, *rest, **options)


CALLS: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    # Operators.
    ("operators", lambda x, y: (x + y, x - y, x * y, x / y, x // y, x % y, -x, +x, abs(x)), (positive(3), positive(3))),
    ("reflected operators", lambda x: (1 + x, 1 - x, 2 * x, 1 / x, 7 // x, 7 % x, 2**x), (positive(3),)),
    ("comparison operators", lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y), (ints(9), ints(9))),
    ("bit operators", lambda x, y: (x & y, x | y, x ^ y, ~x, x << 2, x >> 1, 1 | x, 1 << abs(y)), (ints(9), ints(9))),
    ("logic operators", lambda x, y: (x & y, x | y, x ^ y, ~x), (bools(9), bools(9))),
    ("array on the left", lambda x: (M @ x, M.T + x, np.float32(2) * x, M[0] - x[:, 0]), (floats(4, 3),)),
    ("divmod", lambda x: divmod(x, 2), (ints(5),)),
    ("in place", lambda x: _in_place(x), (floats(3),)),
    ("iteration", lambda x: sum(row * i for i, row in enumerate(x)), (M,)),
    ("len", lambda x: x * len(x), (M,)),
    # Selection.
    ("where broadcasts", lambda c, x: np.where(c, x, 0), (bools(4), M)),
    ("where of numbers", lambda c: np.where(c, 1.0, 0.0), (floats(4),)),
    ("clip", lambda x: np.clip(x, -0.5, 0.5), (M,)),
    ("clip one side", lambda x: (np.clip(x, None, 0), np.clip(x, 0, None), x.clip(0)), (M,)),
    ("clip by names", lambda x: np.clip(x, min=-1, max=1), (ints(5),)),
    ("clip promotes", lambda x: np.clip(x, 0.5, 2), (ints(5, dtype="int32"),)),
    ("clip beyond the dtype", lambda x: (np.clip(x, -1, 3), np.clip(x, 2, 300)), (ints(5, dtype="uint8"),)),
    ("clip by arrays", lambda x, y: np.clip(x, y, y + 1), (M, VECTOR)),
    # Reductions.
    *(
        (f"{name} {options}", calling(name, **options), (CUBE,))
        for name in ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "count_nonzero", "ptp")
        for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": (2, 1)})
    ),
    *(
        (f"{name} of {dtype}", calling(name, axis=1), (ints(3, 4, dtype=dtype, low=0),))
        for name in ("sum", "prod", "mean", "var", "max", "min", "any", "argmax", "cumsum", "cumprod", "amax", "amin")
        for dtype in ("bool", "int32", "int64")
    ),
    ("reduction methods", lambda x: (x.sum(0), x.prod(1), x.mean(), x.var(ddof=1), x.std(0), x.max(), x.min(1)), (M,)),
    ("logic methods", lambda x: ((x > 0).any(), (x > 0).all(0), (x > 0).any(1, keepdims=True)), (M,)),
    ("var with correction", lambda x: np.var(x, axis=0, correction=1), (M,)),
    ("sum dtype", lambda x: np.sum(x, dtype="float64"), (M,)),
    ("sum over no axes", lambda x: np.sum(x, axis=()), (M,)),
    ("empty sum", lambda x: (np.sum(x), np.prod(x), np.any(x), np.all(x), np.sum(x, axis=1)), (floats(3, 0),)),
    (
        "argmax",
        lambda x: (np.argmax(x), np.argmin(x), np.argmax(x, 1), x.argmin(0), np.argmax(x, axis=1, keepdims=True)),
        (M,),
    ),
    ("argmax keeps dims", lambda x: np.argmax(x, keepdims=True), (M,)),
    ("cumsum", lambda x: (np.cumsum(x), np.cumsum(x, 0), x.cumsum(axis=-1)), (M,)),
    ("cumulative_sum", lambda x: np.cumulative_sum(x, axis=1, include_initial=True), (M,)),
    ("cumprod", lambda x: (np.cumprod(x), np.cumprod(x, 0), x.cumprod(axis=-1)), (M,)),
    ("cumulative_prod", lambda x: np.cumulative_prod(x, axis=1, include_initial=True), (M,)),
    ("sort", lambda x: (np.sort(x), np.sort(x.T), np.sort(x[::-1, ::2], 0), np.sort(x, None), np.sort(x[0])), (M,)),
    ("argsort", lambda x: (np.argsort(x), x.argsort(0, "stable"), np.argsort(x[:, ::-1], axis=None)), (M,)),
    ("median", lambda x: (np.median(x), np.median(x, axis=(0, 2)), np.median(x, 1, keepdims=True)), (CUBE,)),
    (
        "average",
        lambda x, w: (np.average(x), np.average(x, axis=1, weights=w), np.average(x, weights=x)),
        (M, positive(4)),
    ),
    ("norm", lambda x: (np.linalg.norm(x), np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=0, keepdims=True)), (M,)),
    ("norm orders", lambda x: [np.linalg.norm(x, ord=o) for o in (None, 1, 2, 3, np.inf, -np.inf)], (VECTOR,)),
    ("linalg", lambda x: (np.linalg.diagonal(x, offset=1), np.linalg.trace(x), np.linalg.matrix_transpose(x)), (CUBE,)),
    (
        "vector_norm",
        lambda x: (np.linalg.vector_norm(x), np.linalg.vector_norm(x, axis=1, keepdims=True, ord=1)),
        (CUBE,),
    ),
    ("ufunc reduce", lambda x: (np.add.reduce(x), np.maximum.reduce(x, axis=1), np.add.reduce(x, axis=None)), (M,)),
    ("ufunc outer", lambda x, y: (np.multiply.outer(x, y), np.subtract.outer(x, y)), (VECTOR, M)),
    ("ufunc accumulate", lambda x: (np.add.accumulate(x, axis=1), np.multiply.accumulate(x)), (M,)),
    ("ufunc dtype", lambda x: np.add(x, 1, dtype="float64"), (M,)),
    # Products.
    ("matmul", lambda x, y: x @ y, (M, N)),
    ("matmul vectors", lambda x, y: (x @ y[:, 0], y[:, 0] @ y, y[:, 0] @ y[:, 1]), (M, N)),
    ("matmul batch", lambda x, y: x @ y, (floats(2, 3, 4), floats(2, 4, 5))),
    ("matmul broadcast left", lambda x, y: x @ y, (M, floats(2, 4, 5))),
    ("matmul broadcast right", lambda x, y: x @ y, (floats(6, 2, 3, 4), floats(2, 4, 5))),
    ("matmul of length 1", lambda x, y: x @ y, (floats(1, 2, 3, 4), floats(6, 1, 4, 5))),
    ("matmul batch vector", lambda x, y: (x @ y, y @ np.swapaxes(x, -1, -2)), (CUBE, VECTOR)),
    ("matmul integers", lambda x, y: x @ y, (ints(2, 3, dtype="int32"), ints(3, 2))),
    ("matmul bools", lambda x, y: x @ y, (bools(3, 4), bools(4, 2))),
    ("matmul empty", lambda x, y: x @ y, (floats(3, 0), floats(0, 2))),
    ("matmul promotes", lambda x, y: x @ y, (M, floats(4, 2, dtype="float64"))),
    ("dot", lambda x, y: (np.dot(x, y), x.dot(y), np.dot(y[:, 0], y[:, 1]), np.dot(x, 2)), (M, N)),
    ("dot of more axes", lambda x, y: np.dot(x, y), (floats(2, 3, 4), floats(5, 4, 6))),
    ("inner outer vdot", lambda x, y: (np.inner(x, x), np.outer(x, y), np.vdot(x, x), np.inner(x[0], 2)), (M, VECTOR)),
    (
        "tensordot",
        lambda x, y: (np.tensordot(x, y, 1), np.tensordot(x, y, axes=([1, 2], [0, 2]))),
        (floats(2, 4, 4), floats(4, 3, 4)),
    ),
    ("tensordot outer", lambda x, y: np.tensordot(x, y, 0), (VECTOR, floats(3))),
    ("vecdot", lambda x, y: (np.vecdot(x, y), np.linalg.vecdot(x, y, axis=-1)), (CUBE, floats(3, 4))),
    ("kron", lambda x, y: (np.kron(x, y), np.kron(x, y[0])), (floats(2, 3), floats(3, 2))),
    # Shape.
    ("reshape", lambda x: (x.reshape(4, 3), x.reshape((2, -1)), np.reshape(x, -1), x.reshape(12).reshape(3, 4)), (M,)),
    ("ravel", lambda x: (np.ravel(x), x.flatten(), x.T.ravel()), (M,)),
    (
        "transpose",
        lambda x: (x.T, np.transpose(x, (1, 2, 0)), x.transpose(0, 2, 1), x.mT, np.permute_dims(x, (2, 0, 1))),
        (CUBE,),
    ),
    ("swapaxes", lambda x: (np.swapaxes(x, 0, -1), x.swapaxes(1, 2), np.matrix_transpose(x)), (CUBE,)),
    ("moveaxis", lambda x: (np.moveaxis(x, 0, -1), np.moveaxis(x, [0, 1], [-1, 0])), (CUBE,)),
    ("squeeze", lambda x: (np.squeeze(x), x.squeeze(0), np.squeeze(x, axis=(0, 2))), (floats(1, 3, 1),)),
    ("expand_dims", lambda x: (np.expand_dims(x, 0), np.expand_dims(x, (0, -1))), (M,)),
    (
        "atleast",
        lambda x, y: (np.atleast_1d(x), np.atleast_2d(x), np.atleast_2d(y), np.atleast_1d(x, y)),
        (floats(), VECTOR),
    ),
    ("broadcast_to", lambda x: (np.broadcast_to(x, (3, 4)), np.broadcast_to(x[:, None], (2, 4, 5))), (VECTOR,)),
    ("broadcast_arrays", lambda x, y: np.broadcast_arrays(x, y[:, None], 1.5), (VECTOR, floats(3))),
    ("size 1 axes", lambda x, y: x + y, (floats(1, 3, 1), floats(2, 1, 4))),
    # Order.
    ("flip", lambda x: (np.flip(x), np.flip(x, 1), np.fliplr(x), np.flipud(x)), (M,)),
    ("roll", lambda x: (np.roll(x, 1), np.roll(x, -2, 1), np.roll(x, (1, 2), (0, 1)), np.roll(x, 7, axis=0)), (M,)),
    ("rot90", lambda x: [np.rot90(x, k) for k in range(-1, 4)], (M,)),
    # Joining.
    (
        "concatenate",
        lambda x, y: (np.concatenate([x, x], 1), np.concat([x, M]), np.concatenate((x, y), axis=None)),
        (M, VECTOR),
    ),
    ("concatenate promotes", lambda x, y: np.concatenate([x, y]), (VECTOR, ints(3))),
    ("concatenate empty", lambda x, y: np.concatenate([x, y], axis=1), (M, floats(3, 0))),
    (
        "stack",
        lambda x, y: (np.stack([x, y]), np.stack([x, y], axis=-1), np.hstack([x, y]), np.vstack([x, y])),
        (M, floats(3, 4)),
    ),
    ("stack vectors", lambda x: (np.hstack([x, x]), np.vstack([x, x]), np.column_stack([x, x])), (VECTOR,)),
    ("split", lambda x: (np.split(x, 2, axis=1), np.array_split(x, 3, axis=1), np.split(x, [1, 3], 1)), (M,)),
    ("unstack", lambda x: np.unstack(x, axis=1), (M,)),
    # Repeating.
    ("tile", lambda x: (np.tile(x, 2), np.tile(x, (2, 1, 3)), np.tile(x[0], (2, 2))), (M,)),
    ("repeat", lambda x: (np.repeat(x, 2), x.repeat(3, axis=1), np.repeat(x, [1, 0, 2], axis=0)), (M,)),
    ("pad", lambda x: (np.pad(x, 1), np.pad(x, ((1, 2), (0, 3)), constant_values=2.5)), (M,)),
    ("pad with several values", lambda x: np.pad(x, ((1, 2), (2, 1)), constant_values=((1, 2), (3, 4))), (M,)),
    *(
        (f"pad {mode}", calling("pad", ((1, 2), (3, 0)), mode), (floats(4, 5),))
        for mode in ("edge", "reflect", "symmetric", "wrap")
    ),
    # Diagonals and triangles.
    ("diagonal", lambda x: [np.diagonal(x, k) for k in range(-4, 6)], (M,)),
    (
        "diagonal axes",
        lambda x: (np.diagonal(x, 0, 0, 2), x.diagonal(1, 1, 2), np.diagonal(x, axis1=2, axis2=0)),
        (CUBE,),
    ),
    ("diag", lambda x, y: (np.diag(x), np.diag(x, 1), np.diag(y), np.diag(y, 2), np.diag(y, -1)), (M, VECTOR)),
    ("diag of one", lambda x: (np.diag(x), np.diag(x, 1)), (floats(1),)),
    ("trace", lambda x: (np.trace(x), x.trace(1)), (M,)),
    ("tril", lambda x: (np.tril(x), np.triu(x), np.tril(x, -1), np.triu(x, 2)), (floats(2, 4, 3),)),
    ("diff", lambda x: (np.diff(x), np.diff(x, 2, axis=0), np.diff(x, axis=1, prepend=0)), (M,)),
    ("meshgrid", lambda x, y: (np.meshgrid(x, y), np.meshgrid(x, y, indexing="ij")), (VECTOR, floats(3))),
    # Creation.
    (
        "like",
        lambda x: (
            np.zeros_like(x),
            np.ones_like(x, dtype="int64"),
            np.full_like(x, 2.5),
            np.zeros_like(x, shape=(2,)),
        ),
        (M,),
    ),
    ("astype", lambda x: (x.astype("int32"), x.astype("bool"), x.astype(np.float64), np.astype(x, np.int64)), (M,)),
    ("copy", lambda x: (x.copy(), np.copy(x)), (M,)),
    ("cast to itself", lambda x: x.astype("float32"), (M,)),
    # Taking.
    ("take", lambda x: (np.take(x, [2, 0]), x.take([[0, -1]], axis=1), np.take(x, 1, 0)), (M,)),
    ("take modes", lambda x: (np.take(x, [7, -9], mode="wrap"), np.take(x, [7, -9], axis=1, mode="clip")), (M,)),
    ("take traced", lambda x, i: (np.take(x, i, axis=0), x[i], np.take(x, i)), (M, ints(2, 2, low=-3, high=3))),
    (
        "take_along_axis",
        lambda x, i: (np.take_along_axis(x, i, 1), np.take_along_axis(x, i[:1], axis=-1)),
        (M, ints(3, 2, low=-4, high=4)),
    ),
    ("take_along_axis first", lambda x, i: np.take_along_axis(x, i, axis=0), (M, ints(2, 4, low=0, high=3))),
    (
        "take_along_axis rows",
        lambda x, i: (np.take_along_axis(x, i[:, :, None], 1), np.take_along_axis(x[:1], i[:, :, None], axis=1)),
        (floats(2, 3, 4), ints(2, 5, low=0, high=3)),
    ),
    ("take_along_axis flat", lambda x, i: np.take_along_axis(x, i, axis=None), (M, ints(5, low=0, high=12))),
    # Other libraries' ufuncs.
    ("scipy", lambda x: (scipy.special.erf(x), scipy.special.expit(x)), (M,)),
]


def _in_place(x: Any) -> Any:
    x = x + 0
    x += 1
    x *= 2
    return x


@pytest.mark.parametrize(("function", "arrays"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_call(function: Callable[..., Any], arrays: tuple[Any, ...]) -> None:
    check(function, *arrays)


@pytest.mark.parametrize(("function", "arrays"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_call_on_arrays_that_are_not_contiguous(function: Callable[..., Any], arrays: tuple[Any, ...]) -> None:
    check(function, *(np.repeat(a, 2, -1)[..., ::2] if a.ndim else a for a in arrays))


def test_logsumexp_is_scipys() -> None:
    for kw in ({}, {"axis": 1}, {"axis": (0, 2), "keepdims": True}):
        graph = gl.trace(lambda x, kw=kw: gnp.logsumexp(x * 50, **kw), CUBE)
        np.testing.assert_allclose(gl.interpret(graph, CUBE)[0], scipy.special.logsumexp(CUBE * 50, **kw), rtol=1e-6)


def test_sum_of_uint8_is_int64() -> None:
    assert gl.trace(np.sum, np.ones(300, "uint8")).outputs[0].type == gl.spec((), "int64")


NAMES_OF_THE_STANDARD = """
abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh bitwise_and
bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_arrays broadcast_to ceil clip
concat cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e empty empty_like equal exp expand_dims expm1
eye flip floor floor_divide full full_like greater greater_equal hypot inf isfinite isinf isnan less less_equal linspace
log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum mean
meshgrid min minimum moveaxis multiply nan negative newaxis not_equal ones ones_like permute_dims pi positive pow prod
reciprocal remainder repeat reshape roll round sign sin sinh sort sqrt square squeeze stack std subtract sum take
take_along_axis tan tanh tensordot tile tril triu trunc unstack var vecdot where zeros zeros_like bool uint8 int32 int64
float32 float64 complex64 complex128 imag real conj copysign from_dlpack isdtype nextafter signbit can_cast finfo
iinfo result_type
"""


def test_namespace_has_the_names_of_the_array_api_standard() -> None:
    missing = [name for name in NAMES_OF_THE_STANDARD.split() if not hasattr(gnp, name)]
    assert missing == []
    assert all(hasattr(gnp, name) for name in gnp.__all__)


def test_namespace_computes_at_once_on_plain_arrays() -> None:
    assert isinstance(gnp.sum(M), np.ndarray)
    np.testing.assert_allclose(gnp.tanh(M), np.tanh(M), rtol=1e-6)
    np.testing.assert_allclose(gnp.einsum("ij,jk", M, N), M @ N, rtol=1e-5)
    np.testing.assert_array_equal(gnp.concat([M, M]), np.concatenate([M, M]))
    np.testing.assert_array_equal(gnp.getitem(M, (slice(1, None), np.array([0, 2]))), M[1:, [0, 2]])
    np.testing.assert_array_equal(gnp.where(M > 0, M, 0), np.where(M > 0, M, 0))
    np.testing.assert_array_equal(gnp.pad(M, 1), np.pad(M, 1))
    np.testing.assert_array_equal(gnp.tril(M), np.tril(M))
    np.testing.assert_array_equal(gnp.diag(VECTOR), np.diag(VECTOR))
    assert gnp.mean(ints(3, dtype="int32")).dtype == np.float64
    assert gnp.sum([1, 2, 3]) == 6


def test_traced_array_knows_its_namespace_and_layout() -> None:
    def function(x: Any) -> Any:
        assert x.__array_namespace__() is gnp
        assert (x.shape, x.dtype, x.ndim, x.size, x.itemsize, x.nbytes) == ((3, 4), np.float32, 2, 12, 4, 48)
        assert repr(x) == "<traced f32[3,4]>"
        return gnp.asarray([[x[0, 0], 1.0], [2.0, x[1, 1]]])

    check(lambda x: np.stack([np.stack([x[0, 0], np.float32(1)]), np.stack([np.float32(2), x[1, 1]])]), M)
    assert gl.trace(function, M).outputs[0].type.shape == (2, 2)


def test_nothing_is_emitted_for_what_changes_nothing() -> None:
    def function(x: Any) -> Any:
        y = x.reshape(3, 4).astype("float32").transpose(0, 1).copy()[:, :]
        return np.broadcast_to(y, (3, 4)).squeeze()[...].round(0).reshape(-1).reshape(3, 4)

    assert [node.op.name for node in gl.trace(function, M).nodes] == ["rint", "reshape"]


def test_axes_kept_by_a_reduction_cost_no_reshape_where_they_broadcast_back() -> None:
    graph = gl.trace(lambda x: x - x.max(axis=-1, keepdims=True), M)
    broadcast = graph.nodes[-2]
    assert broadcast.op.name == "broadcast"
    assert broadcast.inputs[0].node is graph.nodes[0]


def test_random_indices_beside_a_range_are_gathered_row_by_row() -> None:
    labels = ints(3, low=0, high=4)
    graph = gl.trace(lambda x, i: x[np.arange(3), i], M, labels)
    assert [node.op.name for node in graph.nodes] == ["gather"]
    assert graph.nodes[0].attrs == {"axis": 1, "batch": 1}
    np.testing.assert_array_equal(gl.interpret(graph, M, labels)[0], M[np.arange(3), labels])
