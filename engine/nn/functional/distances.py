"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import axis_index, common_shape, described
from ...tracing.activations import float32_inside
from ...tracing.tracer import ShapeError, located
from ...tracing.transforms import stop_gradient
from ..spelling import axis_in, torch_arguments
from .reduction import check_floats


def _together(what: str, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both as arrays of floats of one shape, to which they are broadcast."""
    x1, x2 = check_floats(what, "x1", x1), check_floats(what, "x2", x2)
    shape = common_shape(what, (x1, x2))
    return xp.broadcast_to(x1, shape), xp.broadcast_to(x2, shape)


@float32_inside
@torch_arguments
def cosine_similarity(x1: Any, x2: Any, axis: int = 1, eps: float = 1e-8, *, dim: int | None = None) -> Any:
    """Σ x1 x2 / (max(|x1|, eps) max(|x2|, eps)) along `axis`, or `dim`; x1 and x2 broadcast.

    The derivative is that of |x1| and |x2| also where eps is larger, as in torch; that of |0| is 0.
    """
    x1, x2 = _together("cosine_similarity", x1, x2)
    axis = axis_in(x1.ndim, axis, dim, 1)
    place = axis if axis == () else axis_index(axis, x1.ndim)
    return xp.sum(_directed(x1, place, eps) * _directed(x2, place, eps), axis=place)


def _directed(x: Any, axis: int | tuple[int, ...], eps: float) -> Any:
    length = xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))
    return x / (length + stop_gradient(xp.maximum(length, eps) - length))


@float32_inside
def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False, *, keepdims: bool = False
) -> Any:
    """The p-norm of x1 - x2 + eps along the last axis; x1 and x2 broadcast."""
    x1, x2 = _together("pairwise_distance", x1, x2)
    if x1.ndim == 0:
        raise ShapeError(located("pairwise_distance: vectors lie along the last axis, and both inputs have none"))
    return xp.linalg.norm(x1 - x2 + eps, p, -1, bool(keepdim or keepdims))


@float32_inside
def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norms of the differences of all pairs of rows of (N, M): (0, 1), (0, 2), ..., (1, 2), ...; (N(N-1)/2,)."""
    x = check_floats("pdist", "input", input)
    if x.ndim != 2:
        raise ShapeError(located(f"pdist: the input is (N, M), got {described(x)}"))
    if not p >= 0:
        raise ValueError(located(f"pdist: p is 0 or more, got {p}"))
    first, second = np.triu_indices(x.shape[0], 1)
    return xp.linalg.norm(xp.take(x, first, axis=0) - xp.take(x, second, axis=0), p, -1)
