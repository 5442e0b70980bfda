"""Dropout."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..module import Module


class Dropout(Module):
    """In training each element is 0 with probability `p` and scaled by 1 / (1 - p) otherwise; in evaluation nothing."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"the probability of dropout is from 0 to 1, got {p}")
        self.p = p

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """In training each channel of (N, C, L) or (C, L) is 0 with probability `p`, else scaled by 1 / (1 - p)."""

    def forward(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """In training each channel of (N, C, H, W) is 0 with probability `p`, else scaled by 1 / (1 - p)."""

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training)


class Dropout3d(Dropout):
    """In training each channel of (N, C, D, H, W) or (C, D, H, W) is 0 with probability `p`, else scaled."""

    def forward(self, input: Any) -> Any:
        return F.dropout3d(input, self.p, self.training)
