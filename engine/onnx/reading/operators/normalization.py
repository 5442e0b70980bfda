"""Normalization: by the batch, by groups, by rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....ir.types import FLOAT32
from .... import array_api as xp
from ....nn import functional as F
from ..operator import Call, operator


@operator("BatchNormalization", statistics=(3, 4))
def batch_normalization(
    call: Call,
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Any:
    """By running statistics; with `training_mode`, in training, by those of the batch, along which they then count."""
    if not (training_mode and call.training):
        return _by(x, mean, var, scale, bias, epsilon), mean, var
    axes = (0, *range(2, x.ndim))
    now, spread = xp.mean(x, axis=axes), xp.var(x, axis=axes)
    y = _by(x, now, spread, scale, bias, epsilon)
    means = mean * momentum + now * (1 - momentum)
    variances = var * momentum + spread * (1 - momentum)
    # Statistics are no part of the derivative.
    call.evaluation.assign(call.node.inputs[3], means)
    call.evaluation.assign(call.node.inputs[4], variances)
    return y, means, variances


def _by(x: Any, mean: Any, var: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    mean, var, scale, bias = (_per_channel(each, x.ndim) for each in (mean, var, scale, bias))
    factor = scale / xp.sqrt(var + epsilon)
    return xp.astype((x - mean) * factor + bias, x.dtype)


def _per_channel(values: Any, ndim: int) -> Any:
    return xp.reshape(values, (-1,) + (1,) * (ndim - 2)) if ndim > 2 else values


@operator("InstanceNormalization")
def instance_normalization(call: Call, x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("GroupNormalization", since=21)
def group_normalization(
    call: Call, x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator("GroupNormalization", since=18)
def group_normalization_by_group(
    call: Call, x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5
) -> Any:
    """Scale and bias are of groups, and not of channels."""
    each = x.shape[1] // num_groups
    return F.group_norm(x, num_groups, xp.repeat(scale, each), xp.repeat(bias, each), epsilon)


@operator("LayerNormalization")
def layer_normalization(
    call: Call, x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    at = axis % x.ndim
    y = _rows_normalized(x, at, scale, bias, epsilon, F.layer_norm)
    if not (call.wants(1) or call.wants(2)):
        return y
    over, wide = tuple(range(at, x.ndim)), xp.astype(x, FLOAT32)
    mean = xp.mean(wide, axis=over, keepdims=True)
    return y, mean, 1 / xp.sqrt(xp.var(wide, axis=over, keepdims=True) + epsilon)


@operator("RMSNormalization")
def rms_normalization(
    call: Call, x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    return _rows_normalized(x, axis % x.ndim, scale, None, epsilon, F.rms_norm)


def _rows_normalized(x: Any, at: int, scale: Any, bias: Any, epsilon: float, normalize: Any) -> Any:
    """`normalize` over all axes from `at` on; scale and bias may need broadcasting there."""
    shape = tuple(x.shape[at:])
    if tuple(scale.shape) == shape and (bias is None or tuple(bias.shape) == shape):
        return normalize(x, shape, scale, **({} if bias is None else {"bias": bias}), eps=epsilon)
    y = normalize(x, shape, eps=epsilon) * scale
    return xp.astype(y if bias is None else y + bias, x.dtype)


@operator("LRN")
def lrn(call: Call, x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Each element by the squares of its neighbours among the channels."""
    before, behind = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = xp.pad(x * x, [(0, 0), (before, behind), *[(0, 0)] * (x.ndim - 2)])
    total: Any = np.zeros((), x.dtype)
    for i in range(size):
        total = total + squares[:, i : i + x.shape[1]]
    return x / (bias + alpha / size * total) ** beta


@operator("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: Any, *, axes: Any = (0, 2, 3)) -> Any:
    mean = xp.mean(x, axis=tuple(axes), keepdims=True)
    return (x - mean) / (xp.sqrt(xp.var(x, axis=tuple(axes), keepdims=True)) + 1e-9)
