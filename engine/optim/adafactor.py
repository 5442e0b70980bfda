"""Adafactor, whose second moment of a matrix is the product of a row and a column."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...ir import ArrayType, DType, finfo
from .. import array_api as xp
from ..tracing.errors import located
from ..tracing.numbers import as_real
from .moments import lerp
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec, Within
from .schedules import Schedule


@dataclass(frozen=True)
class Adafactor(Optimizer):
    """`R += w (mean of g² over columns - R);  C += w (mean of g² over rows - C);  v = R C / max(mean of R, ε₁)`,
    `u = g / √max(v, ε₁²)`, `p -= α u / max(1, rms(u)/d)`, with w = t^beta2_decay and
    α = max(ε₂, rms(p)) min(lr, 1/√t); as `torch.optim.Adafactor`.

    R and C are of the last two axes: a matrix has a row and a column of state in place of a matrix. A parameter of one
    axis or none has v itself. `eps` is (ε₁, ε₂); ε₁ is by default the distance of 1 to the next number of the
    parameter's type. `weight_decay` shrinks p to (1 - lr weight_decay) p, `maximize` ascends. Shazeer and Stern 2018,
    "Adafactor: adaptive learning rates with sublinear memory cost".
    """

    lr: float | Schedule = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0
    maximize: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self.check(beta2_decay=Within(-math.inf, 0.0, closed=True), d=Within(1.0), weight_decay=NOT_NEGATIVE)
        eps: Any = self.eps
        given = tuple(eps) if isinstance(eps, (tuple, list, np.ndarray)) and np.shape(eps) == (2,) else (None, None)
        small, least = (0.0 if given[0] is None else as_real(given[0])), as_real(given[1])
        if small is None or small not in NOT_NEGATIVE or least is None or least not in NOT_NEGATIVE:
            raise ValueError(located(f"Adafactor: eps are two numbers of 0 or more, or None and one, got {self.eps!r}"))
        object.__setattr__(self, "eps", (None if given[0] is None else small, least))

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        if len(type.shape) < 2:
            return {"variance": StateSpec(type)}
        *outer, rows, columns = type.shape
        return {
            "row_var": StateSpec(replace(type, shape=(*outer, rows, 1))),
            "col_var": StateSpec(replace(type, shape=(*outer, 1, columns))),
        }

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        count = xp.astype(step, "float64") + 1.0
        result = {"weight": count**self.beta2_decay, "minus_rate": -xp.minimum(lr, 1.0 / xp.sqrt(count))}
        if self.weight_decay:
            result["shrink"] = 1.0 - lr * self.weight_decay
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        small, least = self.eps
        small = float(finfo(parameter.dtype).eps) if small is None else small
        if self.maximize:
            gradient = -gradient
        rate = xp.maximum(_rms(parameter), least) * scalars["minus_rate"]
        if self.weight_decay:
            parameter = parameter * scalars["shrink"]
        square = gradient * gradient
        if "variance" in state:
            square = lerp(state["variance"], square, scalars["weight"])
            new_state = {"variance": square}
        else:
            rows = lerp(state["row_var"], _mean(square, -1), scalars["weight"])
            columns = lerp(state["col_var"], _mean(square, -2), scalars["weight"])
            new_state = {"row_var": rows, "col_var": columns}
            square = rows / xp.maximum(_mean(rows, -2), small) * columns
        step = gradient / xp.sqrt(xp.maximum(square, small * small))
        return parameter + step * (rate / xp.maximum(_rms(step) / self.d, 1.0)), new_state


def _mean(x: Any, axis: int) -> Any:
    return xp.sum(x, axis=axis, keepdims=True) / max(x.shape[axis], 1)


def _rms(x: Any) -> Any:
    """The root of the mean square of all elements, 0 of none."""
    return xp.sqrt(xp.sum(x * x) / max(math.prod(x.shape), 1))
