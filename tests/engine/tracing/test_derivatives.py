"""First and second derivatives of smooth functions are right everywhere: at 0, at ties, in both tails, at the smallest
and largest numbers. The true values are those of `mpmath`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
import pytest
from derivatives import ONE_DTYPE_COMPILED, both_orders
from gradloom import nn
from gradloom.ir import OPS, Op
from gradloom.ir.ops import elementwise, special

mpmath = pytest.importorskip("mpmath")
mp = mpmath.mp.clone() if hasattr(mpmath.mp, "clone") else mpmath.mp
mp.dps = 300

REAL = (0.0, -0.0, 1.0, -1.0, 0.3, -0.7, 3.0, -3.0, 8.0, -8.0, 17.0, -17.0, 30.0, -30.0, 60.0, -60.0)
EXTREME = (1e-6, -1e-6, "tiny", "-tiny", "subnormal", "-subnormal", 1e4, -1e4, 1e30, -1e30)
LEAST = (1e-6, -1e-6, "tiny", "-tiny", "subnormal", "-subnormal")
POSITIVE = (1.0, 0.3, 3.0, 8.0, 1e-6, 1e4, 1e30)
INSIDE = (0.0, -0.0, 0.3, -0.7, 0.999, -0.999, 1 - 2.0**-20, -1 + 2.0**-20, *LEAST)


def points(values: tuple[Any, ...], dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    named = {"tiny": info.tiny, "subnormal": info.smallest_subnormal * 5}
    numbers = [v if not isinstance(v, str) else named[v.lstrip("-")] * (-1 if v[0] == "-" else 1) for v in values]
    return np.array(numbers, dtype)


@dataclass(frozen=True)
class Smooth:
    """A function of one array, `true` of one number, and where it is tried.

    `absolute`: how many units in the last place of 1 it may be off beside its relative error.
    """

    function: Callable[[Any], Any]
    true: Callable[[Any], Any]
    at: tuple[Any, ...]
    absolute: float = 0.0


def bce(y: float, pos_weight: float | None = None) -> Smooth:
    def function(x: Any) -> Any:
        weight = None if pos_weight is None else gnp.full_like(x, pos_weight)
        return nn.binary_cross_entropy_with_logits(x, gnp.full_like(x, y), reduction="none", pos_weight=weight)

    def true(x: Any) -> Any:
        return (pos_weight or 1) * mp.mpf(y) * mp.log1p(mp.exp(-x)) + (1 - mp.mpf(y)) * mp.log1p(mp.exp(x))

    return Smooth(function, true, REAL + EXTREME, 0.0 if y in (0, 1) else 2.0)


def softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x))


def cdf(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


SMOOTH = {
    "softplus": Smooth(lambda x: nn.softplus(x, threshold=1e30), softplus, REAL + EXTREME),
    "softplus, beta 2": Smooth(lambda x: nn.softplus(x, 2.0, 1e30), lambda x: softplus(2 * x) / 2, REAL + LEAST),
    "bce 0": bce(0.0),
    "bce 1": bce(1.0),
    "bce 0.25": bce(0.25),
    "bce 0, pos_weight": bce(0.0, 3.0),
    "bce 1, pos_weight": bce(1.0, 3.0),
    "bce 0.25, pos_weight": bce(0.25, 3.0),
    "logaddexp x, 3": Smooth(lambda x: gnp.logaddexp(x, 3.0), lambda x: 3 + softplus(x - 3), REAL + LEAST, 2.0),
    "logaddexp 3, x": Smooth(lambda x: gnp.logaddexp(3.0, x), lambda x: 3 + softplus(x - 3), REAL + LEAST, 2.0),
    "logaddexp x, 0": Smooth(lambda x: gnp.logaddexp(x, 0.0), softplus, REAL + EXTREME),
    "logaddexp x, 2 x": Smooth(lambda x: gnp.logaddexp(x, 2 * x), lambda x: x + softplus(x), REAL + LEAST, 2.0),
    "logaddexp x, x": Smooth(lambda x: gnp.logaddexp(x, x), lambda x: x + mp.log(2), REAL + EXTREME),
    "logsumexp x, 0": Smooth(
        lambda x: gnp.logsumexp(gnp.stack([x, gnp.zeros_like(x)]), axis=0), softplus, REAL + EXTREME, 4.0
    ),
    "nn.logsumexp x, 0": Smooth(
        lambda x: nn.functional.logsumexp(gnp.stack([x, gnp.zeros_like(x)]), 0), softplus, REAL + EXTREME, 4.0
    ),
    "log_softmax x, 0": Smooth(
        lambda x: nn.log_softmax(gnp.stack([x, gnp.zeros_like(x)]), 0)[1], lambda x: -softplus(x), REAL + EXTREME, 4.0
    ),
    "softmax x, 0": Smooth(
        lambda x: nn.softmax(gnp.stack([x, gnp.zeros_like(x)]), 0)[0], lambda x: mp.sigmoid(x), REAL + EXTREME, 4.0
    ),
    "cross_entropy x, 0": Smooth(
        lambda x: nn.cross_entropy(
            gnp.stack([x, gnp.zeros_like(x)], 1), np.ones(x.shape[0], "int64"), reduction="none"
        ),
        softplus,
        REAL + EXTREME,
        4.0,
    ),
    "hypot x, 2": Smooth(lambda x: gnp.hypot(x, 2.0), lambda x: mp.sqrt(x * x + 4), REAL + EXTREME, 1.0),
    "hypot 2, x": Smooth(lambda x: gnp.hypot(2.0, x), lambda x: mp.sqrt(x * x + 4), REAL + EXTREME, 1.0),
    "norm x, 2": Smooth(
        lambda x: gnp.linalg.norm(gnp.stack([x, gnp.full_like(x, 2)]), axis=0), lambda x: mp.sqrt(x * x + 4), REAL, 1.0
    ),
    "norm 3 of x, 2": Smooth(
        lambda x: gnp.linalg.norm(gnp.stack([x, gnp.full_like(x, 2)]), 3, axis=0),
        lambda x: mp.cbrt(abs(x) ** 3 + 8),
        (1.0, -1.0, 3.0, -3.0),
    ),
    "fmod x, 5": Smooth(lambda x: gnp.fmod(x, 5.0), lambda x: x, (0.0, -0.0, 1.0, -1.0, 3.0, -3.0, *LEAST)),
    "fmod 12, x": Smooth(lambda x: gnp.fmod(12.0, x), lambda x: 12 - 2 * abs(x), (5.0, -5.0, 4.5)),
    "fmod -12, x": Smooth(lambda x: gnp.fmod(-12.0, x), lambda x: 2 * abs(x) - 12, (5.0, -5.0, 4.5)),
    "remainder x, 5": Smooth(lambda x: gnp.remainder(x, 5.0), lambda x: x, (1.0, 3.0, 1e-6)),
    "sigmoid": Smooth(nn.sigmoid, lambda x: mp.sigmoid(x), REAL + EXTREME, 1.0),
    "tanh": Smooth(gnp.tanh, mp.tanh, REAL + EXTREME, 2.0),
    "silu": Smooth(nn.silu, lambda x: x * mp.sigmoid(x), REAL + EXTREME, 16.0),
    "gelu": Smooth(nn.gelu, lambda x: x * cdf(x), REAL + EXTREME),
    "gelu, tanh": Smooth(
        lambda x: nn.gelu(x, "tanh"),
        lambda x: x * mp.sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3)),
        REAL + EXTREME,
        16.0,
    ),
    "elu above": Smooth(lambda x: nn.elu(x, 2.0), lambda x: x, (1.0, 8.0, 1e30, 1e-6)),
    "elu below": Smooth(lambda x: nn.elu(x, 2.0), lambda x: 2 * mp.expm1(x), (-1.0, -8.0, -30.0, -60.0, -1e30, -1e-6)),
    "expm1": Smooth(gnp.expm1, mp.expm1, (0.0, 1.0, -1.0, 8.0, -8.0, -17.0, -30.0, -60.0, *LEAST)),
    "exp": Smooth(gnp.exp, mp.exp, (0.0, 1.0, -1.0, 8.0, -8.0, -30.0, -60.0, *LEAST, 1e4)),
    "exp2": Smooth(gnp.exp2, lambda x: mp.mpf(2) ** x, (0.0, 1.0, -1.0, 8.0, -8.0, -30.0, -60.0, *LEAST)),
    "log1p": Smooth(gnp.log1p, mp.log1p, (0.0, 1.0, -0.7, 8.0, -0.999, 1e4, *LEAST)),
    "log": Smooth(gnp.log, mp.log, POSITIVE),
    "log2": Smooth(gnp.log2, lambda x: mp.log(x, 2), POSITIVE),
    "log10": Smooth(gnp.log10, mp.log10, POSITIVE),
    "sqrt": Smooth(gnp.sqrt, mp.sqrt, POSITIVE),
    "reciprocal": Smooth(gnp.reciprocal, lambda x: 1 / x, (1.0, -1.0, 8.0, -8.0)),
    "erf": Smooth(gnp.erf, mp.erf, REAL + EXTREME),
    "sin": Smooth(gnp.sin, mp.sin, (*REAL, *LEAST)),
    "cos": Smooth(gnp.cos, mp.cos, (*REAL, *LEAST)),
    "tan": Smooth(gnp.tan, mp.tan, (0.0, 1.0, -1.0, 0.3, *LEAST)),
    "sinh": Smooth(gnp.sinh, mp.sinh, (*REAL, *LEAST)),
    "cosh": Smooth(gnp.cosh, mp.cosh, (*REAL, *LEAST)),
    "arcsin": Smooth(gnp.arcsin, mp.asin, INSIDE),
    "arccos": Smooth(gnp.arccos, mp.acos, INSIDE),
    "arctanh": Smooth(gnp.arctanh, mp.atanh, INSIDE),
    "arctan": Smooth(gnp.arctan, mp.atan, (*REAL, *LEAST, 1e4, -1e4)),
    "arcsinh": Smooth(gnp.arcsinh, mp.asinh, REAL + EXTREME),
    "arccosh": Smooth(gnp.arccosh, mp.acosh, (1.001, 1.3, 8.0, 1e4, 1e30)),
    "arctan2 x, 2": Smooth(lambda x: gnp.arctan2(x, 2.0), lambda x: mp.atan(x / 2), REAL + EXTREME),
    "arctan2 x, -2": Smooth(lambda x: gnp.arctan2(x, -2.0), lambda x: -mp.atan(x / 2), REAL + EXTREME),
    "arctan2 2, x": Smooth(lambda x: gnp.arctan2(2.0, x), lambda x: -mp.atan(x / 2), REAL + EXTREME),
    "square": Smooth(gnp.square, lambda x: x * x, REAL + EXTREME),
    **{f"x ** {p}": Smooth(lambda x, p=p: x**p, lambda x, p=p: x**p, REAL + LEAST) for p in (0, 1, 2, 3, 4, 5)},
    **{
        f"x ** {p}": Smooth(lambda x, p=p: x**p, lambda x, p=p: x ** mp.mpf(p), POSITIVE)
        for p in (-2, -1, -0.5, 0.5, 1.5, 2.5)
    },
    "3 ** x": Smooth(lambda x: 3.0**x, lambda x: mp.mpf(3) ** x, (0.0, 1.0, -1.0, 8.0, -8.0, *LEAST)),
    "prod x, x, 0, 2": Smooth(
        lambda x: gnp.prod(gnp.stack([x, x, x - 1, gnp.full_like(x, 2)]), axis=0), lambda x: 2 * x * x * (x - 1), REAL
    ),
    "var 0, x, 1": Smooth(
        lambda x: gnp.var(gnp.stack([0 * x, x, 0 * x + 1]), axis=0), lambda x: 2 * (x * x - x + 1) / 9, REAL
    ),
    "mse": Smooth(lambda x: nn.mse_loss(x, gnp.ones_like(x), "none"), lambda x: (x - 1) ** 2, REAL + LEAST),
    "huber inside": Smooth(
        lambda x: nn.huber_loss(x, gnp.zeros_like(x), "none", 2.0), lambda x: x * x / 2, (0.0, -0.0, 1.0, -1.0, *LEAST)
    ),
    "huber outside": Smooth(
        lambda x: nn.huber_loss(x, gnp.zeros_like(x), "none", 2.0), lambda x: 2 * (abs(x) - 1), (3.0, -3.0, 1e30, -1e30)
    ),
    "smooth_l1": Smooth(
        lambda x: nn.smooth_l1_loss(x, gnp.zeros_like(x), "none", 2.0), lambda x: x * x / 4, (0.0, -0.0, 1.0, -1.0)
    ),
}


@functools.cache
def true_derivatives(name: str, dtype: str) -> list[np.ndarray]:
    """Of the first and of the second order, by central differences in 300 digits."""
    row = SMOOTH[name]
    orders: list[list[float]] = [[], []]
    for x in points(row.at, dtype):
        at = mp.mpf(float(x))
        step = mp.mpf(10) ** -70 * max(abs(at), 1)
        below, here, above = (row.true(at + i * step) for i in (-1, 0, 1))
        orders[0].append(float((above - below) / (2 * step)))
        orders[1].append(float((above - 2 * here + below) / step**2))
    with np.errstate(over="ignore", under="ignore"):
        return [np.array(values).astype(dtype) for values in orders]


@pytest.mark.parametrize("how", ["interpreted", "compiled"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_smooth_functions_have_their_derivatives_everywhere(dtype: str, how: str) -> None:
    xs = {name: points(row.at, dtype) for name, row in SMOOTH.items()}

    def program(xs: dict[str, Any]) -> dict[str, Any]:
        return {name: both_orders(row.function)(xs[name]) for name, row in SMOOTH.items()}

    if how == "compiled":
        results = gl.compile(program)(xs)
    else:
        results = {name: both_orders(row.function)(xs[name]) for name, row in SMOOTH.items()}
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    wrong = []
    for name, row in SMOOTH.items():
        for order, (found, true) in enumerate(zip(results[name], true_derivatives(name, dtype), strict=True), 1):
            assert found.dtype == dtype
            near = np.isclose(found, true, 64 * eps, max(row.absolute * eps, 4 * tiny, 1e-120))
            cases = zip(xs[name], found, true, near, strict=True)
            wrong += [f"{name}, order {order} at {x!r}: {f!r}, not {t!r}" for x, f, t, ok in cases if not ok]
    assert not wrong, "\n".join(wrong)


# Functions of two arrays, whose derivatives are those in x and y, and the second ones in xx, xy and yy.

PLANE = ((1.0, 2.0), (-1.0, 2.0), (1.0, -2.0), (-3.0, -0.5), (0.0, 2.0), (-0.0, -2.0), (2.0, 0.0), (-2.0, -0.0))
SCALED = ((1e-15, 2e-15), (-1e-15, 1e-15), (3e15, -2e15), (1e-6, 1e6), (-1e6, 1e-6))
TIES = ((0.0, 0.0), (3.0, 3.0), (-8.0, -8.0), (-0.0, 0.0), (1e4, 1e4), (-1e30, -1e30))
POWERS = ((2.0, 3.0), (0.5, -2.0), (3.0, 0.0), (1.0, 0.0), (1e-6, 2.0), (8.0, 0.5))


@dataclass(frozen=True)
class SmoothInTwo:
    function: Callable[[Any, Any], Any]
    true: Callable[[Any, Any], Any]
    at: tuple[tuple[float, float], ...]
    absolute: float = 0.0


SMOOTH_IN_TWO = {
    "logaddexp": SmoothInTwo(
        gnp.logaddexp,
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        (*PLANE, *TIES, (30.0, 0.0), (0.0, 60.0), (-60.0, 30.0)),
    ),
    "logsumexp": SmoothInTwo(
        lambda x, y: gnp.logsumexp(gnp.stack([x, y]), axis=0),
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        (*PLANE, *TIES, (30.0, 0.0), (0.0, 60.0)),
        4.0,
    ),
    "hypot": SmoothInTwo(gnp.hypot, lambda x, y: mp.sqrt(x * x + y * y), PLANE + SCALED, 4.0),
    "arctan2": SmoothInTwo(
        gnp.arctan2, lambda x, y: mp.atan2(x, y), tuple(p for p in PLANE + SCALED if p[0] or p[1] > 0), 4.0
    ),
    "power": SmoothInTwo(gnp.power, lambda x, y: x**y, POWERS, 16.0),
    "multiply": SmoothInTwo(gnp.multiply, lambda x, y: x * y, PLANE + TIES),
    "divide": SmoothInTwo(gnp.divide, lambda x, y: x / y, tuple(p for p in PLANE + SCALED if p[1])),
    "remainder": SmoothInTwo(
        gnp.remainder, lambda x, y: x - mp.floor(x / y) * y, ((7.0, 3.0), (-7.0, 3.0), (7.0, -3.0))
    ),
    "float_power": SmoothInTwo(
        lambda x, y: gnp.astype(gnp.float_power(x, y), x.dtype), lambda x, y: x**y, POWERS, 16.0
    ),
    "average of x, weighted by y": SmoothInTwo(
        lambda x, y: gnp.average(gnp.stack([x, 0 * x]), axis=0, weights=gnp.stack([y * y, gnp.ones_like(y)])),
        lambda x, y: x * y * y / (y * y + 1),
        PLANE,
        8.0,
    ),
    "fmod": SmoothInTwo(
        gnp.fmod,
        lambda x, y: x - (1 if x * y > 0 else -1) * mp.floor(abs(x / y)) * y,
        ((7.0, 3.0), (-7.0, 3.0), (7.0, -3.0), (0.0, 3.0), (-0.0, -3.0)),
    ),
    "product of x, y and 3": SmoothInTwo(
        lambda x, y: gnp.prod(gnp.stack([x, y, gnp.full_like(x, 3)]), axis=0), lambda x, y: 3 * x * y, PLANE + TIES
    ),
    "variance of x, y and 1": SmoothInTwo(
        lambda x, y: gnp.var(gnp.stack([x, y, gnp.ones_like(x)]), axis=0),
        lambda x, y: (x * x + y * y + 1) / 3 - ((x + y + 1) / 3) ** 2,
        (*PLANE, (0.0, 0.0), (1.0, 1.0)),
        8.0,
    ),
    "std of x, y and 1": SmoothInTwo(
        lambda x, y: gnp.std(gnp.stack([x, y, gnp.ones_like(x)]), axis=0),
        lambda x, y: mp.sqrt((x * x + y * y + 1) / 3 - ((x + y + 1) / 3) ** 2),
        PLANE,
        8.0,
    ),
    "mse": SmoothInTwo(lambda x, y: nn.mse_loss(x, y, "none"), lambda x, y: (x - y) ** 2, PLANE + TIES),
    "bce": SmoothInTwo(
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, reduction="none"),
        lambda x, y: mp.log1p(mp.exp(x)) - x * y,
        ((0.0, 0.0), (0.0, 1.0), (-0.0, 0.5), (30.0, 1.0), (-30.0, 0.0), (30.0, 0.0), (-60.0, 1.0)),
    ),
}


def five_derivatives(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], tuple[Any, ...]]:
    def derivatives(x: Any, y: Any) -> tuple[Any, ...]:
        first = gl.grad(lambda x, y: gnp.sum(f(x, y)), argnums=(0, 1))
        in_x = gl.grad(lambda x, y: gnp.sum(first(x, y)[0]), argnums=(0, 1))(x, y)
        return (*first(x, y), *in_x, gl.grad(lambda y: gnp.sum(first(x, y)[1]))(y))

    return derivatives


@functools.cache
def five_true_derivatives(name: str, dtype: str) -> np.ndarray:
    row = SMOOTH_IN_TWO[name]
    result: list[list[float]] = []
    for x, y in np.array(row.at, dtype):
        a, c = mp.mpf(float(x)), mp.mpf(float(y))
        h = mp.mpf(10) ** -70 * max(abs(a), abs(c), mp.mpf(10) ** -20)
        f = {(i, j): row.true(a + i * h, c + j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        result.append(
            [
                float((f[1, 0] - f[-1, 0]) / (2 * h)),
                float((f[0, 1] - f[0, -1]) / (2 * h)),
                float((f[1, 0] - 2 * f[0, 0] + f[-1, 0]) / h**2),
                float((f[1, 1] - f[1, -1] - f[-1, 1] + f[-1, -1]) / (4 * h**2)),
                float((f[0, 1] - 2 * f[0, 0] + f[0, -1]) / h**2),
            ]
        )
    return np.array(result).T


@ONE_DTYPE_COMPILED
def test_smooth_functions_of_two_arrays_have_their_derivatives_everywhere(dtype: str, how: str) -> None:
    points = {name: tuple(np.array(row.at, dtype).T.copy()) for name, row in SMOOTH_IN_TWO.items()}

    def program(points: dict[str, Any]) -> dict[str, Any]:
        return {name: five_derivatives(row.function)(*points[name]) for name, row in SMOOTH_IN_TWO.items()}

    results = gl.compile(program)(points) if how == "compiled" else program(points)
    eps = float(np.finfo(dtype).eps)
    wrong = []
    for name, row in SMOOTH_IN_TWO.items():
        true = five_true_derivatives(name, dtype)
        # Second derivatives of homogeneous functions grow as the points shrink, and with them the error of a sum.
        scale = np.max(np.abs(true), axis=0)
        for what, found, expected in zip(("x", "y", "xx", "xy", "yy"), results[name], true, strict=True):
            near = np.abs(found - expected) <= 64 * eps * np.abs(expected) + row.absolute * eps * scale + 1e-37
            cases = zip(row.at, found, expected, near, strict=True)
            wrong += [f"{name}, d/d{what} at {at}: {f!r}, not {t!r}" for at, f, t, ok in cases if not ok]
    assert not wrong, "\n".join(wrong)


def test_the_loss_of_a_sure_logit_keeps_its_digits() -> None:
    x, y = np.array([-30.0, 30.0, -90.0, 90.0], "float32"), np.array([0.0, 1.0, 0.0, 1.0], "float32")
    true = np.log1p(np.exp(-np.abs(x.astype("float64"))))
    for pos_weight in (None, 2.0):
        loss = nn.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=pos_weight)
        np.testing.assert_allclose(loss, true * (1 if pos_weight is None else 1 + y), 1e-5)


def test_every_elementwise_op_with_a_derivative_is_in_a_table() -> None:
    used: set[str] = set()
    for row in (*SMOOTH.values(), *SMOOTH_IN_TWO.values()):
        given = [np.ones(2)] * (2 if isinstance(row, SmoothInTwo) else 1)
        used |= {node.op.name for node in gl.trace(row.function, *given).nodes}
    ops = {name for name, op in OPS.items() if op.family == "elementwise" and op.vjp is not None}
    # `tests/engine/array_api/test_special.py` has the special functions.
    ops -= {op.name for op in vars(special).values() if isinstance(op, Op) and op not in vars(elementwise).values()}
    # These move numbers only, or have a kink, which is tested elsewhere.
    assert ops - used == {"copy", "save", "check_finite", "relu", "minimum"}
