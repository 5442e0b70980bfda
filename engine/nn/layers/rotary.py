"""Rotary position embeddings as a layer."""

from __future__ import annotations

from typing import Any

from ...tracing.tracer import ShapeError, located
from .. import functional as F
from ..module import Module


class RotaryEmbedding(Module):
    """`functional.rotary_embedding` of the first `dim` elements of the last axis: queries and keys are given to it
    before attention. It has no parameters.
    """

    def __init__(self, dim: int, base: float = 10000.0, interleaved: bool = False, axis: int = -2) -> None:
        if dim < 2 or dim % 2:
            raise ShapeError(located(f"RotaryEmbedding: dim is an even number of 2 or more, got {dim}"))
        self.dim = dim
        self.base = base
        self.interleaved = interleaved
        self.axis = axis

    def forward(self, input: Any, positions: Any = None, offset: Any = 0) -> Any:
        """The shape of `input`, (..., L, E); `positions` and `offset` as in `functional.rotary_embedding`."""
        return F.rotary_embedding(
            input,
            positions,
            base=self.base,
            interleaved=self.interleaved,
            rotary_dim=self.dim,
            offset=offset,
            axis=self.axis,
        )

    def extra_repr(self) -> str:
        return f"{self.dim}, base={self.base}, interleaved={self.interleaved}, axis={self.axis}"
