"""Connections around modules: those of residual and of highway networks."""

from __future__ import annotations

from typing import Any, cast

import numpy.typing as npt

from ..array_api.broadcasting import as_arraylike, described
from ..tracing.tracer import ShapeError, located
from . import functional as F
from .containers import Sequential, checked_module
from .init import constant_
from .layers import Linear, ReLU
from .module import Module
from .parameter import Parameter


class Residual(Module):
    """`x + module(x)`, or `shortcut(x) + module(x)`, where a module makes another shape of x.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition". Raises `ShapeError` unless both parts
    have one shape: they do not broadcast.
    """

    def __init__(self, module: Module, shortcut: Module | None = None) -> None:
        self.module = module
        if shortcut is not None:
            self.shortcut = shortcut

    def forward(self, input: Any) -> Any:
        kept = self.shortcut(input) if hasattr(self, "shortcut") else input
        return kept + _like("Residual", kept, self.module(input), "shortcut=nn.Linear(...), or a convolution, fits it")


class Highway(Module):
    """`T(x) H(x) + (1 - T(x)) x`, with the gate T(x) = σ(gate(x)), a linear layer.

    Srivastava, Greff and Schmidhuber 2015, "Highway networks". `transform` is the module H, which keeps the shape of x
    (..., size); or the number `size` alone, for a linear layer and ReLU. The bias of the gate begins at `gate_bias`:
    below 0, so that most of x is carried at first. Raises `ShapeError` where H makes another shape.
    """

    def __init__(
        self,
        transform: int | Module,
        size: int | None = None,
        gate_bias: float = -2.0,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if isinstance(transform, int):
            if size is not None:
                raise ValueError(located(f"Highway: the size is given once: nn.Highway({transform})"))
            size = transform
            self.transform = Sequential(Linear(size, size, dtype=dtype), ReLU())
        else:
            self.transform = checked_module(transform)
            linear = next((m for m in transform.modules() if isinstance(m, Linear)), None)
            size = linear.in_features if size is None and linear is not None else size
        if size is None:
            raise ValueError(located("Highway: the gate needs the length of the last axis: nn.Highway(module, size)"))
        self.gate = Linear(size, size, dtype=dtype)
        constant_(cast(Parameter, self.gate.bias), gate_bias)

    def forward(self, input: Any) -> Any:
        gate = F.sigmoid(self.gate(input))
        changed = _like("Highway", input, self.transform(input), "the transform keeps the shape")
        return gate * changed + (1 - gate) * input


def _like(what: str, kept: Any, changed: Any, advice: str) -> Any:
    if as_arraylike(kept).shape != as_arraylike(changed).shape:
        raise ShapeError(
            located(f"{what}: {described(as_arraylike(kept))} is added to {described(as_arraylike(changed))}; {advice}")
        )
    return changed
