"""Gradients bounded element by element, and in their norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .. import array_api as xp

_FLOAT64 = np.dtype("float64")


class Totals(Protocol):
    """What adds up all elements of an array, and finds the largest."""

    def sum(self, x: Any) -> Any:
        """The sum of all elements."""
        ...

    def max(self, x: Any) -> Any:
        """The largest of elements that are not negative."""
        ...


class _Plain:
    """Of an array that is there as a whole."""

    def sum(self, x: Any) -> Any:
        return xp.sum(x)

    def max(self, x: Any) -> Any:
        return xp.max(x)


PLAIN: Totals = _Plain()


def clipped(
    gradients: list[Any], clip_norm: float | None, clip_value: float | None, totals: Totals = PLAIN
) -> list[Any]:
    """Element by element to ±`clip_value`, then by the 2-norm of all together to `clip_norm`.

    As `torch.nn.utils.clip_grad_value_` and `clip_grad_norm_`: each gradient is times clip_norm / (norm + 1e-6) where
    that is below 1; where an element is infinite the finite ones become 0 and that one NaN, and all are NaN where one
    is. Unlike there the norm is right where squares overflow.
    """
    if clip_value is not None:
        gradients = [xp.clip(gradient, -clip_value, clip_value) for gradient in gradients]
    if clip_norm is None or not gradients:
        return gradients
    factor = _factor(gradients, clip_norm, totals)
    return [_times(g, factor) for g in gradients]


def _times(gradient: Any, factor: Any) -> Any:
    """In the gradient's own dtype, where a factor may be too small that gives a number with a large element: by as much
    of it as there is a number for, and then by the rest, which is 1 but for norms of more than 1e30. (A gradient that
    was made float64 here, as for its norm, would be kept as such between the two.)
    """
    most = xp.maximum(factor, 1e-30 if gradient.dtype == np.dtype("float32") else 1e-290)
    return gradient * xp.astype(most, gradient.dtype) * xp.astype(factor / most, gradient.dtype)


def _factor(gradients: Sequence[Any], clip_norm: float, totals: Totals) -> Any:
    """What all gradients are times, a float64 scalar of at most 1."""
    norm, scale = _scaled_norm(gradients, totals)
    if scale is None:
        return xp.minimum(clip_norm / (norm + 1e-6), 1.0)
    return xp.minimum((clip_norm / scale) / (norm + 1e-6 / scale), 1.0)


def norm_of(gradients: Sequence[Any], totals: Totals = PLAIN) -> Any:
    """The 2-norm of all gradients together, right where squares overflow, in the widest of their dtypes."""
    norm, scale = _scaled_norm(gradients, totals)
    is_wide = any(g.dtype == _FLOAT64 for g in gradients)
    return xp.astype(norm if scale is None else norm * scale, _FLOAT64 if is_wide else np.dtype("float32"))


def _scaled_norm(gradients: Sequence[Any], totals: Totals) -> tuple[Any, Any]:
    """The norm as a float64 scalar, divided by the number that comes with it, if one does."""
    wide = [xp.astype(g, _FLOAT64) for g in gradients]
    if all(g.dtype != _FLOAT64 for g in gradients):
        return xp.sqrt(_sum([totals.sum(g * g) for g in wide])), None  # no square of a float32 leaves float64's range
    largest = _largest(gradients, totals)
    # Only down: squares that underflow come to nothing beside 1e-6.
    scale = xp.where(xp.isfinite(largest), xp.maximum(largest, 1.0), 1.0)
    return xp.sqrt(_sum([totals.sum((g / scale) * (g / scale)) for g in wide])), scale


def _sum(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _largest(gradients: Sequence[Any], totals: Totals) -> Any:
    """The largest magnitude; NaN where there is one."""
    found: Any = None
    for gradient in gradients:
        if gradient.size:
            one = xp.astype(totals.max(xp.abs(gradient)), _FLOAT64)
            found = one if found is None else xp.maximum(found, one)
    return np.zeros((), _FLOAT64) if found is None else found
