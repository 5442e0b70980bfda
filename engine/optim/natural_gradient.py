"""Natural gradient steps by conjugate gradients, without a curvature that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import ArrayType
from .. import array_api as xp
from ..nn.taps import Tapped
from ..tracing.errors import located
from ..tracing.hoisted import hoisted
from ..tracing.numbers import as_whole
from ..tracing.while_loop import while_loop
from .model_output import ModelOutput, is_of_model
from .optimizer import ABOVE_ZERO, NOT_NEGATIVE, Optimizer, StateSpec, Within, state_name
from .quadratic_model import adapted, change_of_loss, chosen, combined, inner, penalized_all
from .schedules import Schedule
from .update_inputs import UpdateInputs


@dataclass(frozen=True)
class NaturalGradient(Optimizer):
    """`p += lr d` with (F + damping) d = -g, which `iterations` of conjugate gradients solve for d.

    F is the Gauss-Newton matrix Jᵀ H J of the loss: J are the derivatives of the model's output by the parameters, H is
    the Hessian of the loss by that output. For cross entropy and squared errors it is the Fisher matrix. Only products
    with F are made, one forward and one backward derivative each. loss_fn calls the model once, and is convex in what
    that gives. Iterations begin with 0.95 times the last solution, and end early where the residual is `tolerance`
    times the gradient, by 2-norms. They read the whole batch: such a step does not run in tiles of it.

    With `adapt_damping`, `damping` is the first one and follows the rule of Levenberg and Marquardt: it is times
    `damping_decay` after a step that the quadratic model of the loss foretold, and grows after others; a step that
    makes the loss of its batch larger is not taken. Without, it stays. `weight_decay` is an L2 penalty.

    Amari 1998, "Natural gradient works efficiently in learning"; Martens 2010, "Deep learning via Hessian-free
    optimization".
    """

    lr: float | Schedule = 1.0
    damping: float = 1e-3
    iterations: int = 10
    tolerance: float = 1e-10
    weight_decay: float = 0.0
    adapt_damping: bool = True
    damping_decay: float = 0.7
    min_damping: float = 1e-12

    def __post_init__(self) -> None:
        self.check(
            damping=ABOVE_ZERO,
            tolerance=NOT_NEGATIVE,
            weight_decay=NOT_NEGATIVE,
            damping_decay=Within(ABOVE_ZERO.low, 1.0, closed=True),
            min_damping=ABOVE_ZERO,
        )
        count = as_whole(self.iterations)
        if count is None or count < 1:
            raise ValueError(
                located(f"NaturalGradient: iterations is a whole number of 1 or more, got {self.iterations!r}")
            )
        object.__setattr__(self, "iterations", count)

    @property
    def tapped(self) -> Tapped:
        return is_of_model

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        found = {state_name("solution", name): StateSpec(type) for name, type in types.items()}
        if self.adapt_damping:
            found["damping"] = StateSpec(ArrayType((), np.dtype("float64")), self.damping)
        return found

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        output = ModelOutput("NaturalGradient", given.taps)
        gradients = penalized_all(given, self.weight_decay)
        damping = given.state["damping"] if self.adapt_damping else np.float64(self.damping)
        right = {name: -g for name, g in gradients.items()}
        solution, residual = self._solved(given, output, right, damping + self.weight_decay)
        state: dict[str, Any] = {}
        new = {name: given.parameters[name] + xp.astype(given.lr, d.dtype) * d for name, d in solution.items()}
        if self.adapt_damping:
            # (F + damping) d is the right side without the residual.
            curvature = inner(solution, right) - inner(solution, residual)
            expected = given.lr * given.lr * 0.5 * curvature - given.lr * inner(solution, right)
            actual = change_of_loss(given, new, self.weight_decay)
            state["damping"], taken = adapted(
                damping, self.damping, self.damping_decay, self.min_damping, given.loss, actual, expected
            )
            solution = chosen(taken, solution, {name: xp.zeros_like(d) for name, d in solution.items()})
            new = chosen(taken, new, given.parameters)
        return new, state | {state_name("solution", name): d for name, d in solution.items()}

    def _solved(
        self, given: UpdateInputs, output: ModelOutput, right: dict[str, Any], damping: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What conjugate gradients make of (F + damping) d = right, and the residual that they leave."""
        names = list(right)

        def curved(*direction: Any) -> list[Any]:
            moved = output.pushed_forward(dict(zip(names, direction)), given.parameters)
            return output.pulled_back(output.times_hessian(moved), [given.parameters[name] for name in names])

        product = hoisted(curved, *(ArrayType(g.shape, g.dtype) for g in right.values()))

        def turned(direction: dict[str, Any]) -> dict[str, Any]:
            return combined(1.0, dict(zip(names, product(*direction.values()))), damping, direction)

        enough = inner(right, right) * self.tolerance**2

        def goes_on(carry: Any) -> Any:
            count, _, _, _, size = carry
            return (count < self.iterations) & (size > enough)

        def iterate(carry: Any) -> Any:
            count, solution, residual, direction, size = carry
            image = turned(direction)
            curvature = inner(direction, image)
            # Only a loss that is not convex, or rounding, curves down: the damping, which is then to grow, bounds that
            # step, and no other follows.
            along = size / xp.where(curvature > 0, curvature, damping * inner(direction, direction))
            solution = combined(1.0, solution, along, direction)
            residual = combined(1.0, residual, -along, image)
            after = xp.where(curvature > 0, inner(residual, residual), 0.0)
            return count + 1, solution, residual, combined(1.0, residual, after / size, direction), after

        start = {name: given.state[state_name("solution", name)] * _KEPT for name in names}
        left = combined(1.0, right, -1.0, turned(start))
        begin = (np.int64(0), start, left, left, inner(left, left))
        _, solution, residual, _, _ = while_loop(goes_on, iterate, begin)
        return solution, residual


_KEPT = 0.95
"""How much of the last solution the iterations begin with."""
