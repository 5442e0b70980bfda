"""Draws: by the seed of the step and its number, so that they are other numbers than torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import array_api as xp
from ...nn import functional as F
from ...tracing import random
from ..promotion import default_float
from ..table import aten


@aten("native_dropout.default")
def native_dropout(x: Any, p: float, train: bool | None) -> Any:
    """Srivastava et al. 2014."""
    return F.dropout(x, p, train is not False), None


@aten("dropout.default", whole=True)
def dropout(x: Any, p: float, train: bool) -> Any:
    """Srivastava et al. 2014."""
    return F.dropout(x, p, train)


def _drawn(x: Any, probability: Any) -> Any:
    return xp.astype(random.bernoulli(probability, tuple(x.shape)), x.dtype)


@aten("bernoulli.p")
def bernoulli_p(x: Any, p: float = 0.5) -> Any:
    """1 with a probability, else 0."""
    return _drawn(x, p)


@aten("bernoulli.default", whole=True)
def bernoulli(x: Any) -> Any:
    """1 with the probability that each element says, else 0."""
    return xp.astype(xp.less(random.uniform(tuple(x.shape), dtype=x.dtype), x), x.dtype)


@aten("rand.default")
def rand(size: Sequence[int], dtype: Any = None, **_: Any) -> Any:
    """Uniform in [0, 1)."""
    return random.uniform(tuple(size), dtype=dtype or default_float())


@aten("rand_like.default", whole=True)
def rand_like(x: Any, dtype: Any = None) -> Any:
    """Uniform in [0, 1), in the shape of x."""
    return random.uniform(tuple(x.shape), dtype=dtype or x.dtype)


@aten("randn.default")
def randn(size: Sequence[int], dtype: Any = None, **_: Any) -> Any:
    """Normal."""
    return random.normal(tuple(size), dtype=dtype or default_float())


@aten("randn_like.default", whole=True)
def randn_like(x: Any, dtype: Any = None) -> Any:
    """Normal, in the shape of x."""
    return random.normal(tuple(x.shape), dtype=dtype or x.dtype)


@aten("uniform.default", whole=True)
def uniform(x: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """Uniform in [low, high), in the shape of x."""
    return random.uniform(tuple(x.shape), dtype=x.dtype) * (high - low) + low


@aten("randint.default", "randint.low")
def randint(*args: Any, dtype: Any = None, **_: Any) -> Any:
    """Whole numbers."""
    low, high, size = (0, *args) if len(args) == 2 else args
    return xp.astype(random.randint(tuple(size), low, high), dtype or "int64")
