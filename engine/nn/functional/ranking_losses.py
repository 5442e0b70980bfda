"""Losses that compare: of pairs and triplets of scores or of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.activations import float32_inside
from ...tracing.tracer import ShapeError, located
from ..spelling import torch_arguments
from .distances import pairwise_distance
from .reduction import Reduction, as_floats, check_floats, check_reduction, pair, reduced


def _at_least_zero(x: Any) -> Any:
    """max(x, 0), with the derivative 1 at 0, as that of torch's clamp."""
    return xp.where(x < 0, 0, x)


@float32_inside
@torch_arguments
def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """max(0, margin - target (input1 - input2)): target is 1 where the first should be larger, else -1."""
    check_reduction(reduction)
    x1, x2 = (check_floats("margin_ranking_loss", n, x) for n, x in (("input1", input1), ("input2", input2)))
    y = as_floats(target, x1)
    if not x1.shape == x2.shape == y.shape:
        raise ShapeError(
            located(
                f"margin_ranking_loss: input1, input2 and target have one shape, got {described(x1)}, {described(x2)} "
                f"and {described(y)}"
            )
        )
    return reduced(_at_least_zero(-y * (x1 - x2) + margin), reduction)


@float32_inside
@torch_arguments
def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    x, y = pair("hinge_embedding_loss", input, target, reduction)
    check_floats("hinge_embedding_loss", "input", x)
    apart, alike = xp.where(y == 1, 0, _at_least_zero(margin - x)), xp.where(y == -1, 0, x)
    return reduced(apart + alike, reduction)


@float32_inside
@torch_arguments
def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1, for the cosine of the rows of (N, D), or of
    two vectors (D,), whose target is a scalar.
    """
    what = "cosine_embedding_loss"
    check_reduction(reduction)
    x1, x2, y = check_floats(what, "input1", input1), check_floats(what, "input2", input2), as_arraylike(target)
    if x1.shape != x2.shape or x1.ndim not in (1, 2) or tuple(y.shape) != tuple(x1.shape[:-1]):
        raise ShapeError(
            located(
                f"{what}: input1 and input2 are (N, D) with a target (N,), or (D,) with a scalar, got {described(x1)}, "
                f"{described(x2)} and {described(y)}"
            )
        )
    squares = (xp.sum(x1 * x1, axis=-1) + 1e-12) * (xp.sum(x2 * x2, axis=-1) + 1e-12)
    cosine = xp.sum(x1 * x2, axis=-1) / xp.sqrt(squares)
    alike = xp.where(y == 1, 1 - cosine, 0)
    return reduced(alike + xp.where(y == -1, _at_least_zero(cosine - margin), 0), reduction)


@float32_inside
@torch_arguments
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: None = None,
    reduce: None = None,
    reduction: Reduction = "mean",
) -> Any:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), with `pairwise_distance` by p and eps.

    With `swap` the negative's distance to the positive counts, where that is smaller. Balntas et al. 2016, "Learning
    shallow convolutional feature descriptors with triplet losses". Raises `ValueError` unless margin is above 0.
    """

    def distance(x: Any, y: Any) -> Any:
        return pairwise_distance(x, y, p, eps)

    return _triplet("triplet_margin_loss", distance, anchor, positive, negative, margin, swap, reduction)


@float32_inside
@torch_arguments
def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> Any:
    """As `triplet_margin_loss`, with a distance of the user's; `pairwise_distance` if none is given."""
    distance = distance_function or pairwise_distance
    return _triplet("triplet_margin_with_distance_loss", distance, anchor, positive, negative, margin, swap, reduction)


def _triplet(
    what: str,
    distance: Callable[[Any, Any], Any],
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float,
    swap: bool,
    reduction: str,
) -> Any:
    check_reduction(reduction)
    if not margin > 0:
        raise ValueError(located(f"{what}: margin is above 0, got {margin}"))
    anchor, positive, negative = (as_arraylike(x) for x in (anchor, positive, negative))
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            located(
                f"{what}: anchor, positive and negative have as many axes, got {described(anchor)}, "
                f"{described(positive)} and {described(negative)}"
            )
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = xp.minimum(far, distance(positive, negative))
    return reduced(_at_least_zero(margin + near - far), reduction)
