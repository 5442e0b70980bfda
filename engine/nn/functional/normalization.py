"""Normalization by the statistics of a batch, of each image, or of groups of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....ir import is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.activations import rounded_once
from ...tracing.batch_parts import batch_parts
from ...tracing.tracer import ShapeError, TracingError, located
from ...tracing.transforms import stop_gradient
from .pooling import avg_pool2d
from .spatial import fitting_groups


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of `x` in the form that makes few sums of their derivatives.

    What does not depend on the point that x is measured from is computed from x - center, where `center` has the value
    of the mean and derivative 0, and `off` = mean - center has the value 0 and the derivative of the mean. For any
    constant c, variance = E(x - c)² - (mean - c)² and (x - mean) a = (x - c) a - (mean - c) a: derivatives of every
    order are right, and to the whole array they go by elements alone.
    """

    center: Any
    off: Any
    variance: Any
    rows: int = 0
    """Entries of the first axis of x that share one of the statistics', where those are of parts; else 0."""

    @staticmethod
    def of(x: Any, axes: tuple[int, ...]) -> Statistics:
        """Those over `axes`, which are kept with length 1; in two passes, so that the variance keeps its digits beside
        a large mean. It is divided by n.
        """
        mean = xp.mean(x, axis=axes, keepdims=True)
        center = stop_gradient(mean)
        off = mean - center
        return Statistics(center, off, xp.mean((x - center) * (x - center), axis=axes, keepdims=True) - off * off)

    @staticmethod
    def of_parts(x: Any, axes: tuple[int, ...], parts: int) -> Statistics:
        """As `of`, of each of so many equal parts of the first axis, which is one of `axes`: its length is `parts`."""
        if parts == 1:
            return Statistics.of(x, axes)
        rows = x.shape[0] // parts

        def mean_of_parts(values: Any) -> Any:
            of_rows = xp.mean(values, axis=axes[1:], keepdims=True) if len(axes) > 1 else values
            return xp.mean(xp.reshape(of_rows, (parts, rows, *of_rows.shape[1:])), axis=1)

        mean = mean_of_parts(x)
        center = stop_gradient(mean)
        off = mean - center
        around = x - _repeated(center, rows)
        return Statistics(center, off, mean_of_parts(around * around) - off * off, rows)

    def normalized(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        """(x - mean) / √(variance + eps), times weight, plus bias, each in a shape that fits x, or `None`."""
        scale = 1 / xp.sqrt(self.variance + eps)
        scale = scale if weight is None else scale * weight
        shift = self.off * scale
        # Another name for the center makes another subtraction: one that is fused here, where the one of the variance,
        # read by two loops over x, would be kept as an array of its own.
        center, shift = stop_gradient(self.center), -shift if bias is None else bias - shift
        if self.rows:
            center, scale, shift = (_repeated(v, self.rows) for v in (center, scale, shift))
        return (x - center) * scale + shift


def _repeated(of_parts: Any, rows: int) -> Any:
    """(parts, ...) as (parts * rows, ...)."""
    parts, *rest = of_parts.shape
    spread = xp.broadcast_to(xp.reshape(of_parts, (parts, 1, *rest)), (parts, rows, *rest))
    return xp.reshape(spread, (parts * rows, *rest))


def _channels(what: str, x: Any, **vectors: Any) -> None:
    """Raise unless x is (N, C, ...) floats and every vector that is given has one number for each channel."""
    if x.ndim < 2 or not is_float(x.dtype):
        raise ShapeError(located(f"{what}: the input is (N, C, ...) floats, got {described(x)}"))
    for name, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != (x.shape[1],):
            raise ShapeError(
                located(f"{what}: {name} has one number for each of {x.shape[1]} channels, got {described(vector)}")
            )


def _along_channels(vector: Any, x: Any) -> Any:
    """(C,) as (1, C, 1, ...)."""
    return xp.reshape(vector, (1, -1) + (1,) * (x.ndim - 2))


def _normalized(x: Any, statistics: Statistics, weight: Any, bias: Any, eps: float) -> Any:
    """`Statistics.normalized` with weight and bias for each channel."""
    weight = None if weight is None else _along_channels(weight, x)
    return statistics.normalized(x, weight, None if bias is None else _along_channels(bias, x), eps)


def _by_given(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(x - mean) / √(variance + eps), times weight, plus bias, all (C,)."""
    scale = 1 / xp.sqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    result = (x - _along_channels(mean, x)) * _along_channels(scale, x)
    return result if bias is None else result + _along_channels(bias, x)


def _of_nothing(x: Any, weight: Any, bias: Any) -> Any:
    """An empty result that still depends on weight and bias, by 0; nothing has no statistics."""
    result = x if weight is None else x * _along_channels(weight, x)
    return result if bias is None else result + _along_channels(bias, x)


def _optional(*arrays: Any) -> list[Any]:
    return [None if array is None else as_arraylike(array) for array in arrays]


def check_batch_statistics(what: str, x: Any, parts: int = 1) -> int:
    """Values of each channel in each of `parts` parts of the batch. Raises `ShapeError` where there is only one, whose
    variance says nothing, and where the first axis does not fall into so many parts.
    """
    if x.shape[0] % parts:
        raise ShapeError(
            located(
                f"{what}: with accumulate={parts} there are statistics of each part of the batch, and the first axis "
                f"of {described(x)} does not fall into {parts} parts; normalize what has the batch as its first axis"
            )
        )
    count = x.shape[0] // parts * math.prod(x.shape[2:])
    if count == 1:
        of_part = f" in each of {parts} parts of the batch" if parts > 1 else ""
        raise ShapeError(
            located(
                f"{what}: in training there must be more than one value for each channel{of_part}, got {described(x)}; "
                "take a larger batch, or model.eval()"
            )
        )
    return count


@rounded_once
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / √(variance + eps) for each channel of (N, C, ...), then times weight, plus bias, each (C,).

    In training, or without running statistics, mean and variance are those of the batch, the variance divided by n.
    The running statistics are read and never changed here: `nn.BatchNorm2d` keeps them, with its `momentum`. Ioffe and
    Szegedy 2015, "Batch normalization".
    """
    x, *given = [as_arraylike(input), *_optional(running_mean, running_var, weight, bias)]
    running_mean, running_var, weight, bias = given
    _channels("batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if (running_mean is None) != (running_var is None):
        raise TracingError(located("batch_norm: running_mean and running_var are given both, or neither"))
    if not training and running_mean is not None:
        return _by_given(x, running_mean, running_var, weight, bias, eps)
    parts = batch_parts()
    if check_batch_statistics("batch_norm", x, parts) == 0:
        return _of_nothing(x, weight, bias)
    return _normalized(x, Statistics.of_parts(x, (0, *range(2, x.ndim)), parts), weight, bias, eps)


@rounded_once
def batch_norm_in_training(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, factors: Sequence[Any], eps: float
) -> tuple[Any, Any, Any]:
    """The result of `batch_norm` by the batch's statistics, and the running ones moved to those, by a factor for each
    part of the batch that has its own; an empty batch leaves them as they are.

    The running variance takes that of the batch divided by n - 1, as in torch.
    """
    x = as_arraylike(x)
    _channels("batch_norm", x, running_mean=running_mean, weight=weight)
    count = check_batch_statistics("batch_norm", x, len(factors))
    if count == 0:
        return _of_nothing(x, weight, bias), running_mean, running_var
    batch = Statistics.of_parts(x, (0, *range(2, x.ndim)), len(factors))
    for part, factor in enumerate(factors):
        mean, variance = (xp.reshape(v[part : part + 1], (-1,)) for v in (batch.center, batch.variance))
        running_mean = _moved(running_mean, mean, factor)
        running_var = _moved(running_var, variance * (count / max(count - 1, 1)), factor)
    return _normalized(x, batch, weight, bias, eps), running_mean, running_var


def _moved(running: Any, value: Any, factor: Any) -> Any:
    return xp.astype(running * (1 - factor) + value * factor, running.dtype)


@rounded_once
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """As `batch_norm`, with mean and variance of each image and channel of (N, C, ...) by themselves.

    Without `use_input_stats` the running ones are read. Ulyanov, Vedaldi and Lempitsky 2016.
    """
    x = as_arraylike(input)
    running_mean, running_var, weight, bias = _optional(running_mean, running_var, weight, bias)
    _channels("instance_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise TracingError(located("instance_norm: without use_input_stats it needs running_mean and running_var"))
        return _by_given(x, running_mean, running_var, weight, bias, eps)
    _check_positions("instance_norm", x)
    return _normalized(x, Statistics.of(x, tuple(range(2, x.ndim))), weight, bias, eps)


def _check_positions(what: str, x: Any) -> int:
    count = math.prod(x.shape[2:])
    if x.ndim < 3 or count == 1:
        raise ShapeError(
            located(f"{what}: there must be more than one value for each image and channel, got {described(x)}")
        )
    return count


@rounded_once
def instance_norm_in_training(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    """The result of `instance_norm`, and the running statistics moved to the batch's mean ones by `momentum`."""
    x = as_arraylike(x)
    _channels("instance_norm", x, running_mean=running_mean, weight=weight)
    count = _check_positions("instance_norm", x)
    if x.size == 0:
        return _of_nothing(x, weight, bias), running_mean, running_var
    images = Statistics.of(x, tuple(range(2, x.ndim)))
    means = xp.mean(xp.reshape(images.center, x.shape[:2]), axis=0)
    variances = xp.mean(xp.reshape(images.variance, x.shape[:2]), axis=0) * (count / max(count - 1, 1))
    new_mean, new_variance = _moved(running_mean, means, momentum), _moved(running_var, variances, momentum)
    return _normalized(x, images, weight, bias, eps), new_mean, new_variance


@rounded_once
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / √(variance + eps) over each of `num_groups` groups of channels of each image of (N, C, ...); then
    times weight, plus bias, each (C,). Wu and He 2018, "Group normalization".
    """
    x = as_arraylike(input)
    weight, bias = _optional(weight, bias)
    _channels("group_norm", x, weight=weight, bias=bias)
    batch, channels = x.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(
            located(
                f"group_norm: num_groups {num_groups} does not divide the {channels} channels of {described(x)}; "
                f"{fitting_groups(channels)}"
            )
        )
    groups = xp.reshape(x, (batch, num_groups, channels // num_groups, *x.shape[2:]))
    weight, bias = (
        None if v is None else xp.reshape(v, (1, num_groups, -1) + (1,) * (x.ndim - 2)) for v in (weight, bias)
    )
    result = Statistics.of(groups, tuple(range(2, groups.ndim))).normalized(groups, weight, bias, eps)
    return xp.reshape(result, x.shape)


@rounded_once
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x / (k + alpha times the mean of x² over `size` neighbouring channels) ** beta, for (N, C, L) or (N, C, d1, ...).

    Channels beyond the first and the last count as 0; of an even size one more is before than behind. Krizhevsky,
    Sutskever and Hinton 2012.
    """
    x = as_arraylike(input)
    if x.ndim < 3 or not is_float(x.dtype):
        raise ShapeError(located(f"local_response_norm: the input is (N, C, ...) floats, got {described(x)}"))
    if size < 1:
        raise ValueError(located(f"local_response_norm: size is 1 or more, got {size}"))
    if x.size == 0:
        return x
    squares = xp.reshape(x * x, (*x.shape[:2], -1))
    around = xp.pad(squares, ((0, 0), (size // 2, (size - 1) // 2), (0, 0)))
    mean = avg_pool2d(xp.expand_dims(around, 1), (size, 1), 1)
    return x / (k + alpha * xp.reshape(mean, x.shape)) ** beta
