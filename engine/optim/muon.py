"""Muon, momentum made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...ir import ArrayType, DType
from .. import array_api as xp
from ..tracing.errors import located
from ..tracing.numbers import as_whole
from .moments import lerp
from .optimizer import NOT_NEGATIVE, Optimizer, Scalars, StateSpec, Within
from .schedules import Schedule


@dataclass(frozen=True)
class Muon(Optimizer):
    """`b += (1 - momentum)(g - b);  u = g + momentum (b - g);  p = (1 - lr weight_decay) p - s lr O(u)`, as
    `torch.optim.Muon`. Without `nesterov`, u is b.

    O(u) is u with all its singular values near 1, by `ns_steps` of the Newton-Schulz iteration
    X ← a X + (b XXᵀ + c (XXᵀ)²) X from X = u / max(‖u‖, eps), with `ns_coefficients` (a, b, c). It runs in the
    parameter's own precision; torch's is in bfloat16. s is √max(1, rows/columns), also as `adjust_lr_fn="original"`, or
    0.2 √max(rows, columns) by "match_rms_adamw", so that rates tuned for AdamW hold.

    For matrices alone, as in torch: a trained parameter of another number of axes is refused. Jordan et al. 2024,
    "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is scalable for LLM training".
    """

    lr: float | Schedule = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None

    def __post_init__(self) -> None:
        self.check_tuple("ns_coefficients", 3)
        self.check(
            weight_decay=NOT_NEGATIVE, momentum=NOT_NEGATIVE, ns_coefficients=Within(-math.inf), eps=NOT_NEGATIVE
        )
        steps = as_whole(self.ns_steps)
        if steps is None or not 0 <= steps < 100:
            raise ValueError(located(f"Muon: ns_steps is a whole number from 0 to 99, got {self.ns_steps!r}"))
        object.__setattr__(self, "ns_steps", steps)
        self.check_choice("adjust_lr_fn", None, "original", "match_rms_adamw")

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        if len(type.shape) != 2:
            raise ValueError(
                located(
                    f"Muon is for matrices, this parameter has shape {type.shape}; freeze it (requires_grad = False), "
                    "or train it with another optimizer: gl.optim.groups({gl.optim.ndim(2): gl.optim.Muon(0.02)}, "
                    "default=gl.optim.AdamW(1e-3))"
                )
            )
        return {"momentum_buffer": StateSpec(type)}

    def scalars(self, step: Any, lr: Any, dtype: DType) -> Scalars:
        result = {"minus_lr": -lr, "shrink": 1.0 - lr * self.weight_decay}
        if self.momentum_schedule is not None:
            momentum = self.momentum_schedule(step)
            result |= {"momentum": momentum, "share": 1.0 - momentum}
        return {name: xp.astype(value, dtype) for name, value in result.items()}

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        moved = lerp(state["momentum_buffer"], gradient, scalars.get("share", 1 - self.momentum))
        direction = moved
        if self.nesterov:
            direction = lerp(gradient, moved, scalars.get("momentum", self.momentum))
        rows, columns = parameter.shape
        scale = math.sqrt(max(1, rows / max(columns, 1)))
        if self.adjust_lr_fn == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        step = self._orthogonal(direction) * (scalars["minus_lr"] * scale)
        if self.weight_decay:
            parameter = parameter * scalars["shrink"]
        return parameter + step, {"momentum_buffer": moved}

    def _orthogonal(self, matrix: Any) -> Any:
        a, b, c = self.ns_coefficients
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        norm = xp.sqrt(xp.sum(x * x))
        # The norm is no less than the largest singular value, and the iteration converges up to 1.
        x = x / xp.maximum(norm, self.eps) if self.eps else x / xp.where(norm == 0, 1.0, norm)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = x * a + (gram * b + (gram @ gram) * c) @ x
        return x.T if tall else x
