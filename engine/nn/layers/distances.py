"""Distances and similarities of vectors as layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..module import Module
from ..spelling import chosen_axis


class CosineSimilarity(Module):
    """Σ x1 x2 / (max(|x1|, eps) max(|x2|, eps)) along `axis`, or `dim`."""

    def __init__(self, axis: int = 1, eps: float = 1e-8, *, dim: int | None = None) -> None:
        self.axis: int = chosen_axis(axis, dim, 1)
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.cosine_similarity(x1, x2, self.axis, self.eps)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, eps={self.eps}"


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis, which is kept with length 1 by `keepdim`."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.p = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)

    def extra_repr(self) -> str:
        return f"p={self.p}, eps={self.eps}, keepdim={self.keepdim}"
