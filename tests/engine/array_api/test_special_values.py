"""Special values: NaN, infinities, zeros of both signs, subnormals, huge numbers, whole powers and large angles.

Every element-wise function is computed of a grid of them at once, interpreted and compiled, in both precisions, and
compared with NumPy's of the next wider format; where NumPy has no such function, with the true value.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from gradloom.nn import functional as F

DTYPES = ("float32", "float64")
INF, NAN = math.inf, math.nan

# Functions of the namespace that are compared here: within a rounding, and within a few ulp.
EXACT = (
    "abs ceil conj copy fabs fix floor isfinite isinf isnan log10 logical_not nan_to_num negative positive real "
    "reciprocal rint round sign sqrt square trunc"
)
SMOOTH = "acos acosh asin asinh atan atanh cos cosh deg2rad exp exp2 expm1 log log1p log2 rad2deg sin sinh tan tanh"
EXACT_OF_TWO = (
    "add divide equal floor_divide fmax fmin fmod greater greater_equal heaviside isclose less less_equal logical_and "
    "logical_or logical_xor maximum minimum multiply not_equal remainder subtract"
)
SMOOTH_OF_TWO = "atan2 hypot pow float_power"
UNARY = dict.fromkeys(EXACT.split(), 0.51) | dict.fromkeys(SMOOTH.split(), 2.6)
BINARY = dict.fromkeys(EXACT_OF_TWO.split(), 0.51) | dict.fromkeys(SMOOTH_OF_TWO.split(), 2.6)
AS_IN_THE_FORMAT = {"nan_to_num", "fmod", "remainder", "floor_divide", "heaviside", "isclose", "nextafter", "round"}
"""Compared with NumPy's function of the same format: they are exact, or defined by its rounding."""
FREE_SIGN_OF_ZERO = {"maximum", "minimum", "fmax", "fmin"}


def magnitudes(dtype: str) -> list[float]:
    info = np.finfo(dtype)
    small = [0, info.smallest_subnormal, info.smallest_normal / 2, info.smallest_normal, 1e-30, 1e-20, 1e-5, 1e-3]
    middle = [0.1, 1 / 3, 0.5, 0.7, 1 - info.epsneg, 1, 1 + info.eps, 1.5, 2, 2.5, 3, 3.5, 4, 5, 8, 9.5, 10, 16, 20, 64]
    limits = [88.5, 89, 100, 104, 128, 709.5, 710, 745, 746, 1000, 1e5, 123456.5]
    whole = [2.0**23, 2.0**23 + 1, 2.0**24, 2.0**31, 2.0**49, 2.0**52 + 1, 2.0**53, 1e15, 1e16, 1e22, 1e30]
    return [*small, *middle, *limits, *whole, 2e38 if dtype == "float32" else 1e200, info.max / 2, info.max, INF]


def values(dtype: str) -> np.ndarray:
    x = np.array(magnitudes(dtype), dtype)
    return np.concatenate([x, -x, np.array([NAN], dtype)])


def twice(x: np.ndarray) -> np.ndarray:
    """Every value at two places: amid vectors, and in what is left behind them."""
    return np.concatenate([x, x[:5], x])


def in_all_ways(functions: dict[str, Callable[..., Any]], *arrays: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Results of all functions by way, of one program for each way; compiled, equal elements have equal results."""

    def program(*arrays: Any) -> dict[str, Any]:
        return {name: function(*arrays) for name, function in functions.items()}

    doubled = [twice(x) for x in arrays]
    count = arrays[0].size
    compiled = {name: np.asarray(result) for name, result in gl.compile(program)(*doubled).items()}
    with np.errstate(all="ignore"):
        at_once = {name: np.asarray(result) for name, result in program(*arrays).items()}
    for name, result in compiled.items():
        np.testing.assert_array_equal(bits(result[:count]), bits(result[-count:]), err_msg=name)
    interpreted = dict(zip(sorted(functions), gl.interpret(gl.trace(program, *arrays), *arrays)))
    return {
        "at once": at_once,
        "interpreted": interpreted,
        "compiled": {name: result[:count] for name, result in compiled.items()},
    }


def bits(x: np.ndarray) -> np.ndarray:
    """As integers, with all NaNs alike."""
    if x.dtype.kind != "f":
        return x
    return np.where(np.isnan(x), x.dtype.type(NAN), x).view(f"i{x.itemsize}")


def faults(got: np.ndarray, wanted: np.ndarray, ulp: Any, free_sign: bool = False, least: float = 0) -> np.ndarray:
    """Which elements are wrong: NaN, an infinity or a zero of another sign, or too many ulp off (or `least`)."""
    if got.dtype.kind != "f":
        return got != wanted
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = wanted.astype(got.dtype)
        exponent = np.maximum(np.frexp(wanted)[1] - 1, info.minexp) - info.nmant
        off = np.abs(got - wanted) > np.maximum(ulp * np.ldexp(np.ones_like(wanted), exponent), least)
    off &= np.isfinite(got) & np.isfinite(rounded)
    infinite = (np.isinf(got) | np.isinf(rounded)) & (got != rounded) & ~np.isnan(got) & ~np.isnan(rounded)
    zeros = (got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))
    return off | infinite | (np.isnan(got) != np.isnan(rounded)) | (zeros if not free_sign else False)


def wider(dtype: str) -> Any:
    return np.float64 if dtype == "float32" else np.longdouble


def check(
    results: dict[str, dict[str, np.ndarray]], wanted: dict[str, np.ndarray], ulp: Any, *given: np.ndarray
) -> None:
    messages = []
    for way, of_way in results.items():
        for name, got in of_way.items():
            wrong = faults(got, wanted[name], ulp(name), name in FREE_SIGN_OF_ZERO, 64 * tiny(name, got))
            for i in np.flatnonzero(wrong)[:3]:
                arguments = ", ".join(repr(x[i].item()) for x in given)
                messages.append(f"{name}({arguments}) {way}: {got[i]!r} for {wanted[name][i]!r}")
    assert not messages, "\n".join(messages)


def tiny(name: str, got: np.ndarray) -> float:
    """Products with what has become subnormal lose digits of it."""
    return float(np.finfo(got.dtype).smallest_subnormal) if name in ("gelu", "gelu_tanh", "silu") else 0.0


def of_numpy(name: str, dtype: str, *arrays: np.ndarray) -> np.ndarray:
    function = getattr(np, name)
    with np.errstate(all="ignore"):
        if name in AS_IN_THE_FORMAT or function(*arrays).dtype.kind != "f" or np.finfo(np.longdouble).nmant == 52:
            return function(*arrays)
        return function(*(x.astype(wider(dtype)) for x in arrays))


@pytest.mark.parametrize("dtype", DTYPES)
def test_unary_functions_are_numpys(dtype: str) -> None:
    x = values(dtype)
    results = in_all_ways({name: getattr(gnp, name) for name in UNARY}, x)
    check(results, {name: of_numpy(name, dtype, x) for name in UNARY}, UNARY.get, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_functions_are_numpys_of_every_pair(dtype: str) -> None:
    x, y = (axis.ravel() for axis in np.meshgrid(values(dtype)[::2], values(dtype)))
    results = in_all_ways({name: getattr(gnp, name) for name in BINARY}, x, y)
    check(results, {name: of_numpy(name, dtype, x, y) for name in BINARY}, BINARY.get, x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logaddexp_is_numpys(dtype: str) -> None:
    x, y = (axis.ravel() for axis in np.meshgrid(values(dtype)[::2], values(dtype)))
    with np.errstate(all="ignore"):
        wanted = np.logaddexp(x, y)
    for way, results in in_all_ways({"logaddexp": gnp.logaddexp}, x, y).items():
        # Near 0 what is left of two numbers has the rounding of the larger.
        slack = 2 * np.finfo(dtype).eps * np.minimum(np.abs(x), 2)
        wrong = faults(results["logaddexp"], wanted, 4)
        with np.errstate(all="ignore"):
            wrong &= ~(np.abs(results["logaddexp"] - wanted) <= slack)
        assert not wrong.any(), (way, x[wrong][:3], y[wrong][:3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_and_where_and_divmod_are_numpys_with_nan(dtype: str) -> None:
    x = values(dtype)
    functions: dict[str, Callable[..., Any]] = {
        "between": lambda x: np.clip(x, -2.0, 3.0),
        "no upper bound": lambda x: np.clip(x, NAN, 3.0),
        "infinite bounds": lambda x: np.clip(x, -INF, INF),
        "crossed bounds": lambda x: np.clip(x, 3.0, -2.0),
        "bounds as arrays": lambda x: np.clip(x, x * 0, x * 0 + 1),
        "where": lambda x: np.where(np.isnan(x), -1.0, np.where(x > 0, x, NAN)),
        "divmod": lambda x: np.divmod(x, 3.0)[0] + np.divmod(-1.0, x)[1],
        "nan_to_num": lambda x: np.nan_to_num(x, nan=1.5, posinf=2.5, neginf=-2.5),
        "rounded": lambda x: np.round(x, 2),
        "sorts of": lambda x: np.maximum(np.minimum(x, 1), NAN),
    }
    with np.errstate(all="ignore"):
        wanted = {name: function(x) for name, function in functions.items()}
    check(in_all_ways(functions, x), wanted, lambda name: 0.51, x)


POWERS: dict[str, Callable[[Any], Any]] = {
    str(p): functools.partial(lambda p, x: x**p, p)
    for p in (0, 1, 2, 3, 4, -1, 0.5, -0.5, 5, -2, 1.5, -3, 0.0, INF, NAN)
} | {f"of {b}": functools.partial(lambda b, x: b**x, b) for b in (0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, INF, -INF)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_by_known_numbers_are_numpys(dtype: str) -> None:
    x = values(dtype)
    with np.errstate(all="ignore"):
        wanted = {name: function(x) for name, function in POWERS.items()}
    check(in_all_ways(POWERS, x), wanted, lambda name: 3, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_whole_powers_are_whole(dtype: str) -> None:
    info = np.finfo(dtype)
    two = np.arange(info.minexp - info.nmant, info.maxexp)
    ten = np.arange(-37 if dtype == "float32" else -307, 39 if dtype == "float32" else 309)
    for f, exponents, powers in (
        (gnp.log2, two, np.ldexp(np.ones((), dtype), two)),
        (gnp.log10, ten, np.array([float(f"1e{n}") for n in ten], dtype)),
    ):
        functions = {"log": f, "floor": lambda x, f=f: np.floor(f(x))}
        for results in in_all_ways(functions, powers).values():
            for got in results.values():
                np.testing.assert_array_equal(got, exponents)
    whole = np.arange(info.minexp - info.nmant, info.maxexp).astype(dtype)
    for results in in_all_ways({"exp2": gnp.exp2}, whole).values():
        np.testing.assert_array_equal(results["exp2"], np.ldexp(np.ones((), dtype), whole.astype(int)))


# What the user writes is not what simplification makes of it, where a zero would lose its sign.
AS_WRITTEN: dict[str, Callable[[Any], Any]] = {
    "x + 0": lambda x: x + 0,
    "0 + x": lambda x: 0.0 + x,
    "x - 0": lambda x: x - 0,
    "0 - x": lambda x: 0 - x,
    "x + -0.0": lambda x: x + -0.0,
    "x - -0.0": lambda x: x - -0.0,
    "-0.0 - x": lambda x: -0.0 - x,
    "x * 1": lambda x: x * 1,
    "x / 1": lambda x: x / 1,
    "x * -1": lambda x: x * -1,
    "x * 0": lambda x: x * 0,
    "negated twice": lambda x: np.negative(-x),
    "-(0 - x)": lambda x: -(0 - x),
    "x / 8": lambda x: x / 8,
    "x / -0.25": lambda x: x / -0.25,
    "x / 2**100": lambda x: x / 2.0**100,
    "x - x": lambda x: x - x,
    "x / x": lambda x: x / x,
    "abs(-x)": lambda x: abs(-x),
    "sum of three": lambda x: sum([x, x * 0, x * -0.0]),
    "pad of two": lambda x: np.pad(x[:2], (0, x.size - 2)) + np.pad(x[2:], (2, 0)),
    "one element summed": lambda x: np.sum(x[:, None], axis=1),
    "mean of one": lambda x: np.mean(x[:, None], axis=1),
    "product of one": lambda x: np.prod(x[:, None], axis=1),
    "largest of one": lambda x: np.max(x[:, None], axis=1),
    "running sum": lambda x: np.cumsum(x[:, None], axis=1)[:, 0],
    "as float64": lambda x: x.astype("float64").astype(x.dtype),
    "twice transposed": lambda x: x[:, None].T.T[:, 0] + x[::-1][::-1] * 0,
    "recomputed": lambda x: gl.checkpoint(lambda x: x + 0.0)(x) if not isinstance(x, np.ndarray) else x + 0.0,
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_simplified_that_changes_a_value_or_the_sign_of_a_zero(dtype: str) -> None:
    x = values(dtype)
    with np.errstate(all="ignore"):
        wanted = {name: np.asarray(function(x)) for name, function in AS_WRITTEN.items()}
    check(in_all_ways(AS_WRITTEN, x), wanted, lambda name: 0.51, x)


def test_zero_cotangents_are_dropped_and_the_users_zeros_are_not() -> None:
    x = np.array([-0.0, 0.0, 1.0])

    def f(x: Any) -> Any:
        return np.sum((x + 0.0) * x)

    value, gradient = gl.compile(gl.value_and_grad(f))(x)
    assert value == 1
    np.testing.assert_array_equal(gradient, [0, 0, 2])
    # The sum of cotangents after all is the user's own.
    np.testing.assert_array_equal(
        np.signbit(gl.compile(lambda x: gl.grad(lambda x: np.sum(x * -0.0))(x) + 0.0)(x)), [False] * 3
    )


# Activations: the true values.


def _normal_distribution(x: float) -> float:
    return math.erfc(-x * math.sqrt(0.5)) / 2


def _sigmoid(x: float) -> float:
    return math.exp(x) / (1 + math.exp(x)) if x < 0 else 1 / (1 + math.exp(-x))


def _tanh_form(x: float) -> float:
    if abs(x) > 1e3:
        return max(x, 0.0) if x > 0 else -0.0
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[[float], float]]] = {
    "relu": (F.relu, lambda x: 0.0 if x < 0 else x),
    "relu6": (F.relu6, lambda x: x if x != x else min(max(x, 0.0), 6.0)),
    "hardtanh": (lambda x: F.hardtanh(x, -2, 3), lambda x: x if x != x else min(max(x, -2.0), 3.0)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.25), lambda x: x if x > 0 else x * 0.25),
    "elu": (F.elu, lambda x: x if x > 0 else math.expm1(x)),
    "celu": (lambda x: F.elu(x, 2.0), lambda x: x if x > 0 else 2 * math.expm1(x)),
    "gelu": (F.gelu, lambda x: -0.0 if x == -INF else x * _normal_distribution(x)),
    "gelu_tanh": (lambda x: F.gelu(x, "tanh"), _tanh_form),
    "sigmoid": (F.sigmoid, _sigmoid),
    "silu": (F.silu, lambda x: -0.0 if x == -INF else x * _sigmoid(x)),
    "tanh": (F.tanh, math.tanh),
    "softplus": (F.softplus, lambda x: x if x > 20 else math.log1p(math.exp(x))),
    "softplus_2": (lambda x: F.softplus(x, 2.0, 5.0), lambda x: x if 2 * x > 5 else math.log1p(math.exp(2 * x)) / 2),
    "erf": (gnp.erf, math.erf),
    "expit": (gnp.expit, _sigmoid),
}
CONDITION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    # By how much roundings of the exponent show, here or in the reference: of x x / 2, or of a polynomial.
    "gelu": lambda x: 2 * x * x,
    "gelu_tanh": lambda x: 6 * np.abs(x) * (1 + 0.05 * x * x),
}


def _relative_slack(name: str, x: np.ndarray) -> Any:
    with np.errstate(all="ignore"):
        return 4 + (np.nan_to_num(CONDITION[name](np.clip(x, -50, 50).astype("float64"))) if name in CONDITION else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_the_true_values(dtype: str) -> None:
    x = np.concatenate([values(dtype), np.linspace(-40, 40, 321).astype(dtype)])
    functions = {name: function for name, (function, _) in ACTIVATIONS.items()}
    wanted = {name: np.array([NAN if v != v else true(float(v)) for v in x]) for name, (_, true) in ACTIVATIONS.items()}
    check(in_all_ways(functions, x), wanted, lambda name: _relative_slack(name, x), x)


def test_gelu_keeps_its_digits_below_zero_and_has_limits() -> None:
    x = np.array([-3, -5, -8, -12, -INF, INF], np.float32)
    wanted = [-0.00404969409489031, -1.43325785985745e-06, -4.97676857e-15, -2.13177840e-32, 0, INF]
    np.testing.assert_allclose(gl.compile(F.gelu)(x), wanted, rtol=3e-6)
    gradient = gl.compile(gl.grad(lambda x: np.sum(F.gelu(x))))(x[:-1])
    assert np.isfinite(gradient).all()
    assert gradient[-1] == 0
    for function in (F.silu, lambda x: F.gelu(x, "tanh")):
        assert gl.compile(gl.grad(function))(np.float32(-INF)) == 0


# Reductions, of rows and of columns.


def rows(dtype: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    base, info = rng.normal(size=n).astype(dtype), np.finfo(dtype)
    result = [base]
    for special in ([NAN], [INF], [-INF], [INF, -INF], [NAN, INF], [NAN, -INF], [INF, INF]):
        for places in (rng.permutation(n), range(n), range(n)[::-1]):
            row = base.copy()
            row[list(places[: len(special)])] = special[: min(n, len(special))]
            result.append(row)
    constants = (INF, -INF, NAN, 0.0, -0.0, info.smallest_subnormal, 1, 2.0**100)
    result += [np.full(n, value, dtype) for value in constants]
    result.append(np.where(np.arange(n) % 2, 0.0, -0.0).astype(dtype))
    result.append(np.where(np.arange(n) == n // 2, 1.0, -INF).astype(dtype))
    return np.stack(result)


def _logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    x = x.astype(np.longdouble)
    top = np.nan_to_num(np.max(x, axis=axis, keepdims=True), nan=0, posinf=0, neginf=0)
    return np.log(np.sum(np.exp(x - top), axis=axis)) + np.squeeze(top, axis)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x.astype(np.longdouble) - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


REDUCED = "sum prod max min mean var std argmax argmin any all cumsum ptp count_nonzero"
REDUCTIONS: dict[str, Callable[..., Any]] = {
    name: functools.partial(lambda name, x, axis: getattr(np, name)(x, axis=axis), name) for name in REDUCED.split()
} | {
    f"norm {p}": functools.partial(lambda p, x, axis: np.linalg.norm(x, p, axis), p) for p in (None, 1, 3, 0, INF, -INF)
}
OF_NN: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "logsumexp": (lambda x, axis: gnp.logsumexp(x, axis=axis), _logsumexp),
    "logsumexp of nn": (lambda x, axis: F.logsumexp(x, axis=axis), _logsumexp),
    "softmax": (lambda x, axis: F.softmax(x, axis=axis), _softmax),
    "log_softmax": (
        lambda x, axis: F.log_softmax(x, axis=axis),
        lambda x, axis: (
            x
            - np.max(x, axis, keepdims=True)
            - np.log(np.sum(np.exp(x - np.max(x, axis, keepdims=True)), axis, keepdims=True))
        ),
    ),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 19, 67])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_are_numpys(dtype: str, n: int, axis: int) -> None:
    x = rows(dtype, n)
    x = x if axis else np.ascontiguousarray(x.T)
    functions = REDUCTIONS | {name: mine for name, (mine, _) in OF_NN.items()}
    references = REDUCTIONS | {name: theirs for name, (_, theirs) in OF_NN.items()}

    def program(x: Any) -> dict[str, Any]:
        return {name: function(x, axis) for name, function in functions.items()}

    graph = gl.trace(program, x)
    ways = {"compiled": gl.compile(program)(x), "interpreted": dict(zip(sorted(functions), gl.interpret(graph, x)))}
    with np.errstate(all="ignore"):
        wanted = {name: np.asarray(reference(x, axis)) for name, reference in references.items()}
    slack = np.finfo(dtype).eps * 40 * n
    for way, results in ways.items():
        for name, got in results.items():
            reference = wanted[name] if got.dtype.kind != "f" else wanted[name].astype(np.longdouble)
            scale = np.longdouble(1) if name in ("log_softmax", "var", "std", "sum", "mean", "cumsum") else 0
            wrong = faults(
                np.asarray(got),
                reference,
                40 * n,
                "max" in name or "INF" in name or name == "min",
                float(slack * scale),
            )
            wrong &= ~(np.asarray(got) == reference) | (name in ("sum", "mean", "cumsum"))
            assert not wrong.any(), (way, name, np.argwhere(wrong)[:3], got[wrong][:3], reference[wrong][:3])


# Losses, windows and products.


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_is_the_true_value_at_infinite_logits(dtype: str) -> None:
    x = np.array([0, 3, -3, 80, -80, 1e30, -1e30, INF, -INF, NAN], dtype)
    for target in (0.0, 0.25, 1.0):
        y = np.full_like(x, target)
        for weight in (None, 3.0):
            positive = (weight or 1.0) * target
            wanted = np.zeros(x.size)
            with np.errstate(all="ignore"):
                for part, sign in ((positive, -1), (1 - target, 1)):
                    wanted += np.where(np.isnan(x), NAN, 0) if part == 0 else part * np.logaddexp(0.0, sign * x)
            f = lambda x, y, weight=weight: F.binary_cross_entropy_with_logits(x, y, None, "none", weight)  # noqa: E731
            got = gl.compile(f)(x, y)
            np.testing.assert_allclose(got, wanted.astype(dtype), rtol=1e-6, atol=1e-7)
            matched = x[np.isinf(x) & (got == 0)]
            gradient = gl.compile(gl.grad(lambda x, y, f=f: np.sum(f(x, y))))(matched, np.full_like(matched, target))
            np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_outside_of_a_window_does_not_reach_into_it(value: float) -> None:
    x = np.ones((2, 4, 9, 11), np.float32)
    x[0, 1, 4, 5] = value
    w = np.ones((3, 4, 3, 3), np.float32)

    def program(x: Any, w: Any) -> dict[str, Any]:
        return {
            "conv": F.conv2d(x, w, padding=1),
            "transposed": F.conv_transpose2d(x, np.swapaxes(w, 0, 1), stride=2),
            "max": F.max_pool2d(x, 3, 2, 1),
            "average": F.avg_pool2d(x, 3, 2, 1),
            "adaptive": F.adaptive_avg_pool2d(x, (4, 3)),
            "adaptive max": F.adaptive_max_pool2d(x, (4, 3)),
            "bilinear": F.interpolate(x, scale_factor=2, mode="bilinear"),
            "product": x[0, 1] @ np.swapaxes(x[1, 1], 0, 1),
        }

    results = gl.compile(program)(x, w)
    plain = gl.compile(program)(np.ones_like(x), w)
    reached = {"conv": 27, "transposed": 27, "max": 4, "average": 4, "adaptive": 2, "adaptive max": 2, "bilinear": 16}
    for name, got in results.items():
        changed = int(np.sum(got != plain[name]))
        most = {"product": 9, "max": 2, "adaptive max": 2}.get(name, reached.get(name, 0))
        assert changed <= most, (name, changed)
        assert changed or value == -INF, name
