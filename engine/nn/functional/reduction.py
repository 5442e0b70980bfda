"""What losses have in common: shapes that must be the same, weights, and the reduction to one number."""

from __future__ import annotations

from typing import Any, Literal

from ....ir import is_float
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, broadcasts_to, described
from ...tracing.tracer import ShapeError, TracingError, located

Reduction = Literal["mean", "sum", "none"]


def check_reduction(reduction: str) -> None:
    """Raise `ValueError` unless `reduction` is one."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(located(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}"))


def reduced(loss: Any, reduction: str) -> Any:
    """The mean or the sum of all elements, or the elements themselves."""
    if reduction == "mean":
        return xp.mean(loss)
    if reduction == "sum":
        return xp.sum(loss)
    return loss


def pair(what: str, input: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    """Input and target as arrays. Raises `ShapeError` unless they have one shape: they do not broadcast."""
    check_reduction(reduction)
    input, target = as_arraylike(input), as_arraylike(target)
    if input.shape != target.shape:
        raise ShapeError(
            located(
                f"{what}: input is {described(input)} and target {described(target)}; reshape one to the other's shape"
            )
        )
    return input, target


def float_pair(what: str, input: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    """As `pair`, with an input of floats, and an integer target in its dtype."""
    input, target = pair(what, input, target, reduction)
    return check_floats(what, "input", input), as_floats(target, input)


def check_floats(what: str, name: str, x: Any) -> Any:
    """`x` as an array. Raises `TracingError` unless it holds floats."""
    x = as_arraylike(x)
    if not is_float(x.dtype):
        raise TracingError(located(f"{what}: {name} holds floats, got {described(x)}; write .astype('float32')"))
    return x


def as_floats(x: Any, like: Any) -> Any:
    """`x` as an array, integers in the dtype of `like`."""
    x = as_arraylike(x)
    return x if is_float(x.dtype) else xp.astype(x, like.dtype)


def broadcast_weight(what: str, name: str, weight: Any, like: Any) -> Any:
    """A weight in the dtype of `like`. Raises `ShapeError` unless it broadcasts to its shape."""
    weight = as_arraylike(weight)
    if not broadcasts_to(weight.shape, like.shape):
        raise ShapeError(
            located(f"{what}: {name} broadcasts to {described(like)}, got {described(weight)}; reshape it")
        )
    return xp.astype(weight, like.dtype)
