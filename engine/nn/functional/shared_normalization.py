"""Batch normalization by the statistics of a batch that several ranks share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.ops import collectives
from ... import array_api as xp
from ...array_api.broadcasting import described
from ...tracing.tracer import ShapeError, emit, located


def batch_norm_of_all(x: Any, weight: Any, bias: Any, eps: float, ranks: int, parts: int) -> tuple[Any, Any, Any]:
    """One part (N, C, ...) of the batch, normalized by mean and variance of each channel over all `parts`; these, the
    variance without bias.
    """
    axes = (0, *range(2, x.ndim))
    count = parts * (x.size // x.shape[1] if x.shape[1] else 0)
    if count < 2:
        what = f"SyncBatchNorm: in training there must be more than one value for each channel, got {described(x)}"
        raise ShapeError(located(what))

    def of_all(value: Any) -> Any:
        of_part = xp.mean(value, axis=axes, keepdims=True) * np.asarray(1 / parts, value.dtype)[()]
        return emit(collectives.all_reduce, of_part, ranks=ranks)

    mean = of_all(x)
    around = x - mean
    variance = of_all(around * around)
    result = around / xp.sqrt(variance + eps)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    for vector, combine in ((weight, lambda a, b: a * b), (bias, lambda a, b: a + b)):
        result = result if vector is None else combine(result, xp.reshape(vector, shape))
    unbiased = variance * np.asarray(count / (count - 1), variance.dtype)[()]
    return result, xp.reshape(mean, (-1,)), xp.reshape(unbiased, (-1,))


def moved(running: Any, now: Any, rate: Any) -> Any:
    """A running statistic that has moved so far to that of the batch."""
    return xp.astype((1 - rate) * running + rate * now, running.dtype)
