"""Softmax and its relatives as layers."""

from __future__ import annotations

from typing import Any

from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, located
from .. import functional as F
from ..module import Module
from ..spelling import chosen_axis


class Softmax(Module):
    """eˣ / Σ eˣ along `axis`, or `dim`."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        self.axis: int = chosen_axis(axis, dim, -1)

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """x - log Σ eˣ along `axis`, or `dim`."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        self.axis: int = chosen_axis(axis, dim, -1)

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmin(Module):
    """Softmax of -x along `axis`, or `dim`."""

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        self.axis: int = chosen_axis(axis, dim, -1)

    def forward(self, input: Any) -> Any:
        return F.softmin(input, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax2d(Module):
    """Softmax over the channels of each pixel of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Any:
        x = as_arraylike(input)
        if x.ndim not in (3, 4):
            raise ShapeError(located(f"Softmax2d: the input is (N, C, H, W) or (C, H, W), got {described(x)}"))
        return F.softmax(x, -3)
