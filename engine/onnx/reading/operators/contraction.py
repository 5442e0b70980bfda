"""Operators that sum products."""

from __future__ import annotations

from typing import Any

from .....ir import is_float
from .... import array_api as xp
from ..operator import Call, operator


@operator("MatMul")
def matmul(call: Call, x: Any, y: Any) -> Any:
    return xp.matmul(x, y)


@operator("Gemm")
def gemm(
    call: Call,
    x: Any,
    y: Any,
    bias: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Any:
    result = xp.matmul(xp.matrix_transpose(x) if transA else x, xp.matrix_transpose(y) if transB else y)
    result = _times(result, alpha)
    return result if bias is None else result + _times(bias, beta)


def _times(x: Any, factor: float) -> Any:
    return x if factor == 1 else x * (factor if is_float(x.dtype) else int(factor))


@operator("Einsum")
def einsum(call: Call, *inputs: Any, equation: str) -> Any:
    return xp.einsum(equation.replace(" ", ""), *inputs)


@operator("Det")
def det(call: Call, x: Any) -> Any:
    return xp.linalg.det(x)
