"""Operators that combine elements along axes, or run along one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .....ir import is_float, kind_of
from .... import array_api as xp
from ....nn import functional as F
from ..operator import Call, operator

Combine = Callable[..., Any]


def _least(dtype: Any) -> Any:
    kind = kind_of(dtype)
    return -math.inf if kind == "f" else False if kind == "b" else np.iinfo(dtype).min


def _most(dtype: Any) -> Any:
    kind = kind_of(dtype)
    return math.inf if kind == "f" else True if kind == "b" else np.iinfo(dtype).max


def _max(x: Any, **axes: Any) -> Any:
    if x.dtype.kind == "b":
        return xp.any(x, **axes)
    return xp.max(x, **axes, **({"initial": _least(x.dtype)} if not x.size else {}))


def _min(x: Any, **axes: Any) -> Any:
    if x.dtype.kind == "b":
        return xp.all(x, **axes)
    return xp.min(x, **axes, **({"initial": _most(x.dtype)} if not x.size else {}))


def _sum(x: Any, **axes: Any) -> Any:
    return xp.sum(x, dtype=x.dtype, **axes)


def _mean(x: Any, **axes: Any) -> Any:
    if is_float(x.dtype):
        return xp.mean(x, **axes)
    total = _sum(x, **axes)
    return xp.astype(total // (x.size // max(total.size, 1)), x.dtype)


def _log_sum_exp(x: Any, **axes: Any) -> Any:
    return xp.logsumexp(x, **axes) if x.size else xp.log(_sum(x, **axes))


# What is done to each element, how they are combined, and what is done to the result.
_REDUCTIONS: dict[str, Combine] = {
    "ReduceL1": lambda x, **axes: _sum(xp.abs(x), **axes),
    "ReduceL2": lambda x, **axes: xp.sqrt(_sum(x * x, **axes)),
    "ReduceLogSum": lambda x, **axes: xp.log(_sum(x, **axes)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _max,
    "ReduceMean": _mean,
    "ReduceMin": _min,
    "ReduceProd": lambda x, **axes: xp.prod(x, dtype=x.dtype, **axes),
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, **axes: _sum(x * x, **axes),
}
_IN_FLOATS = frozenset({"ReduceL2", "ReduceLogSum", "ReduceLogSumExp"})


def _enter(name: str, combine: Combine) -> None:
    @operator(name, known=(1,))
    def reduce(
        call: Call, x: Any, given: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        over = axes if given is None else call.numbers(given, "the axes")
        if not over:
            over = () if noop_with_empty_axes else tuple(range(x.ndim))
        if name not in _IN_FLOATS or is_float(x.dtype):
            return combine(x, axis=tuple(over), keepdims=bool(keepdims))
        return xp.astype(combine(xp.astype(x, "float64"), axis=tuple(over), keepdims=bool(keepdims)), x.dtype)


for _name, _combine in _REDUCTIONS.items():
    _enter(_name, _combine)


def _arg(find: Combine, x: Any, axis: int, keepdims: int, select_last_index: int) -> Any:
    if not select_last_index:
        return xp.astype(find(x, axis=axis, keepdims=bool(keepdims)), "int64")
    found = find(xp.flip(x, axis=axis), axis=axis, keepdims=bool(keepdims))
    return x.shape[axis] - 1 - xp.astype(found, "int64")


@operator("ArgMax")
def arg_max(call: Call, x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return _arg(xp.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(call: Call, x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
    return _arg(xp.argmin, x, axis, keepdims, select_last_index)


@operator("Softmax")
def softmax(call: Call, x: Any, *, axis: int = -1) -> Any:
    return F.softmax(x, axis=axis)


@operator("LogSoftmax")
def log_softmax(call: Call, x: Any, *, axis: int = -1) -> Any:
    return F.log_softmax(x, axis=axis)


@operator("Hardmax")
def hardmax(call: Call, x: Any, *, axis: int = -1) -> Any:
    return xp.one_hot(xp.argmax(x, axis=axis), x.shape[axis], dtype=x.dtype, axis=axis)


def _along(call: Call, run: Combine, x: Any, axis: Any, exclusive: int, reverse: int, first: int) -> Any:
    at = call.number(axis, "the axis")
    x = xp.flip(x, axis=at) if reverse else x
    result = run(x, axis=at, dtype=x.dtype)
    if exclusive:
        shape = tuple(1 if i == at % x.ndim else n for i, n in enumerate(x.shape))
        kept = result[tuple(slice(0, -1) if i == at % x.ndim else slice(None) for i in range(x.ndim))]
        result = xp.concat([xp.full(shape, first, dtype=x.dtype), kept], axis=at)
    return xp.flip(result, axis=at) if reverse else result


@operator("CumSum", known=(1,))
def cum_sum(call: Call, x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    return _along(call, xp.cumsum, x, axis, exclusive, reverse, 0)


@operator("CumProd", known=(1,))
def cum_prod(call: Call, x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    return _along(call, xp.cumprod, x, axis, exclusive, reverse, 1)


@operator("LpNormalization")
def lp_normalization(call: Call, x: Any, *, axis: int = -1, p: int = 2) -> Any:
    if p not in (1, 2):
        raise call.refuse(f"p is 1 or 2, got {p}")
    norm = xp.sum(xp.abs(x), axis=axis, keepdims=True) if p == 1 else xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))
    # A line of zeros stays one.
    return xp.where(norm == 0, 0, x / xp.where(norm == 0, 1, norm))
