"""Operators that draw: their bits are this package's, from the key of the step; seeds in the file are not used."""

from __future__ import annotations

from typing import Any

from .....ir.types import FLOAT32, INT32
from .... import array_api as xp
from ....nn import functional as F
from ....tracing import random
from ...dtypes import dtype_of, number_of
from ..operator import Call, operator

_INT32 = number_of(INT32)


@operator("Dropout", known=(1, 2))
def dropout(call: Call, x: Any, ratio: Any = None, training_mode: Any = None, *, seed: int | None = None) -> Any:
    """Drops in training, where `training_mode` is true; elsewhere it keeps all."""
    probability = 0.5 if ratio is None else float(call.known(ratio, "the ratio").reshape(()))
    drops = training_mode is not None and bool(call.known(training_mode, "training_mode").reshape(()))
    if not (drops and call.training and probability):
        return (x, xp.ones(x.shape, "bool")) if call.wants(1) else x
    if not call.wants(1):
        return F.dropout(x, probability, True)
    kept = random.uniform(x.shape, "float32") >= probability
    return xp.where(kept, x / (1 - probability), 0), kept


def _dtype(call: Call, dtype: int | None, like: Any = None) -> Any:
    if dtype is None:
        return FLOAT32 if like is None else like.dtype
    return dtype_of(dtype, f"{call.node.label}: the result")


@operator("RandomNormal")
def random_normal(
    call: Call, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: Any = None, shape: Any
) -> Any:
    return mean + scale * random.normal(tuple(shape), _dtype(call, dtype))


@operator("RandomNormalLike")
def random_normal_like(
    call: Call, x: Any, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: Any = None
) -> Any:
    return mean + scale * random.normal(x.shape, _dtype(call, dtype, x))


@operator("RandomUniform")
def random_uniform(
    call: Call, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0, seed: Any = None, shape: Any
) -> Any:
    return random.uniform(tuple(shape), _dtype(call, dtype), low, high)


@operator("RandomUniformLike")
def random_uniform_like(
    call: Call, x: Any, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0, seed: Any = None
) -> Any:
    return random.uniform(x.shape, _dtype(call, dtype, x), low, high)


@operator("Bernoulli")
def bernoulli(call: Call, x: Any, *, dtype: int | None = None, seed: Any = None) -> Any:
    return xp.astype(random.bernoulli(x, x.shape), _dtype(call, dtype, x))


@operator("Multinomial")
def multinomial(call: Call, x: Any, *, dtype: int = _INT32, sample_size: int = 1, seed: Any = None) -> Any:
    drawn = random.categorical(x, axis=-1, shape=(sample_size, x.shape[0]))
    return xp.astype(xp.permute_dims(drawn, (1, 0)), _dtype(call, dtype))
