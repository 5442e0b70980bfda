"""Metrics to evaluate by: `gl.metrics`. Functions of a model and a batch, with a number for each example.

A batch is `{"x": ..., "y": ...}` or `(x, y)`: inputs, which the model is called with, and targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import array_api as xp
from ..tracing.errors import ShapeError
from ..tracing.missing_names import attributes_of
from ..tracing.numbers import as_whole
from ..tracing.tracer import located

__all__ = [
    "accuracy",
    "mean_absolute_error",
    "mean_squared_error",
    "top_k_accuracy",
]


def accuracy(model: Any, batch: Any) -> Any:
    """Whether the largest of the model's outputs, (rows, classes), is at the class `y`, (rows,); more axes after the
    first of `y` are averaged. An output of one number a row, against 0 or 1, counts as a logit.
    """
    output, target = _output_and_target(model, batch)
    if output.ndim == target.ndim:
        right = (output > 0) == (target > 0.5)
    else:
        right = xp.argmax(output, axis=-1 if target.shape == output.shape[:-1] else 1) == target
    return _by_example(right)


def top_k_accuracy(k: int) -> Callable[[Any, Any], Any]:
    """Whether the class `y` is among the `k` largest outputs. Raises `ValueError` unless `k` is 1 or more."""
    whole = as_whole(k)
    if whole is None or whole < 1:
        raise ValueError(located(f"k is a whole number of 1 or more, got {k!r}"))

    def metric(model: Any, batch: Any) -> Any:
        output, target = _output_and_target(model, batch)
        own = xp.take_along_axis(output, target[..., None], axis=-1)
        return _by_example(xp.sum(xp.astype(output > own, "int64"), axis=-1) < whole)

    metric.__name__ = f"top_{whole}_accuracy"
    return metric


def mean_squared_error(model: Any, batch: Any) -> Any:
    """The square of the difference between output and `y`."""
    error = _error(model, batch)
    return _by_example(error * error)


def mean_absolute_error(model: Any, batch: Any) -> Any:
    """The absolute difference between output and `y`."""
    return _by_example(xp.abs(_error(model, batch)))


def _error(model: Any, batch: Any) -> Any:
    output, target = _output_and_target(model, batch)
    if math.prod(output.shape) != math.prod(target.shape):
        raise ShapeError(
            located(f"the model's output is {output.shape} and y is {target.shape}: one number for another")
        )
    return output - xp.astype(xp.reshape(target, output.shape), output.dtype)


def _by_example(figures: Any) -> Any:
    """One number for each example: means over further axes."""
    figures = xp.astype(figures, "float32") if figures.dtype == bool else figures
    return xp.mean(figures, axis=tuple(range(1, figures.ndim))) if figures.ndim > 1 else figures


def _output_and_target(model: Any, batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, Mapping) and {"x", "y"} <= batch.keys():
        return model(batch["x"]), batch["y"]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return model(batch[0]), batch[1]
    what = "this metric takes batches of x and y"
    raise TypeError(located(f"{what}; for others write a function: lambda model, batch: ..."))


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.metrics")
__dir__ = __all__.copy
