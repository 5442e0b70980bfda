"""Formulas that several rules share: weight decay, moving averages of the gradient, and division by a root of one."""

from __future__ import annotations

from typing import Any

from .. import array_api as xp
from .optimizer import Scalars


def penalized(parameter: Any, gradient: Any, weight_decay: float, maximize: bool) -> Any:
    """The gradient of what is minimized: of the negated loss where that is to `maximize`, with an L2 penalty of
    weight_decay p²/2.
    """
    if maximize:
        gradient = -gradient
    return gradient + parameter * weight_decay if weight_decay else gradient


def decayed(parameter: Any, gradient: Any, weight_decay: float, maximize: bool, scalars: Scalars) -> tuple[Any, Any]:
    """The parameter and the gradient of what is minimized. Where `scalars` has "shrink", the weight decay is decoupled:
    it shrinks the parameter by that factor, and is no penalty.
    """
    if "shrink" not in scalars:
        return parameter, penalized(parameter, gradient, weight_decay, maximize)
    gradient = penalized(parameter, gradient, 0.0, maximize)
    return parameter * scalars["shrink"], gradient


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
