"""Reductions in kernel source: where one begins, how two parts become one, and the kernel that combines all parts."""

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Op
from ...ir.ops import reduction
from .elementwise import CAST, literal
from .launch import Address, Call

REDUCTIONS = {
    reduction.reduce_sum: "sum",
    reduction.reduce_prod: "prod",
    reduction.reduce_max: "max",
    reduction.reduce_min: "min",
}
"""The reductions that can be made in parts, and their short names."""


def identity(op: Op, dtype: np.dtype[Any]) -> str:
    """The element that a reduction starts from, in kernel source."""
    kind = REDUCTIONS[op]
    if kind in ("sum", "prod"):
        return literal(0 if kind == "sum" else 1, dtype)
    if dtype.kind == "f":
        return literal(-np.inf if kind == "max" else np.inf, dtype)
    if dtype.kind == "b":
        return str(kind == "min")
    info = np.iinfo(dtype)
    return literal(int(info.min if kind == "max" else info.max), dtype)


def combine(op: Op, dtype: np.dtype[Any], x: str, y: str) -> str:
    """Two parts of a reduction as one, in kernel source."""
    kind = REDUCTIONS[op]
    if kind in ("sum", "prod"):
        text = f"{x} {'+' if kind == 'sum' else '*'} {y}"
        return text if dtype.kind == "f" else f"{CAST[dtype]}({text})"
    sign = ">" if kind == "max" else "<"
    keep = f"({x} {sign} {y}) | ({x} != {x})" if dtype.kind == "f" else f"{x} {sign} {y}"
    return f"({x} if {keep} else {y})"


def combine_parts(op: Op, dtype: np.dtype[Any], parts: Address, result: Address, count: int, size: int) -> Call:
    """The reduction of `count` parts of `size` elements each, in the order of their tiles."""
    return Call(_combine_kernel(op, dtype), [parts, result, count, size])


def _combine_kernel(op: Op, dtype: np.dtype[Any]) -> str:
    """Parts of a reduction, in the order of their tiles: 64 of them after one another into the place of the first, then
    64 of these sums in the same way, and so on. Args: parts, result, number of parts, elements of each.
    """
    short = SHORT_NAMES[dtype]
    text = combine(op, dtype, "o[j]", "part[j]")
    return f"""
def kernel(b):
    parts, result = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    count, n = word(b, 2), word(b, 3)
    stride = i64(1)
    while stride * 64 < count:
        for first in range(0, count, stride * 64):
            o = window(parts, first * n, n)
            for t in range(first + stride, count if count < first + stride * 64 else first + stride * 64, stride):
                part = window(parts, t * n, n)
                for j in range(n):
                    o[j] = {text}
        stride = stride * 64
    o = window(result, 0, n)
    for j in range(n):
        o[j] = parts[j]
    for t in range(stride, count, stride):
        part = window(parts, t * n, n)
        for j in range(n):
            o[j] = {text}
    return i64(0)
"""
