"""Draws: by the seed of the step and its number, so that they are other numbers than torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...nn import functional as F
from ...tracing import random
from ..promotion import common_dtype, default_float, is_array
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


@aten("randperm.default")
def randperm(n: int, dtype: Any = None, **_: Any) -> Any:
    """The numbers below n in any order."""
    return xp.astype(random.permutation(np.arange(n)), dtype or "int64")


@aten("bernoulli.Tensor", whole=True)
def bernoulli_tensor(x: Any, p: Any, **_: Any) -> Any:
    """1 with the probability that each element of p says, else 0, in the shape of x."""
    return xp.astype(xp.less(random.uniform(tuple(x.shape), dtype=p.dtype), p), x.dtype)


@aten("normal_functional.default", whole=True)
def normal_in_shape(x: Any, mean: float = 0.0, std: float = 1.0, **_: Any) -> Any:
    """Normal, in the shape of x."""
    return random.normal(tuple(x.shape), dtype=x.dtype) * std + mean


@aten("normal.Tensor_Tensor", "normal.Tensor_float", "normal.float_Tensor", whole=True)
def normal(mean: Any, std: Any = 1.0, **_: Any) -> Any:
    """Normal, with a mean and a deviation for each."""
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in (mean, std) if is_array(x)))
    dtype = common_dtype(*(x for x in (mean, std) if is_array(x)))
    return random.normal(shape, dtype=dtype) * std + mean


@aten("normal.float_float", whole=True)
def normal_float(mean: float, std: float, size: Sequence[int], dtype: Any = None, **_: Any) -> Any:
    """Normal, with a mean and a deviation for all."""
    return random.normal(tuple(size), dtype=dtype or default_float()) * std + mean


@aten("exponential.default", whole=True)
def exponential(x: Any, lambd: float = 1.0, **_: Any) -> Any:
    """The times between events of a rate, in the shape of x."""
    return random.exponential(tuple(x.shape), x.dtype) / lambd


@aten("log_normal.default", whole=True)
def log_normal(x: Any, mean: float = 1.0, std: float = 2.0, **_: Any) -> Any:
    """What has a normal logarithm, in the shape of x."""
    return xp.exp(random.normal(tuple(x.shape), dtype=x.dtype) * std + mean)


@aten("cauchy.default", whole=True)
def cauchy(x: Any, median: float = 0.0, sigma: float = 1.0, **_: Any) -> Any:
    """Cauchy's distribution, in the shape of x."""
    return xp.tan((random.uniform(tuple(x.shape), dtype=x.dtype) - 0.5) * np.pi) * sigma + median


@aten("geometric.default", whole=True)
def geometric(x: Any, p: float, **_: Any) -> Any:
    """How many draws it takes until the first of a probability, in the shape of x."""
    draws = random.exponential(tuple(x.shape), x.dtype if is_float(x.dtype) else default_float())
    return xp.astype(xp.maximum(xp.ceil(draws / -np.log1p(-p)), 1), x.dtype)


@aten("multinomial.default", whole=True)
def multinomial(x: Any, num_samples: int, replacement: bool = False, **_: Any) -> Any:
    """Places along the last axis, each with the probability that its element says."""
    shape = (*x.shape[:-1], num_samples)
    logits = xp.log(xp.expand_dims(x, -2))
    if replacement:
        return random.categorical(logits, -1, shape)
    scores = xp.log(x) + random.gumbel(tuple(x.shape), x.dtype)
    return xp.argsort(scores, axis=-1, descending=True)[..., :num_samples]


@aten("_standard_gamma.default", whole=True)
def standard_gamma(x: Any, **_: Any) -> Any:
    """The gamma distribution of each shape."""
    return random.gamma(x, None, x.dtype)


@aten("_sample_dirichlet.default", whole=True)
def sample_dirichlet(x: Any, **_: Any) -> Any:
    """Dirichlet's distribution of each row."""
    return random.dirichlet(x, None, x.dtype)


@aten("randint_like.default", "randint_like.low_dtype", whole=True)
def randint_like(x: Any, *bounds: int, dtype: Any = None, **_: Any) -> Any:
    """Whole numbers, in the shape of x."""
    low, high = (0, *bounds) if len(bounds) == 1 else bounds
    return xp.astype(random.randint(tuple(x.shape), low, high), dtype or x.dtype)
