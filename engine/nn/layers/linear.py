"""Layers without non-linearity: linear maps, and what only moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, axis_index, described
from ...tracing.array_methods import flattened
from ...tracing.tracer import ShapeError, located
from .. import functional as F
from .. import init
from ..module import Module
from ..parameter import Parameter


class Linear(Module):
    """`x @ weight.T + bias`; weight (out_features, in_features) and bias (out_features,) begin in ±1/√in_features."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: npt.DTypeLike = "float32"
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter((out_features, in_features), dtype, init.default_linear())
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.bias = Parameter(out_features, dtype, init.uniform(-bound, bound)) if bias else None

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """x1ᵀ A x2 + bias for each matrix A of weight (out_features, in1_features, in2_features), and bias (out_features,).

    Both begin in ±1/√in1_features.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if in1_features < 1:
            raise ValueError(located(f"Bilinear: in1_features is 1 or more, got {in1_features}"))
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        draw = init.uniform(-1 / math.sqrt(in1_features), 1 / math.sqrt(in1_features))
        self.weight = Parameter((out_features, in1_features, in2_features), dtype, draw)
        self.bias = Parameter(out_features, dtype, draw) if bias else None

    def forward(self, input1: Any, input2: Any) -> Any:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Identity(Module):
    """What it is given; arguments to the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Axes `start_dim` to `end_dim` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        return flattened(as_arraylike(input), self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` as axes of the lengths `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        input = as_arraylike(input)
        place, lengths = axis_index(self.dim, input.ndim), self.unflattened_size
        known = math.prod(n for n in lengths if n != -1)
        fits = known and input.shape[place] % known == 0 if -1 in lengths else known == input.shape[place]
        if not fits or lengths.count(-1) > 1 or any(n < -1 for n in lengths):
            raise ShapeError(located(f"Unflatten: axis {self.dim} of {described(input)} does not become {lengths}"))
        sizes = [input.shape[place] // known if n == -1 else n for n in lengths]
        return xp.reshape(input, (*input.shape[:place], *sizes, *input.shape[place + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
