"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import array_api as xp
from ...nn import functional as F
from ...tracing.scan import scan
from ..table import aten


@aten("mm.default", "bmm.default", "matmul.default", "mv.default", whole=True)
def matmul(x: Any, y: Any) -> Any:
    """The product of matrices."""
    return xp.matmul(x, y)


@aten("dot.default", "vdot.default", whole=True)
def dot(x: Any, y: Any) -> Any:
    """The product of two vectors."""
    return xp.matmul(x, y)


def _plus(x: Any, product: Any, beta: Any, alpha: Any) -> Any:
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (x if beta == 1 else x * beta)


@aten("addmm.default", "addbmm.default", "baddbmm.default", "addmv.default", whole=True)
def addmm(x: Any, y: Any, z: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta x + alpha y z."""
    return _plus(x, xp.matmul(y, z), beta, alpha)


@aten("linear.default", whole=True)
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b."""
    return F.linear(x, weight, bias)


@aten("bilinear.default", whole=True)
def bilinear(x: Any, y: Any, weight: Any, bias: Any = None) -> Any:
    """xᵀ A y + b."""
    return F.bilinear(x, y, weight, bias)


@aten("einsum.default", whole=True)
def einsum(equation: str, operands: Sequence[Any], path: Any = None) -> Any:
    """A sum of products by Einstein's convention."""
    return xp.einsum(equation, *operands)


@aten("outer.default", "ger.default", whole=True)
def outer(x: Any, y: Any) -> Any:
    """All products of two vectors."""
    return xp.outer(x, y)


@aten("cumsum.default")
def cumsum(x: Any, dim: int, dtype: Any = None) -> Any:
    """Sums up to each place."""
    if dtype is not None:
        x = xp.astype(x, dtype)
    return xp.cumsum(x, dim) if x.ndim else x


@aten("cumprod.default", whole=True)
def cumprod(x: Any, dim: int, dtype: Any = None) -> Any:
    """Products up to each place."""
    if dtype is not None:
        x = xp.astype(x, dtype)
    return xp.cumprod(x, dim) if x.ndim else x


@aten("logcumsumexp.default", whole=True)
def logcumsumexp(x: Any, dim: int) -> Any:
    """Logarithms of the sums of exponentials up to each place."""
    if not x.ndim or not x.shape[dim]:
        return x
    moved = xp.moveaxis(x, dim, 0)

    def add(total: Any, each: Any) -> tuple[Any, Any]:
        total = xp.logaddexp(total, each)
        return total, total

    return xp.moveaxis(scan(add, xp.full_like(moved[0], -np.inf), moved)[1], 0, dim)
