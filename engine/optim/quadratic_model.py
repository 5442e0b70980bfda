"""The quadratic model M(d) = dᵀ(F + λ)d/2 + gᵀd of how the loss changes along a step d, and what follows from it.

F is the Gauss-Newton matrix of the loss (see `model_output`), g the gradient, λ the damping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import finfo
from .. import array_api as xp
from .model_output import ModelOutput
from .update_inputs import UpdateInputs

Arrays = Mapping[str, Any]

_FLOAT64 = np.dtype("float64")


def inner(x: Arrays, y: Arrays) -> Any:
    """The sum of products of all elements of arrays by the same names, a float64 scalar."""
    return added([xp.sum(xp.astype(x[name] * y[name], _FLOAT64)) for name in x])


def added(parts: list[Any]) -> Any:
    """The sum of one or more arrays."""
    return sum(parts[1:], parts[0])


def combined(a: Any, x: Arrays, b: Any, y: Arrays) -> dict[str, Any]:
    """`a x + b y` of float64 scalars and arrays, in the arrays' dtypes."""
    return {name: xp.astype(a, x[name].dtype) * x[name] + xp.astype(b, x[name].dtype) * y[name] for name in x}


def chosen(taken: Any, new: Arrays, old: Arrays) -> dict[str, Any]:
    """The new arrays where `taken`, else the old."""
    return {name: xp.where(taken, array, old[name]) for name, array in new.items()}


class Plane:
    """The model on the steps `a first + b second`."""

    def __init__(
        self, output: ModelOutput, parameters: Arrays, gradients: Arrays, damping: Any, first: Arrays, second: Arrays
    ) -> None:
        steps = (first, second)
        moved = [output.pushed_forward(step, parameters) for step in steps]
        curved = [output.times_hessian(directions) for directions in moved]

        def curvature(i: int, j: int) -> Any:
            of_loss = added([xp.sum(xp.astype(x * y, _FLOAT64)) for x, y in zip(moved[i], curved[j], strict=True)])
            # A loss that is not convex in the output may curve down, where the model has no least value.
            of_loss = xp.maximum(of_loss, 0.0) if i == j else of_loss
            return of_loss + damping * inner(steps[i], steps[j])

        self.slopes = [inner(step, gradients) for step in steps]
        self.curvatures = [curvature(0, 0), curvature(0, 1), curvature(1, 1)]

    def at(self, a: Any, b: Any) -> Any:
        """M of a step, by how much the loss is to change."""
        aa, ab, bb = self.curvatures
        return 0.5 * (a * a * aa + 2 * a * b * ab + b * b * bb) + a * self.slopes[0] + b * self.slopes[1]

    def least(self) -> tuple[Any, Any]:
        """Where M is least: on the line of the first step alone where the two are nearly on one line."""
        aa, ab, bb = self.curvatures
        determinant = aa * bb - ab * ab
        apart = determinant > 1e-10 * aa * bb
        below = xp.where(apart, determinant, 1.0)
        a = xp.where(apart, (self.slopes[1] * ab - self.slopes[0] * bb) / below, _quotient(-self.slopes[0], aa))
        b = xp.where(apart, (self.slopes[0] * ab - self.slopes[1] * aa) / below, 0.0)
        return a, b


def _quotient(x: Any, y: Any) -> Any:
    return xp.where(y > 0, x / xp.where(y > 0, y, 1.0), 0.0)


def adapted(
    damping: Any, first: float, decay: float, least: float, loss: Any, actual: Any, expected: Any
) -> tuple[Any, Any]:
    """The damping for the next step, and whether this one is taken; `first` is the damping of the first step.

    The rule of Levenberg and Marquardt, by the ratio of how the loss changed to how the model said that it would:
    damping is times `decay` where the ratio is above 3/4, and over it below 1/4. Where the loss became larger it is
    times 4, and the step is not taken. Near the optimum a change drowns in the rounding of the loss, which says nothing
    of the model: then that is believed, and the damping stays, or goes down to the first one. It goes no further, since
    it alone bounds how the rounding of gradients moves what the loss does not depend on.
    """
    rounding = xp.astype(xp.abs(loss), _FLOAT64) * float(10 * finfo(loss.dtype).eps)
    says_nothing = expected >= -rounding
    ratio = actual / xp.where(says_nothing, 1.0, expected)
    is_smaller = actual <= rounding
    factor = xp.where(ratio > 0.75, decay, xp.where(ratio < 0.25, 1 / decay, 1.0))
    factor = xp.where(says_nothing, xp.where(damping > first, decay, 1.0), factor)
    return xp.maximum(damping * xp.where(is_smaller, factor, 4.0), least), is_smaller


def change_of_loss(given: UpdateInputs, new: Arrays, weight_decay: float) -> Any:
    """How the loss of the batch, with its penalty, changes from the old to `new` parameters; float64."""
    assert given.loss_at is not None
    change = xp.astype(given.loss_at(new), _FLOAT64) - xp.astype(given.loss, _FLOAT64)
    if not weight_decay:
        return change
    old = {name: given.parameters[name] for name in new}
    return change + (inner(new, new) - inner(old, old)) * (0.5 * weight_decay)


def penalized_all(given: UpdateInputs, weight_decay: float) -> dict[str, Any]:
    """The gradients of the loss with an L2 penalty of weight_decay p²/2."""
    if not weight_decay:
        return dict(given.gradients)
    return {name: g + given.parameters[name] * weight_decay for name, g in given.gradients.items()}
