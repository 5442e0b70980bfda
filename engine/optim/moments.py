"""Formulas that several rules share: moving averages of the gradient, and steps that are divided by a root of one."""

from __future__ import annotations

from typing import Any

from .. import array_api as xp


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """From `start` to `end` by `weight`, in the form that is exact at the nearer one, as `torch.lerp`; by a weight that
    is computed in the step, in that for a small one.
    """
    near = not isinstance(weight, float) or weight < 0.5
    return start + (end - start) * weight if near else end - (end - start) * (1 - weight)


def root(square: Any, eps: float, inside: bool) -> Any:
    """`√square + eps`, or `√(square + eps)` where eps stands `inside` the root."""
    return xp.sqrt(square + eps) if inside else xp.sqrt(square) + eps


def quotient(numerator: Any, denominator: Any, eps: float) -> Any:
    """`numerator / denominator`. Without an `eps` a denominator may be 0, where the gradients were all 0: that gives 0,
    so that the sign is the limit of the rules that divide by a root (torch gives NaN).
    """
    if eps:
        return numerator / denominator
    nothing = denominator == 0
    return xp.where(nothing, 0.0, numerator / xp.where(nothing, 1.0, denominator))
