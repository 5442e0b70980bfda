"""Exponential integrals and the dilogarithm of `gl.special`."""

from __future__ import annotations

from typing import Any

from ...ir.ops import special as sp
from ..tracing.tracer import ArrayLike
from .special_ops import binary, unary

spence = unary("spence", sp.spence)
expn = binary(
    "expn",
    sp.expn,
    """The exponential integral Eₙ(x): of e⁻ˣᵗ / tⁿ over t from 1 on, for whole n >= 0 and x >= 0; NaN elsewhere.

    A derivative in `n` raises `NotImplementedError`.
    """,
)


def exp1(x: ArrayLike, /) -> Any:
    """The exponential integral E₁(x): of e⁻ᵗ / t over t from x on, for x >= 0; NaN below."""
    return expn(1, x)
