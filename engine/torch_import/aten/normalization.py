"""Normalizations by means and variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import array_api as xp
from ...nn import functional as F
from ...nn.functional.normalization import batch_norm_in_training, instance_norm_in_training
from ...tracing.batch_parts import batch_parts
from ...tracing.errors import UnsupportedError, located
from ..table import aten, op


@aten("layer_norm.default", whole=True)
def layer_norm(
    x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = False
) -> Any:
    """Ba et al. 2016."""
    return F.layer_norm(x, tuple(normalized_shape), weight, bias, eps)


@aten("native_layer_norm.default")
def native_layer_norm(x: Any, normalized_shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    """Ba et al. 2016."""
    return F.layer_norm(x, tuple(normalized_shape), weight, bias, eps), None, None


@aten("rms_norm.default", whole=True)
def rms_norm(x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """Zhang and Sennrich 2019."""
    return F.rms_norm(x, tuple(normalized_shape), weight, eps)


@aten("group_norm.default", whole=True)
def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """Wu and He 2018."""
    return F.group_norm(x, num_groups, weight, bias, eps)


@aten("native_group_norm.default")
def native_group_norm(x: Any, weight: Any, bias: Any, n: int, c: int, hxw: int, group: int, eps: float) -> Any:
    """Wu and He 2018."""
    return F.group_norm(x, group, weight, bias, eps), None, None


@aten("_native_batch_norm_legit_functional.default", whole=True)
def batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """Ioffe and Szegedy 2015; the running statistics are the last results."""
    if not training:
        result = F.batch_norm(x, running_mean, running_var, weight, bias, False, eps=eps)
        return result, None, None, running_mean, running_var
    factors = [momentum] * batch_parts()
    result, mean, variance = batch_norm_in_training(x, running_mean, running_var, weight, bias, factors, eps)
    return result, None, None, mean, variance


@op("gradloom.batch_norm.default")
def batch_norm_that_counts(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, count: Any, momentum: float | None, eps: float
) -> Any:
    """Batch norm in training, the running statistics and their number; without a momentum they are means over all."""
    factors: list[Any] = []
    for _ in range(batch_parts()):
        count = count + 1
        factors.append(momentum if momentum is not None else 1.0 / xp.astype(count, running_mean.dtype))
    return *batch_norm_in_training(x, running_mean, running_var, weight, bias, factors, eps), count


@op("gradloom.instance_norm.default")
def instance_norm_with_statistics(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> Any:
    """Instance norm in training, and the running statistics."""
    return instance_norm_in_training(x, running_mean, running_var, weight, bias, momentum, eps)


@aten("_native_batch_norm_legit.no_stats")
def batch_norm_without_statistics(x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    """Batch norm by the batch, which keeps nothing."""
    return F.batch_norm(x, None, None, weight, bias, True, eps=eps), None, None


@aten("_native_batch_norm_legit_no_training.default")
def batch_norm_in_evaluation(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> Any:
    """Batch norm by running statistics."""
    return F.batch_norm(x, running_mean, running_var, weight, bias, False, eps=eps), None, None


@aten("instance_norm.default", whole=True)
def instance_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Ulyanov et al. 2016."""
    if use_input_stats and running_mean is not None:
        what = "F.instance_norm that moves running statistics is not supported: an export loses what it writes"
        raise UnsupportedError(located(f"{what}; write torch.nn.InstanceNorm2d(..., track_running_stats=True)"))
    return F.instance_norm(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@aten("_weight_norm_interface.default")
def weight_norm_interface(v: Any, g: Any, dim: int = 0) -> Any:
    """Salimans and Kingma 2016."""
    axes = tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    norm = xp.sqrt(xp.sum(v * v, axis=axes, keepdims=True))
    return v * (g / norm), None


@aten("_weight_norm.default", whole=True)
def weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    """Salimans and Kingma 2016."""
    if dim == -1:
        return v * (g / xp.sqrt(xp.sum(v * v)))
    return weight_norm_interface(v, g, dim)[0]
