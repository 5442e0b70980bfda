"""Where a function has no derivative, at a root of 0, a corner or a tie, it has that of its rule, and never NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
from derivatives import ONE_DTYPE_COMPILED, both_orders
from gradloom import nn


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape)


@dataclass(frozen=True)
class Degenerate:
    """A function, a point, and its gradient there by the rule; the second derivative is `second`, or any number."""

    function: Callable[[Any], Any]
    at: Any
    gradient: Any
    second: Any = None


def norm_of(**options: Any) -> Callable[[Any], Any]:
    return lambda x: gnp.linalg.norm(x, **options)


ORDERS = (None, 0, 0.5, 1, 1.5, 2, 3, 4, -1, -2, np.inf, -np.inf)
NEGATIVE_INFINITY = np.full(3, -np.inf)
ATTENTION = np.arange(12.0).reshape(3, 4) / 7


def attention(mask: Any) -> Callable[[Any], Any]:
    return lambda x: nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)[1:]


DEGENERATE = {
    **{f"norm of zeros, ord {p}": Degenerate(norm_of(ord=p), zeros(3), zeros(3)) for p in ORDERS},
    **{f"norm of rows, ord {p}": Degenerate(norm_of(ord=p, axis=1), zeros(2, 3), zeros(2, 3)) for p in ORDERS},
    **{
        f"norm of one element, ord {p}": Degenerate(
            norm_of(ord=p, axis=0, keepdims=True), np.array([[0.0, -2.0]]), [[0.0, 0.0 if p == 0 else -1.0]]
        )
        for p in ORDERS
    },
    **{
        f"norm, ord {p}, with an element of 0": Degenerate(
            norm_of(ord=p),
            np.array([0.0, 3.0, -4.0]),
            [0.0, *((np.array([3.0, -4.0]) / n) * np.abs(np.array([3.0, -4.0]) / n) ** (p - 2))],
        )
        for p in (0.5, 1.5, 2, 3, 4)
        for n in [(3.0**p + 4.0**p) ** (1 / p)]
    },
    "frobenius norm of zeros": Degenerate(norm_of(ord="fro"), zeros(2, 2), zeros(2, 2)),
    "norm over two axes": Degenerate(norm_of(axis=(0, 2)), zeros(2, 2, 2), zeros(2, 2, 2)),
    "hypot(x, 0) at 0": Degenerate(lambda x: gnp.hypot(x, 0.0), zeros(1), zeros(1)),
    "hypot(x, x) at 0": Degenerate(lambda x: gnp.hypot(x, x), np.array([0.0, -0.0]), zeros(2)),
    "atan2(x, x) at 0": Degenerate(lambda x: gnp.arctan2(x, x), np.array([0.0, -0.0]), zeros(2)),
    "atan2(x, 0) at 0": Degenerate(lambda x: gnp.arctan2(x, 0.0), zeros(1), zeros(1)),
    "atan2(0, x) at 0": Degenerate(lambda x: gnp.arctan2(0.0, x), zeros(1), zeros(1)),
    "atan2 of numbers whose squares are 0": Degenerate(lambda x: gnp.arctan2(x, 1e-200), np.array([0.0]), [1e200]),
    "std of equal elements": Degenerate(gnp.std, np.full(4, 2.0), zeros(4)),
    "std of 0.1": Degenerate(lambda x: gnp.std(x, axis=0), np.full((3, 2), 0.1), zeros(3, 2)),
    "std of one element": Degenerate(gnp.std, np.ones(1), zeros(1)),
    "std of rows, one of them constant": Degenerate(
        lambda x: gnp.std(x, axis=1), np.array([[1.0, 1.0], [0.0, 2.0]]), [[0.0, 0.0], [-0.5, 0.5]]
    ),
    "root of var": Degenerate(lambda x: gnp.sqrt(gnp.var(x)), np.full(4, 2.0), zeros(4)),
    "root of var as a power": Degenerate(lambda x: gnp.var(x) ** 0.5, np.full(4, 2.0), zeros(4)),
    "root of a sum of squares": Degenerate(lambda x: gnp.sqrt(gnp.sum(x * x)), np.array([0.0, -0.0]), zeros(2)),
    "cubic root of a sum": Degenerate(lambda x: gnp.sum(gnp.abs(x) ** 3) ** (1 / 3), zeros(3), zeros(3)),
    "sqrt": Degenerate(gnp.sqrt, np.array([0.0, -0.0, 4.0]), [0.0, 0.0, 0.25], [0.0, 0.0, -1 / 32]),
    "normalize zeros": Degenerate(lambda x: nn.functional.normalize(x, eps=0.5)[0, 0], zeros(1, 2), [[2.0, 0.0]]),
    **{
        f"normalize zeros, p {p}": Degenerate(
            lambda x, p=p: nn.functional.normalize(x, p, eps=0.5)[0, 0], zeros(1, 2), [[2.0, 0.0]]
        )
        for p in (0.5, 1, 1.5, 3, np.inf)
    },
    **{
        f"lp_pool1d of zeros, p {p}": Degenerate(
            lambda x, p=p: nn.lp_pool1d(x, p, 2), np.array([[[0.0, 0.0, 0.0, 3.0]]]), [[[0.0, 0.0, 0.0, last]]]
        )
        for p, last in ((0.5, 1.0), (1, 1.0), (1.5, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (-1, 0.0), (-2, 0.0))
        if p != 1
    },
    "lp_pool1d, p 1": Degenerate(lambda x: nn.lp_pool1d(x, 1, 2), zeros(1, 1, 4), np.ones((1, 1, 4))),
    "lp_pool2d of zeros": Degenerate(lambda x: nn.lp_pool2d(x, 2, 2), zeros(1, 1, 2, 2), zeros(1, 1, 2, 2)),
    "lp_pool3d of zeros": Degenerate(lambda x: nn.lp_pool3d(x, 3, 2), zeros(1, 1, 2, 2, 2), zeros(1, 1, 2, 2, 2)),
    "clip at its bounds": Degenerate(
        lambda x: gnp.clip(x, -1, 1) ** 2,
        np.array([-2.0, -1.0, 0.5, 1.0, 2.0]),
        [0.0, -2.0, 1.0, 2.0, 0.0],
        [0.0, 2.0, 2.0, 2.0, 0.0],
    ),
    "clip at its lower bound": Degenerate(lambda x: gnp.clip(x, 1.0, None), np.array([0.0, 1.0, 2.0]), [0.0, 1.0, 1.0]),
    "clip at its upper bound": Degenerate(lambda x: gnp.clip(x, None, 1.0), np.array([0.0, 1.0, 2.0]), [1.0, 1.0, 0.0]),
    "clip's own bounds": Degenerate(
        lambda x: gnp.clip(np.array([0.0, 1.0, 2.0]), x, x + 1), np.ones(3), [1.0, 0.0, 0.0]
    ),
    "maximum shares a tie": Degenerate(lambda x: gnp.maximum(x, 1.0), np.array([0.0, 1.0, 2.0]), [0.0, 0.5, 1.0]),
    "minimum shares a tie": Degenerate(lambda x: gnp.minimum(x, 1.0), np.array([0.0, 1.0, 2.0]), [1.0, 0.5, 0.0]),
    "max shares a tie": Degenerate(gnp.max, np.array([1.0, 2.0, 2.0]), [0.0, 0.5, 0.5]),
    "min shares a tie": Degenerate(gnp.min, np.array([1.0, 2.0, 1.0]), [0.5, 0.0, 0.5]),
    "ptp of equal elements": Degenerate(gnp.ptp, np.ones(2), zeros(2)),
    "fmax": Degenerate(
        lambda x: gnp.fmax(x, np.array([1.0, 1.0, np.nan, 1.0])),
        np.array([0.0, 1.0, 2.0, np.nan]),
        [0.0, 0.5, 1.0, 0.0],
    ),
    "fmin": Degenerate(
        lambda x: gnp.fmin(x, np.array([1.0, 1.0, np.nan, 1.0])),
        np.array([0.0, 1.0, 2.0, np.nan]),
        [1.0, 0.5, 1.0, 0.0],
    ),
    "nan_to_num": Degenerate(gnp.nan_to_num, np.array([np.nan, np.inf, -np.inf, 0.0]), [0.0, 0.0, 0.0, 1.0]),
    "l1_loss": Degenerate(lambda x: nn.l1_loss(x, np.ones(3), "none"), np.array([0.0, 1.0, 2.0]), [-1.0, 0.0, 1.0]),
    "abs": Degenerate(gnp.abs, np.array([0.0, -0.0, -2.0]), [0.0, 0.0, -1.0]),
    "sign": Degenerate(gnp.sign, np.array([0.0, -0.0, -2.0]), zeros(3)),
    "relu": Degenerate(nn.relu, np.array([0.0, -0.0, 2.0]), [0.0, 0.0, 1.0], zeros(3)),
    "silu at infinities": Degenerate(nn.silu, np.array([np.inf, -np.inf]), [1.0, 0.0], zeros(2)),
    "gelu at infinities": Degenerate(nn.gelu, np.array([np.inf, -np.inf]), [1.0, 0.0], zeros(2)),
    "gelu, tanh, at infinities": Degenerate(
        lambda x: nn.gelu(x, "tanh"), np.array([np.inf, -np.inf]), [1.0, 0.0], zeros(2)
    ),
    "hypot(x, 2) at infinities": Degenerate(
        lambda x: gnp.hypot(x, 2.0), np.array([np.inf, -np.inf]), [1.0, -1.0], zeros(2)
    ),
    "hypot(2, x) at infinities": Degenerate(
        lambda x: gnp.hypot(2.0, x), np.array([np.inf, -np.inf]), [1.0, -1.0], zeros(2)
    ),
    "hypot(inf, x)": Degenerate(lambda x: gnp.hypot(np.inf, x), np.array([0.0, 3.0]), zeros(2), zeros(2)),
    "hypot(x, x) at infinities": Degenerate(
        lambda x: gnp.hypot(x, x), np.array([np.inf, -np.inf]), [2**0.5, -(2**0.5)], zeros(2)
    ),
    "relu6": Degenerate(nn.relu6, np.array([-1.0, 0.0, -0.0, 3.0, 6.0, 7.0]), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0], zeros(6)),
    "hardtanh": Degenerate(nn.hardtanh, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), [0.0, 0.0, 1.0, 0.0, 0.0], zeros(5)),
    "elu": Degenerate(lambda x: nn.elu(x, 2.0), np.array([0.0, -0.0, 1e30]), [2.0, 2.0, 1.0], zeros(3)),
    "leaky_relu": Degenerate(nn.leaky_relu, np.array([0.0, -0.0, 2.0]), [0.01, 0.01, 1.0]),
    "softplus at its threshold": Degenerate(
        lambda x: nn.softplus(x, 1.0, 2.0), np.array([2.0, 2.5, 1e30]), [1 / (1 + np.exp(-2.0)), 1.0, 1.0]
    ),
    "huber at delta": Degenerate(
        lambda x: nn.huber_loss(x, zeros(3), "none", 2.0), np.array([-2.0, 2.0, np.inf]), [-2.0, 2.0, 2.0]
    ),
    "smooth_l1 at beta": Degenerate(
        lambda x: nn.smooth_l1_loss(x, zeros(3), "none", 2.0), np.array([-2.0, 2.0, np.inf]), [-1.0, 1.0, 1.0]
    ),
    "prod with one 0": Degenerate(gnp.prod, np.array([0.0, 2.0, 3.0]), [6.0, 0.0, 0.0]),
    "prod with two zeros": Degenerate(gnp.prod, np.array([0.0, 0.0, 3.0]), zeros(3), [3.0, 3.0, 0.0]),
    "0 ** x": Degenerate(lambda x: gnp.power(0.0, x), np.array([0.0, 0.5, 1.0, 2.0]), zeros(4)),
    "x ** y at 0, in x": Degenerate(
        lambda x: gnp.power(x, np.array([0.0, 1.0, 2.0, 3.0, 2.5])), zeros(5), [0.0, 1.0, 0.0, 0.0, 0.0]
    ),
    "logaddexp of equal infinities": Degenerate(
        lambda x: gnp.logaddexp(x, np.array([np.inf, -np.inf])), np.array([np.inf, -np.inf]), [0.5, 0.5]
    ),
    "logsumexp of -inf": Degenerate(gnp.logsumexp, NEGATIVE_INFINITY, zeros(3)),
    "nn.logsumexp of -inf": Degenerate(nn.functional.logsumexp, NEGATIVE_INFINITY, zeros(3)),
    "logsumexp with -inf": Degenerate(gnp.logsumexp, np.array([-np.inf, 0.0, 0.0]), [0.0, 0.5, 0.5]),
    "softmax with -inf": Degenerate(lambda x: nn.softmax(x)[1], np.array([-np.inf, 0.0, 0.0]), [0.0, 0.25, -0.25]),
    "attention whose first row sees nothing": Degenerate(
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=np.tri(3, k=-1).astype(bool))[0],
        ATTENTION,
        zeros(3, 4),
    ),
    "attention whose first row adds -inf": Degenerate(
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=np.where(np.tri(3, k=-1), 0, -np.inf))[
            0
        ],
        ATTENTION,
        zeros(3, 4),
    ),
    "layer_norm of equal elements": Degenerate(
        lambda x: nn.functional.layer_norm(x, 2, eps=0.25)[0, 0], np.ones((1, 2)), [[1.0, -1.0]]
    ),
    "group_norm of equal elements": Degenerate(
        lambda x: nn.functional.group_norm(x, 1, eps=0.25)[0, 0], np.ones((1, 2)), [[1.0, -1.0]]
    ),
    "batch_norm of equal elements": Degenerate(
        lambda x: nn.functional.batch_norm(x, None, None, training=True, eps=0.25)[0, 0],
        np.ones((2, 1)),
        [[1.0], [-1.0]],
    ),
}


@ONE_DTYPE_COMPILED
def test_degenerate_points_have_the_derivative_of_their_rule(dtype: str, how: str) -> None:
    rows = {name: row for name, row in DEGENERATE.items() if dtype == "float64" or "squares" not in name}
    xs = {name: row.at.astype(dtype) for name, row in rows.items()}

    def program(xs: dict[str, Any]) -> dict[str, Any]:
        return {name: both_orders(row.function)(xs[name]) for name, row in rows.items()}

    with np.errstate(all="ignore"):
        results = gl.compile(program)(xs) if how == "compiled" else program(xs)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    wrong = []
    for name, row in rows.items():
        first, second = results[name]
        if not np.allclose(first, row.gradient, tolerance, tolerance):
            wrong.append(f"{name}: {first}, not {row.gradient}")
        if not (np.isfinite(second).all() if row.second is None else np.allclose(second, row.second, tolerance)):
            wrong.append(f"{name}: second derivative {second}, not {row.second}")
    assert not wrong, "\n".join(wrong)
